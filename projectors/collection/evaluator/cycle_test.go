package evaluator_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

func TestIncrementalFollowsChanges(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001", where("Name like 'a%'")), definition("P0100002", limit("P0100001"), where("Name like '%z'")))
		r.settle()
		first := r.append(named("az", 1), named("b", 2), named("ay", 3))
		r.settle()
		r.expect(event.RootCollection, 1, 2, 3)
		r.expect("P0100001", 1, 3)
		r.expect("P0100002", 1)
		cycles := r.cycles(first)
		if len(cycles) != 1 || cycles[0].Queue != event.IncrementalQueue || cycles[0].Cause != event.ByDevices || cycles[0].By != first-2 ||
			cycles[0].Basis < first || cycles[0].Devices != 3 || cycles[0].Count != 3 {
			t.Fatalf("cycles are %+v", cycles)
		}
		head := r.append(named("by", 1), named("cz", 2))
		r.settle()
		r.expect("P0100001", 3)
		r.expect("P0100002")
		if got := fmt.Sprint(r.cycles(head)); got != fmt.Sprintf("[incremental by devices %d: [P0100001 P0100002]]", head-1) {
			t.Errorf("cycles are %s", got) // only what changed is named
		}
		head = r.append(&event.DeviceRemoved{Device: 3})
		r.settle()
		r.expect(event.RootCollection, 1, 2)
		r.expect("P0100001")
		if n := len(r.cycles(head)); n != 1 {
			t.Errorf("%d cycles", n)
		}
		head = r.append(named("by", 1)) // nothing changes
		r.settle()
		if r.head() != head {
			t.Errorf("%d events follow a change that changes no members", r.head()-head)
		}
	})
}

// An incremental cycle begins once it is quiet, and does not wait for long if it is not.
func TestQuietAndLatest(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.settle()
		began := time.Now()
		r.append(named("a", 1))
		time.Sleep(49 * time.Millisecond)
		synctest.Wait()
		r.expect(event.RootCollection)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		r.expect(event.RootCollection, 1)
		if c := r.cycles(0); len(c) != 1 || c[0].Started.Sub(began) != 50*time.Millisecond {
			t.Fatalf("cycles are %v", c)
		}
		r.settle()
		began = time.Now()
		head := r.head()
		for i := range uint32(20) {
			r.append(named("a", 10+i))
			time.Sleep(30 * time.Millisecond)
		}
		r.settle()
		var starts []time.Duration
		for _, c := range r.cycles(head) {
			starts = append(starts, c.Started.Sub(began))
		}
		ms := time.Millisecond
		if want := []time.Duration{200 * ms, 410 * ms, 620 * ms}; !slices.Equal(starts, want) {
			t.Errorf("cycles began after %v, want %v", starts, want)
		}
	})
}

func TestInterval(t *testing.T) {
	in(t, evaluator.Settings{Interval: 5 * time.Minute}, func(r *rig) {
		r.settle()
		began := time.Now().Add(-time.Second) // when the first cycle began
		for i := range uint32(20) {
			r.append(named("a", 1+i))
			time.Sleep(time.Minute)
		}
		var starts []time.Duration
		for _, c := range r.cycles(0) {
			starts = append(starts, c.Started.Sub(began))
		}
		m := time.Minute
		if want := []time.Duration{5 * m, 10 * m, 15 * m, 20 * m}; !slices.Equal(starts, want) {
			t.Errorf("cycles began after %v, want %v", starts, want)
		}
	})
}

