package pacing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

var (
	start = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	key   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
)

// fatal is what testing.T and rapid.T share.
type fatal interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// A view is what a runner sees of the operations: a fold of the journal that
// catches up when it is waited for, and no sooner.
type view struct {
	mu      sync.Mutex
	now     map[task.ID]*operation.Paced
	online  map[task.ID][]*roaring.Bitmap // of each wave
	shown   []operation.Paced
	behind  bool // it does not catch up
	waited  uint64
	lastErr error
}

func newView() *view {
	return &view{now: map[task.ID]*operation.Paced{}, online: map[task.ID][]*roaring.Bitmap{}}
}

func (v *view) Apply(e *event.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch p := e.Payload.(type) {
	case *event.OperationRequested:
		v.requested(p)
	case *event.OperationReleased:
		o := v.now[p.Operation]
		devices, online := set(p.Devices), set(p.Online)
		o.Out = roaring.Or(o.Out, devices)
		o.Released = uint32(o.Out.GetCardinality())
		o.Waves = append(slices.Clone(o.Waves), operation.Wave{Number: p.Wave, At: e.Accepted, Spread: p.Spread, Last: p.Last,
			Count: p.Count, Online: uint32(online.GetCardinality()), OnlineFinal: uint32(online.AndCardinality(o.Final))})
		v.online[p.Operation] = append(v.online[p.Operation], online)
	case *event.OperationCancelled:
		v.now[p.Operation].Cancelled = true
	case *event.OperationStopped:
		v.now[p.Operation].Stopped = true
	case *event.OperationExpired:
		v.now[p.Operation].Expired = true
	case *event.ResultsReported:
		for i := range p.Rows {
			v.reported(&p.Rows[i].Result)
		}
	}
}

func (v *view) requested(p *event.OperationRequested) {
	t, err := p.Task.Task()
	if err != nil {
		panic(err)
	}
	o := &operation.Paced{Targets: set(p.Targets), Out: roaring.New(), Final: roaring.New()}
	o.ID, o.NotBefore, o.DeliverBy, o.RunTimeout, o.Count, o.Pacing = t.Operation, t.NotBefore, t.DeliverBy, t.RunTimeout, p.Count, p.Pacing
	o.States[task.Waiting] = p.Count
	v.now[t.Operation] = o
}

func (v *view) reported(r *task.Result) {
	o := v.now[r.Operation]
	if o.Final.Contains(r.Device) {
		return
	}
	o.Final = roaring.Or(o.Final, roaring.BitmapOf(r.Device))
	o.States[task.Waiting]--
	o.States[r.State]++
	o.Waves = slices.Clone(o.Waves)
	for i, online := range v.online[r.Operation] {
		o.Waves[i].OnlineFinal = uint32(online.AndCardinality(o.Final))
	}
}

func set(raw []byte) *roaring.Bitmap {
	b := roaring.New()
	if err := b.UnmarshalBinary(raw); err != nil {
		panic(err)
	}
	return b
}

// catchUp shows what the journal holds.
func (v *view) catchUp() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shown = nil
	for _, id := range slices.SortedFunc(maps.Keys(v.now), func(a, b task.ID) int { return bytes.Compare(a[:], b[:]) }) {
		if o := v.now[id]; o.Paced() && o.Open() {
			v.shown = append(v.shown, *o)
		}
	}
}

func (v *view) Wait(_ context.Context, number uint64, _ ...string) error {
	v.mu.Lock()
	behind := v.behind
	v.waited = number
	v.mu.Unlock()
	if !behind {
		v.catchUp()
	}
	return nil
}

func (v *view) Paced() ([]operation.Paced, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.shown, v.lastErr
}

// A site is what a runner needs, and it.
type site struct {
	t       fatal
	clock   time.Time
	online  *roaring.Bitmap
	view    *view
	gate    *pacing.Gate
	journal *journaltest.Memory
	runner  *pacing.Runner
	now     func() time.Time // default clock
}

func newSite(t fatal) *site {
	s := &site{t: t, clock: start, online: roaring.New()}
	s.view, s.gate = newView(), pacing.NewGate()
	s.journal = journaltest.NewMemory(s.options())
	s.run()
	return s
}

func (s *site) time() time.Time {
	if s.now != nil {
		return s.now()
	}
	return s.clock
}

func (s *site) options() journal.Options {
	return journal.Options{Folds: []journal.Fold{s.view, s.gate}, Now: s.time}
}

func (s *site) run() {
	s.runner = pacing.New(pacing.Config{Journal: s.journal, Gate: s.gate, Operations: s.view, Views: s.view,
		Online:     func() *roaring.Bitmap { return s.online },
		SignCancel: func(c *task.Cancel) ([]byte, error) { c.Site = "P01"; return c.Sign(key), nil },
		Now:        s.time, Log: slog.New(slog.DiscardHandler)})
}

// crash is the end of the process and a new start, on the pages that are durable.
func (s *site) crash() {
	s.t.Helper()
	s.view, s.gate = newView(), pacing.NewGate()
	var err error
	if s.journal, err = s.journal.Reopen(s.options()); err != nil {
		s.t.Fatal(err)
	}
	s.view.catchUp()
	s.run()
}

func (s *site) append(p ...event.Payload) {
	s.t.Helper()
	for _, p := range p {
		if err := s.journal.Append(context.Background(), &event.Event{Payload: p}); err != nil {
			s.t.Fatal(err)
		}
	}
	s.view.catchUp()
}

// push requests an operation for devices 1 to count; it is good for a day and may
// run for ten minutes.
func (s *site) push(n byte, count uint32, p event.Pacing) task.ID {
	s.t.Helper()
	devices := roaring.New()
	devices.AddRange(1, uint64(count)+1)
	targets, err := task.NewTargets(roaring.Values(devices))
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := devices.ToBytes()
	if err != nil {
		s.t.Fatal(err)
	}
	now := s.time()
	t := task.Task{Site: "P01", Operation: task.ID{15: n}, Kind: "scan.quick", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: now.Add(time.Minute), DeliverBy: now.Add(24 * time.Hour), RunTimeout: 10 * time.Minute, Requested: now}
	signed, err := t.Sign(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.append(&event.OperationRequested{Task: signed, Targets: raw, Count: count, Pacing: p})
	return t.Operation
}

func (s *site) report(id task.ID, state task.State, devices ...uint32) {
	s.t.Helper()
	p := new(event.ResultsReported)
	for _, d := range devices {
		p.Rows = append(p.Rows, event.ResultRow{Result: task.Result{Operation: id, Device: d, State: state, At: s.time()}})
	}
	s.append(p)
}

func (s *site) round() {
	s.t.Helper()
	if err := s.runner.Round(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

// after moves the clock and lets the runner look.
func (s *site) after(d time.Duration) {
	s.t.Helper()
	s.clock = s.clock.Add(d)
	s.round()
}

// said is every event of the runner, in order.
func (s *site) said() (released []*event.OperationReleased, stopped []*event.OperationStopped) {
	s.t.Helper()
	r, err := s.journal.Read(context.Background(), 1)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return released, stopped
		}
		if err != nil {
			s.t.Fatal(err)
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				s.t.Fatal(err)
			}
			switch p := e.Payload.(type) {
			case *event.OperationReleased:
				released = append(released, p)
			case *event.OperationStopped:
				stopped = append(stopped, p)
			}
		}
	}
}

// waves expects that so many are released.
func (s *site) waves(t *testing.T, n int) []*event.OperationReleased {
	t.Helper()
	released, _ := s.said()
	if len(released) != n {
		t.Fatalf("%d waves are released, want %d", len(released), n)
	}
	return released
}
