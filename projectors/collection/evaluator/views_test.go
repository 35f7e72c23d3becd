package evaluator_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// site is an evaluator over real views.
type site struct {
	*projectorstest.Site
	t           testing.TB
	inventory   *inventory.Reader
	collections *collection.Reader
	e           *evaluator.Evaluator
	stop        func()
}

func newSite(t testing.TB) *site {
	t.Helper()
	iv, ir := inventory.New(schema.Standard())
	cv, cr := collection.New()
	s := &site{Site: projectorstest.Start(t, iv, cv), t: t, inventory: ir, collections: cr}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *site) start() {
	s.e = evaluator.New(evaluator.Config{Journal: s.Journal, Inventory: evaluator.Inventory(s.inventory), Collections: evaluator.Collections(s.collections),
		Views: s.Views, Log: slog.New(slog.DiscardHandler)})
	e := s.e
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
}

func (s *site) tell(payloads ...event.Payload) (last uint64) {
	s.t.Helper()
	for _, p := range payloads {
		last = projectorstest.Append(s.t, s.Journal, 1, &event.Event{Payload: p})
	}
	return last
}

// members returns those of a collection in the view.
func (s *site) members(id string) (members *roaring.Bitmap) {
	s.t.Helper()
	if _, err := s.collections.At(func(v *collection.Snapshot) error {
		members = v.Members(id)
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return members
}

// until waits for what must happen.
func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			s.t.Fatalf("after %s: not %s", patience, what)
		}
	}
}

