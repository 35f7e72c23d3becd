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
	var took [hopCount][]time.Duration
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
				if d != notTaken {
					took[hop] = append(took[hop], d)
				}
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
	for i, name := range Hops {
		hops[name] = summarize(took[i])
	}
	return hops, nil
}

const (
	hopCount = 6 // of [Hops]
	notTaken = time.Duration(-1)
)

// hopsOf returns how long each of [Hops] took a device. Clocks of different machines
// can make one less than nothing; that is shown as nothing.
func hopsOf(o *operation.Operation, waves []operation.Members, s *operation.DeviceState) (took [hopCount]time.Duration) {
	var released time.Time
	if o.Paced() {
		released = begins(o, waves, s.Device)
	}
	hop := func(from, to time.Time) time.Duration {
		if from.IsZero() || to.IsZero() {
			return notTaken
		}
		return max(to.Sub(from), 0)
	}
	took = [hopCount]time.Duration{
		hop(o.Requested, s.Sent),
		hop(released, s.Sent),
		hop(s.Sent, s.Delivered),
		hop(s.Delivered, s.Started),
		notTaken,
		notTaken,
	}
	if s.State >= task.Succeeded && s.State <= task.NotApplicable { // the device has reported
		took[4], took[5] = hop(s.Started, s.Ended), hop(s.Ended, s.Visible)
	}
	return took
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