// COL-4: the change of the parent is absorbed by whichever cycle comes first; the
// child, which has only a schedule, follows in the same cycle.
func TestCOL4CascadeIsNotLost(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001", where("Name like 'a%'")),
			definition("P0100002", limit("P0100001"), where("Name like '%z'"), scheduled("0 4 * * *")),
			definition("P0100003", limit("P0100002"), where("Name like '%'"))) // incremental again
		r.settle()
		head := r.append(named("az", 1))
		r.settle()
		r.expect("P0100001", 1)
		r.expect("P0100002", 1)
		r.expect("P0100003", 1)
		if c := r.cycles(head); len(c) != 1 || !slices.Equal(c[0].ids, []string{"P0100001", "P0100002", "P0100003", event.RootCollection}) {
			t.Errorf("cycles are %v", c)
		}
		// A full evaluation of the parent has nothing left to do for the child.
		head = r.append(&event.EvaluationRequested{Collections: []string{"P0100001"}})
		r.settle()
		r.expect("P0100002", 1)
		if c := r.cycles(head); len(c) != 1 || c[0].Queue != event.SingleQueue || len(c[0].Results[0].Added) != 0 {
			t.Errorf("cycles are %v", c)
		}
		// What does not touch the parent waits for the schedule of the child.
		r.append(named("ay", 2))
		r.settle()
		head = r.append(named("az", 2))
		r.settle()
		r.expect("P0100001", 1, 2)
		r.expect("P0100002", 1)
		if s := r.state("P0100002"); !s.Stale || s.Pending != 1 {
			t.Errorf("state is %+v", s)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		r.expect("P0100002", 1, 2)
		r.expect("P0100003", 1, 2)
		if s := r.state("P0100002"); s.Stale || s.Pending != 0 {
			t.Errorf("state is %+v", s)
		}
		if c := r.cycles(head); len(c) != 1 || c[0].Queue != event.FullQueue || c[0].Cause != event.BySchedule {
			t.Errorf("cycles are %v", c)
		}
	})
}

// With the cascade on schedule the child is stale, and says so, until its time comes;
// one without a schedule follows at once.
func TestCascadeScheduled(t *testing.T) {
	in(t, evaluator.Settings{Cascade: evaluator.CascadeScheduled}, func(r *rig) {
		r.append(definition("P0100001", where("Name like 'a%'")),
			definition("P0100002", limit("P0100001"), where("Name like '%z'"), scheduled("0 4 * * *")),
			definition("P0100003", limit("P0100001"), where("Name like '%z'"), manual))
		r.settle()
		r.append(named("az", 1))
		r.settle()
		r.expect("P0100001", 1)
		r.expect("P0100002")
		r.expect("P0100003", 1)
		if s := r.state("P0100002"); !s.Stale || s.Pending != 1 {
			t.Errorf("state is %+v", s)
		}
		if s := r.state("P0100003"); s.Stale {
			t.Errorf("state is %+v", s)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		r.expect("P0100002", 1)
		if s := r.state("P0100002"); s.Stale {
			t.Errorf("state is %+v", s)
		}
		// So it is if nothing is new but the members of the parent.
		r.append(definition("P0100001", where("Name like 'b%'")))
		r.settle()
		r.expect("P0100002", 1)
		if s := r.state("P0100002"); !s.Stale || s.Pending != 1 {
			t.Errorf("state is %+v", s)
		}
	})
}

// COL-7: what waits already is dropped and counted; a cycle that came due while one
// ran, however often, starts right after it, once.
func TestCOL7RequestsThatWait(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001", where("Name like 'a%'"), scheduled("* * * * *")), definition("P0100002", manual))
		r.settle()
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(59 * time.Second)))
		head := r.head()
		release := r.j.Hold()
		time.Sleep(5*time.Minute + 10*time.Second) // the cycle of the first minute runs all the time
		synctest.Wait()
		if q := r.queue(event.FullQueue); q.Running == nil || len(q.Waiting) != 0 {
			t.Fatalf("the queue is %+v", q)
		}
		release()
		synctest.Wait()
		cycles := r.cycles(head)
		if len(cycles) != 2 || cycles[0].Queue != event.FullQueue || cycles[1].Queue != event.FullQueue {
			t.Fatalf("cycles are %v", cycles)
		}
		if gap := cycles[1].Started.Sub(cycles[0].Started.Add(cycles[0].Took)); cycles[1].Started.Sub(cycles[0].Started) != 5*time.Minute+9*time.Second {
			t.Errorf("the second one began %v later (%v)", cycles[1].Started.Sub(cycles[0].Started), gap)
		}
		if m := r.said(); len(m) != 1 || m[0].Message != 1301 {
			t.Errorf("said %+v", m)
		}
	})
}