// settled waits until the evaluator has served everything up to an event.
func (s *site) settled(number uint64) {
	s.t.Helper()
	s.until("settled", func() bool {
		st, err := s.e.Stats(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		if st.Applied < number || st.Pending > 0 {
			return false
		}
		for _, q := range s.e.Queues() {
			if q.Running != nil || len(q.Waiting) > 0 {
				return false
			}
		}
		all, err := s.e.States(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, st := range all {
			if st.Incremental && st.Stale && st.Broken == nil {
				return false
			}
		}
		return true
	})
	s.Wait(s.Journal.Head().Event)
}

// differences are what a full evaluation of what the views know would change.
func (s *site) differences() (all []string) {
	s.t.Helper()
	e := engine.New(schema.Standard())
	if _, err := s.inventory.At(func(v *inventory.Snapshot) error {
		e.Extend(v.Schema())
		return v.Records(func(r *schema.Record) (bool, error) { return true, e.Put(r) })
	}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.collections.At(func(v *collection.Snapshot) error {
		var defs []engine.Collection
		for _, info := range v.List() {
			if info.ID == event.RootCollection {
				continue
			}
			c := engine.Collection{ID: info.ID, Limit: info.Limit, Include: info.Include, Exclude: info.Exclude}
			for _, q := range info.Queries {
				parsed, err := wql.Parse(q.WQL, schema.Standard())
				if err != nil {
					return err
				}
				c.Queries = append(c.Queries, parsed)
			}
			defs = append(defs, c)
		}
		if err := e.Define(defs); err != nil {
			return err
		}
		for _, info := range v.List() {
			e.Restore(info.ID, v.Members(info.ID))
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	changes, err := e.Evaluate(engine.Request{Now: time.Now()})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range changes {
		if !c.Added.IsEmpty() || !c.Removed.IsEmpty() {
			all = append(all, fmt.Sprintf("%s +%v -%v", c.ID, c.Added.ToArray(), c.Removed.ToArray()))
		}
	}
	return all
}

// fresh names new devices.
func fresh(name string, devices ...uint32) *event.DevicesImported {
	p := named(name, devices...)
	for i := range p.Devices {
		d := &p.Devices[i]
		d.New, d.Name, d.ID[0], d.ID[1], d.ID[2] = true, name, byte(d.Device), byte(d.Device>>8), byte(d.Device>>16)
	}
	return p
}

// TestWithViews goes from an event to the members in the view, and over a new start.
func TestWithViews(t *testing.T) {
	s := newSite(t)
	s.settled(s.tell(fresh("az", 1, 2), fresh("b", 3), definition("P0100001", where("Name like 'a%'")),
		definition("P0100002", limit("P0100001"), where("Name like '%z'"), manual)))
	if got := s.members("P0100002"); !got.Equals(roaring.BitmapOf(1, 2)) {
		t.Errorf("members are %v", got)
	}
	s.settled(s.tell(named("az", 3), &event.DeviceRemoved{Device: 1}))
	if got := s.members("P0100002"); !got.Equals(roaring.BitmapOf(2, 3)) {
		t.Errorf("members are %v", got)
	}
	s.stop()
	s.tell(named("b", 2), fresh("az", 4), definition("P0100003", exclude("P0100002"), include(event.RootCollection)))
	s.start()
	s.settled(s.Journal.Head().Event)
	if got := s.members("P0100003"); !got.Equals(roaring.BitmapOf(2)) {
		t.Errorf("members are %v", got)
	}
	if got := s.differences(); got != nil {
		t.Errorf("a full evaluation changes %v", got)
	}
	head := s.Journal.Head().Event
	s.stop()
	s.start()
	s.settled(head)
	if n := s.Journal.Head().Event - head; n != 0 {
		t.Errorf("a start appends %d events", n)
	}
}

// TestWithViewsAtRandom takes real views through a few hundred events and some starts.
func TestWithViewsAtRandom(t *testing.T) {
	const devices, collections, steps = 300, 20, 150
	random := rand.New(rand.NewPCG(6, 2026))
	s := newSite(t)
	id := func(i int) string { return fmt.Sprintf("P01%05X", i+1) }
	name := func() string { return fmt.Sprintf("%c%c", 'a'+random.IntN(3), 'a'+random.IntN(3)) }
	for i := range collections {
		options := []option{where(fmt.Sprintf("Name like '%c%%'", 'a'+random.IntN(3)))}
		if i > 0 {
			options = append(options, limit(id(random.IntN(i))), include(id(random.IntN(i))))
		}
		if i > 3 {
			options = append(options, exclude(id(random.IntN(3))))
		}
		s.tell(definition(id(i), options...))
	}
	for d := range uint32(devices) {
		s.tell(fresh(name(), d+1))
	}
	for range steps {
		d := uint32(random.IntN(devices) + 1)
		switch random.IntN(30) {
		case 0:
			s.tell(&event.DeviceRemoved{Device: d})
		case 1:
			s.stop()
			s.start()
		case 2:
			s.tell(&event.EvaluationRequested{Collections: []string{id(random.IntN(collections))}, Dependants: random.IntN(2) == 0})
		default:
			s.tell(named(name(), d))
		}
	}
	s.settled(s.Journal.Head().Event)
	if got := s.differences(); got != nil {
		t.Errorf("a full evaluation changes %v", got)
	}
}

// BenchmarkChangeToMember is one device that changes: from the append of its event
// until the view of collections has it.
func BenchmarkChangeToMember(b *testing.B) {
	const devices, collections = 20_000, 500
	s := newSite(b)
	for i := range collections {
		s.tell(definition(fmt.Sprintf("P01%05X", i+1), where(fmt.Sprintf("Name like '%%x%d'", i))))
	}
	for d := uint32(1); d <= devices; d += 1000 {
		var some []uint32
		for i := range uint32(1000) {
			some = append(some, d+i)
		}
		s.tell(fresh("pc", some...))
	}
	s.settled(s.Journal.Head().Event)
	var longest time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		s.tell(named(fmt.Sprint("x", i%collections), uint32(i%devices+1)))
		id := fmt.Sprintf("P01%05X", i%collections+1)
		s.until("a member", func() bool { return s.members(id).Contains(uint32(i%devices + 1)) })
		longest = max(longest, time.Since(began))
	}
	b.ReportMetric(float64(longest.Microseconds())/1000, "longest-ms")
}
