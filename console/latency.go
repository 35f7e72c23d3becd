package console

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// Bounds of the measuring of operations: what was measured is kept and is at most
// latencyAge old, or of the very last change.
const (
	maxLatencies = 64
	latencyAge   = time.Second
	latencyStep  = 5000 // rows that are read at once
	alwaysFresh  = 2000 // targets up to which measuring costs nothing
)

// latencies keeps what it costs many reads to find out.
type latencies struct {
	now  func() time.Time
	mu   sync.Mutex
	kept map[task.ID]measured
}

type measured struct {
	last uint64 // the operation's last event
	at   time.Time
	hops map[string]Hop
}

func (l *latencies) of(ctx context.Context, r OperationReader, o *operation.Operation) (map[string]Hop, error) {
	l.mu.Lock()
	m, ok := l.kept[o.ID]
	l.mu.Unlock()
	now := l.now()
	if ok && (m.last == o.Last || !o.Done() && o.Count > alwaysFresh && now.Sub(m.at).Abs() < latencyAge) {
		return m.hops, nil
	}
	hops, err := measure(ctx, r, o)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil || len(l.kept) >= maxLatencies {
		l.kept = map[task.ID]measured{}
	}
	l.kept[o.ID] = measured{o.Last, now, hops}
	return hops, nil
}

// measure reads every device of the operation that has a row.
func measure(ctx context.Context, r OperationReader, o *operation.Operation) (map[string]Hop, error) {
	took := make(map[string][]time.Duration, len(Hops))
	waves, err := r.Waves(o.ID)
	if err != nil {
		return nil, err
	}
	for after := uint32(0); ; {
		rows, err := r.Devices(o.ID, task.NoState, after, latencyStep)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			for hop, d := range hopsOf(o, waves, &rows[i]) {
				took[hop] = append(took[hop], d)
			}
		}
		if len(rows) < latencyStep {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		after = rows[len(rows)-1].Device
	}
	hops := make(map[string]Hop, len(Hops))
	for _, name := range Hops {
		hops[name] = summarize(took[name])
	}
	return hops, nil
}

// hopsOf yields the steps that a device took, with how long each was. Clocks of
// different machines can make one less than nothing; that is shown as nothing.
func hopsOf(o *operation.Operation, waves []operation.Members, s *operation.DeviceState) func(yield func(string, time.Duration) bool) {
	var released time.Time
	if o.Paced() {
		released = begins(o, waves, s.Device)
	}
	steps := []struct {
		name     string
		from, to time.Time
	}{
		{HopRequestedSent, o.Requested, s.Sent},
		{HopReleasedSent, released, s.Sent},
		{HopSentDelivered, s.Sent, s.Delivered},
		{HopDeliveredRunning, s.Delivered, s.Started},
		{HopRunningEnded, s.Started, s.Ended},
		{HopEndedVisible, s.Ended, s.Visible},
	}
	reported := s.State >= task.Succeeded && s.State <= task.NotApplicable
	return func(yield func(string, time.Duration) bool) {
		for _, h := range steps {
			ending := h.name == HopRunningEnded || h.name == HopEndedVisible
			if h.from.IsZero() || h.to.IsZero() || ending && !reported {
				continue
			}
			if !yield(h.name, max(h.to.Sub(h.from), 0)) {
				return
			}
		}
	}
}

func summarize(took []time.Duration) Hop {
	if len(took) == 0 {
		return Hop{}
	}
	slices.Sort(took)
	rank := func(q float64) float64 {
		return milliseconds(took[int(math.Ceil(q*float64(len(took))))-1])
	}
	return Hop{Count: uint32(len(took)), P50: rank(0.50), P99: rank(0.99), Max: milliseconds(took[len(took)-1])}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