func TestCOL7DroppedRequestsAreCounted(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001"), definition("P0100002"), definition("P0100003"))
		r.settle()
		head := r.head()
		ask := func(ids ...string) *event.EvaluationRequested {
			return &event.EvaluationRequested{Collections: ids}
		}
		both := ask("P0100003")
		both.Dependants = true
		r.append(ask("P0100001", "P0100002"), ask("P0100002"), ask("P0100002", "P0100003"), ask("P0100009"), both)
		r.settle()
		cycles := r.cycles(head)
		if len(cycles) != 3 {
			t.Fatalf("cycles are %v", cycles)
		}
		if q := r.queue(event.SingleQueue); q.Stats.Dropped != 2 || q.Stats.Cycles != 3 { // one for the definitions
			t.Errorf("the queue is %+v", q)
		}
		if q := r.queue(event.ManualQueue); q.Stats.Dropped != 0 || q.Stats.Cycles != 1 {
			t.Errorf("the queue is %+v", q) // the queues know nothing of one another
		}
	})
}

// COL-8: 20,000 changed devices and 4,000 incremental collections, eight times over the
// cliff of the original: the cycle stays incremental, looks at these devices alone,
// and is exact.
func TestCOL8ManyChangesStayIncremental(t *testing.T) {
	devices, collections := uint32(20_000), 4000
	if raceDetector {
		devices, collections = 5000, 400 // the same over its tenth; it is much slower then
	}
	in(t, evaluator.Settings{}, func(r *rig) {
		var definitions []event.Payload
		for i := range collections {
			definitions = append(definitions, definition(fmt.Sprintf("P01%05X", i+1), where(fmt.Sprintf("Name like '%%%d'", i))))
		}
		for some := range slices.Chunk(definitions, 1000) {
			r.append(some...)
		}
		name := func(of func(device uint32) string) {
			for first := uint32(1); first <= devices; first += 1000 {
				all := &event.DevicesImported{}
				for d := first; d < first+1000; d++ {
					all.Devices = append(all.Devices, named(of(d), d).Devices...)
				}
				r.append(all)
			}
		}
		name(func(uint32) string { return "none" })
		r.append(named("none", devices+1, devices+2, devices+3))
		r.settle()
		head := r.head()
		name(func(d uint32) string { return fmt.Sprint("pc", d) })
		r.settle()
		looked := uint32(0)
		for _, c := range r.cycles(head) {
			if c.Queue != event.IncrementalQueue {
				t.Errorf("a cycle is of the queue %s", c.Queue)
			}
			looked += c.Devices
		}
		if looked != devices {
			t.Errorf("cycles looked at %d devices, want %d", looked, devices)
		}
		if got := r.differences(); got != nil {
			t.Errorf("a full evaluation changes %d collections", len(got))
		}
		want := []uint32{}
		for d := uint32(123); d <= devices; d += 1000 {
			want = append(want, d)
		}
		r.expect("P010007C", want...) // those whose names end with 123
	})
}

// COL-9: a rule with a date changes members at the right instant although no event
// came.
func TestCOL9TheClockTurns(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001", where("DateDiff(dd, CreationDate, GetDate()) > 14")), definition("P0100002", limit("P0100001"), where("Name is null"), manual))
		now := time.Now().UTC()
		r.append(created(1, now), created(2, now.AddDate(0, 0, 3)))
		r.settle()
		r.expect("P0100001")
		head := r.head()
		day := func(n int) time.Time { return time.Date(now.Year(), now.Month(), now.Day()+n, 0, 0, 0, 0, time.UTC) }
		time.Sleep(time.Until(day(15)) - time.Millisecond)
		synctest.Wait()
		if r.head() != head {
			t.Fatalf("%d events came", r.head()-head)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		r.expect("P0100001", 1)
		r.expect("P0100002", 1)
		c := r.cycles(head)
		if len(c) != 1 || c[0].Cause != event.ByTime || c[0].Queue != event.IncrementalQueue || c[0].By != 0 || c[0].Clock.Before(day(15)) {
			t.Fatalf("cycles are %v", c)
		}
		time.Sleep(time.Until(day(18)) + time.Millisecond)
		synctest.Wait()
		r.expect("P0100001", 1, 2)
	})
}

// COL-11: a full evaluation includes everything that the collection limits; one
// without a schedule is evaluated when its limiting one changes.
func TestCOL11FullIncludesWhatItLimits(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001", where("Name like 'a%'"), scheduled("0 4 * * *")),
			definition("P0100002", limit("P0100001"), where("Name like '%z'"), manual),
			definition("P0100003", limit("P0100002"), where("Name like '%'"), manual),
			definition("P0100004", include("P0100001"), manual))
		r.append(named("az", 1))
		r.settle()
		head := r.append(named("b", 1))
		r.settle()
		r.expect("P0100001", 1) // nobody looked since
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		for _, id := range []string{"P0100001", "P0100002", "P0100003", "P0100004"} {
			r.expect(id)
		}
		c := r.cycles(head)
		if len(c) != 1 || c[0].Queue != event.FullQueue || !slices.Equal(c[0].ids, []string{"P0100001", "P0100002", "P0100003", "P0100004"}) || c[0].Count != 4 {
			t.Errorf("cycles are %v, %d collections", c, c[0].Count)
		}
		// So it does if nothing changes; who names it otherwise has nothing to do.
		head = r.head()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if c := r.cycles(head); len(c) != 1 || !slices.Equal(c[0].ids, []string{"P0100001", "P0100002", "P0100003"}) {
			t.Errorf("cycles are %v", c)
		}
	})
}

func TestRequestsBringWhatTheyAskFor(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001", manual, where("Name like 'a%'")), definition("P0100002", manual, limit("P0100001"), where("Name like '%z'")), definition("P0100003", manual))
		r.append(named("b", 1))
		r.settle()
		// The request comes while the change waits, and counts on it.
		head := r.append(named("az", 1), &event.EvaluationRequested{Collections: []string{"P0100001"}, Dependants: true})
		r.settle()
		r.expect("P0100001", 1)
		r.expect("P0100002", 1)
		c := r.cycles(head)
		if len(c) != 1 || c[0].Queue != event.ManualQueue || c[0].Cause != event.ByRequest || c[0].By != head || !slices.Equal(c[0].ids, []string{"P0100001", "P0100002"}) {
			t.Errorf("cycles are %v", c)
		}
		head = r.append(&event.EvaluationRequested{Collections: []string{event.RootCollection}})
		r.settle()
		if c := r.cycles(head); len(c) != 1 || !slices.Equal(c[0].ids, []string{event.RootCollection}) {
			t.Errorf("cycles are %v", c)
		}
	})
}

// A change that a cycle of another queue has read still reaches what is incremental.
func TestWhatOthersReadIsNotLost(t *testing.T) {
	in(t, evaluator.Settings{Interval: time.Hour}, func(r *rig) {
		r.append(named("b", 1))
		time.Sleep(61 * time.Minute)
		r.append(definition("P0100001", where("Name like 'a%'")), definition("P0100002", where("Name like 'a%'")))
		r.settle()
		r.append(named("a", 1), &event.EvaluationRequested{Collections: []string{"P0100001"}})
		r.settle()
		r.expect("P0100001", 1)
		r.expect("P0100002")
		if s := r.state("P0100002"); !s.Stale || s.Pending != 1 {
			t.Errorf("state is %+v", s)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		r.expect("P0100002", 1)
	})
}

// A clock that was wrong and is set back does not hold anything up, and what is as of
// the time then is made right.
func TestClockIsSetBack(t *testing.T) {
	var ahead atomic.Int64
	in(t, evaluator.Settings{}, func(r *rig) {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())).Round(0) } // no monotonic clock hides it
		r.start()
		r.append(created(1, time.Now()), definition("P0100001", where("DateDiff(dd, CreationDate, GetDate()) > 30")), definition("P0100002", where("Name = 'a'"), scheduled("0 * * * *")))
		ahead.Store(int64(1000 * time.Hour))
		time.Sleep(time.Minute)
		r.settle()
		r.expect("P0100001", 1)
		ahead.Store(0)
		time.Sleep(time.Minute)
		r.settle()
		r.expect("P0100001")
		r.append(named("a", 2))
		r.settle()
		r.expect(event.RootCollection, 1, 2)
		time.Sleep(time.Hour)
		r.settle()
		r.expect("P0100002", 2)
		head := r.head()
		ahead.Store(-int64(10 * time.Second)) // little is waited for
		time.Sleep(time.Minute)
		r.append(named("b", 2))
		r.settle()
		for _, c := range r.cycles(head) {
			if c.Cause != event.ByDevices {
				t.Errorf("a small step makes cycle %v", c)
			}
		}
	})
}
