package evaluator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

func TestDefinitions(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 1, 2, 3), named("b", 4))
		r.settle()
		head := r.append(definition("P0100001", where("Name like 'a%'")))
		r.settle()
		r.expect("P0100001", 1, 2, 3)
		if c := r.cycles(head); len(c) != 1 || c[0].Queue != event.SingleQueue || c[0].Cause != event.ByDefinition || c[0].By != head || c[0].Devices != 4 {
			t.Errorf("cycles are %v", c)
		}
		head = r.append(definition("P0100002", limit("P0100001"), include(event.RootCollection)), definition("P0100001", where("Name = 'b'")))
		r.settle()
		r.expect("P0100001", 4)
		r.expect("P0100002", 4)
		if c := r.cycles(head); len(c) != 1 || c[0].Queue != event.ManualQueue || len(c[0].ids) != 2 {
			t.Errorf("cycles are %v", c)
		}
		head = r.append(definition("P0100001", where("Name = 'b'"), called("other name")))
		r.settle()
		if r.head() != head {
			t.Error("a new name was evaluated")
		}
		r.append(definition("P0100002", limit("P0100001"), include(event.RootCollection), exclude("P0100001")))
		r.settle()
		r.expect("P0100002")
		head = r.append(gone("P0100002"))
		r.settle()
		if r.head() != head {
			t.Error("a deletion was evaluated")
		}
		r.append(definition("P0100002", include(event.RootCollection)))
		r.settle()
		r.expect("P0100002", 1, 2, 3, 4)
	})
}

// A collection that comes back while results of the one before it are under way gets
// members as the views give them to it.
func TestDefinedAnewWhileResultsAreUnderWay(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("a", 1), definition("P0100001", where("Name like 'a%'")))
		r.settle()
		release := r.j.Hold()
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.append(named("a", 2)) // is written when it is released, and what follows too
		}()
		synctest.Wait()
		release()
		<-done
		time.Sleep(49 * time.Millisecond)
		release = r.j.Hold()
		go r.append(gone("P0100001"), definition("P0100001", where("Name = 'b'")))
		synctest.Wait()
		time.Sleep(10 * time.Millisecond) // the results wait behind the definition
		synctest.Wait()
		release()
		r.settle()
		r.expect("P0100001")
		r.append(named("b", 2))
		r.settle()
		r.expect("P0100001", 2)
	})
}

func TestBrokenKeepsItsMembers(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("a", 1, 2, 3), definition("P0100001", where("Name like 'a%'")), definition("P0100002", limit("P0100001"), include("P0100001")))
		r.settle()
		for n, broken := range []*event.CollectionChanged{
			definition("P0100001", where("Nonsense = 1")),
			definition("P0100001", limit("P01000FF")),
			definition("P0100001", limit("P0100002")),
			definition("P0100001", include("P0100001")),
			{ID: "P0100001", After: &event.Collection{ID: "P0100001", Name: "x", Limit: event.RootCollection, Direct: []byte{1, 2, 3}}},
		} {
			r.append(broken)
			r.settle()
			r.expect("P0100001", 1, 2, 3)
			if s := r.state("P0100001"); s.Broken == nil {
				t.Errorf("%d: state is %+v", n, s)
			}
			r.append(named("a", 4))
			r.settle()
			r.expect("P0100001", 1, 2, 3)
			r.append(&event.DeviceRemoved{Device: 3})
			r.settle()
			r.expect("P0100001", 1, 2) // nothing is in a collection that is not there
			r.append(named("a", 3), definition("P0100001", where("Name like 'a%'")), &event.DeviceRemoved{Device: 4})
			r.settle()
			r.expect("P0100001", 1, 2, 3)
			r.expect("P0100002", 1, 2, 3)
			if s := r.state("P0100001"); s.Broken != nil || s.Stale {
				t.Errorf("%d: state is %+v", n, s)
			}
		}
		m := r.said()
		if len(m) == 0 || m[0].Message != 1302 || m[0].Severity != event.Error {
			t.Errorf("said %+v", m)
		}
		// Whose limit is gone is broken too.
		r.append(gone("P0100001"))
		r.settle()
		if s := r.state("P0100002"); s.Broken == nil {
			t.Errorf("state is %+v", s)
		}
		r.expect("P0100002", 1, 2, 3)
	})
}

// An engine that refuses a query breaks the collection of that query and no other.
func TestRefusedByTheEngine(t *testing.T) {
	refuse := func(q engine.Request) error {
		if q.Devices == nil && slices.Contains(q.Collections, "P0100003") {
			return errors.New("too many combinations")
		}
		return nil
	}
	inRefusing(t, evaluator.Settings{}, refuse, func(r *rig) {
		r.append(named("a", 1))
		r.settle()
		head := r.append(definition("P0100004", where("Name = 'a'")), definition("P0100001", limit("P0100004"), where("Name = 'a'")),
			definition("P0100003", limit("P0100001"), include(event.RootCollection)), definition("P0100002", limit("P0100001"), include("P0100003"), where("Name = 'a'")))
		r.settle()
		for _, id := range []string{"P0100001", "P0100002", "P0100004"} {
			r.expect(id, 1)
		}
		r.expect("P0100003")
		if s := r.state("P0100003"); s.Broken == nil {
			t.Errorf("state is %+v", s)
		}
		if c := r.cycles(head); len(c) != 1 || !slices.Equal(c[0].ids, []string{"P0100001", "P0100002", "P0100004"}) {
			t.Errorf("cycles are %v", c)
		}
		r.append(named("a", 2))
		r.settle()
		r.expect("P0100002", 1, 2)
	})
}

// Classes that are defined later mend what asks for them.
func TestClassesAreDefined(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		query := definition("P0100001")
		query.After.Queries = []event.CollectionQuery{{Name: "q", WQL: "select * from SMS_G_System_WARRANTY where SMS_G_System_WARRANTY.Vendor = 'x'"}}
		r.append(named("a", 1), query)
		r.settle()
		if s := r.state("P0100001"); s.Broken == nil {
			t.Fatalf("state is %+v", s)
		}
		head := r.append(&event.ClassesDefined{Classes: []event.DefinedClass{{Name: "SMS_G_System_WARRANTY", Properties: []event.ClassProperty{{Name: "Vendor", Type: event.TextProperty}}}}})
		r.settle()
		if s := r.state("P0100001"); s.Broken != nil || s.Stale {
			t.Errorf("state is %+v", s)
		}
		if c := r.cycles(head); len(c) != 1 || c[0].Cause != event.ByDefinition || c[0].By != head {
			t.Errorf("cycles are %v", c)
		}
	})
}

// A rule that compares devices with each other is asked of all of them.
func TestDevicesComparedWithEachOther(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001", where("Name in (select Name from SMS_R_System where ResourceID = 1)")), definition("P0100002", exclude("P0100001"), include(event.RootCollection)))
		r.append(named("a", 1, 2), named("b", 3))
		r.settle()
		r.expect("P0100001", 1, 2)
		r.append(named("b", 1))
		r.settle()
		r.expect("P0100001", 1, 3)
		r.expect("P0100002", 2)
	})
}

// A cycle takes results in parts if there are many of them.
func TestPartsOfACycle(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		const collections = 100
		var devices []uint32
		for i := range uint32(2000) {
			devices = append(devices, i*400+i*i%389+1) // far apart, so that sets are long
		}
		r.append(named("a", devices...))
		var definitions []event.Payload
		for i := range collections {
			definitions = append(definitions, definition(fmt.Sprintf("P01%05X", i+1), where("Name = 'a'")))
		}
		head := r.append(definitions...)
		r.settle()
		n := len(r.w.members(event.RootCollection))
		for i := range collections {
			if got := len(r.w.members(fmt.Sprintf("P01%05X", i+1))); got != n {
				t.Fatalf("collection %d has %d members, want %d", i+1, got, n)
			}
		}
		c := r.cycles(head)
		if len(c) != 1 || c[0].Of < 2 || len(c[0].ids) != collections+1 {
			t.Errorf("cycles are %v of %d parts", c, c[0].Of)
		}
	})
}

// Whatever the journal says, what is well goes on.
func TestDefinitionsThatCannotBe(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("a", 1), definition("P0100001", where("Name = 'a'")), definition("p0100001", where("Name = 'b'")), definition("sms00001"),
			definition("P0100002", limit("P0100003")), definition("P0100003", limit("P0100002")), definition("P0100004", limit("P0100004")),
			definition("p01abcde", limit("P01ABCDE")), definition("", where("Name = 'a'")), definition(event.RootCollection, where("Name = 'b'")),
			definition("P0100005", where("Name = 'a'")))
		r.settle()
		r.expect("P0100005", 1)
		r.expect(event.RootCollection, 1)
		if err := r.crash(); err != nil {
			t.Error(err)
		}
		r.append(named("a", 2))
		r.settle()
		r.expect("P0100005", 1, 2)
		for _, id := range []string{"P0100002", "P0100003", "P0100004", "p01abcde", "sms00001"} {
			if s := r.state(id); s.Broken == nil {
				t.Errorf("state is %+v", s)
			}
		}
		if s, err := r.e.Sizes(context.Background()); err != nil || s.Devices != 2 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// Sets that no event holds become several results of the same collection.
func TestResultsOfAVeryLargeFleet(t *testing.T) {
	added, removed := roaring.New(), roaring.New()
	for i, seed := uint32(1), uint32(1); i < 3_000_000; i++ {
		if seed = seed*1664525 + 1013904223; seed>>31 == 0 {
			added.Add(i)
		} else if seed>>30 == 3 {
			removed.Add(i)
		}
	}
	const before = 1_000_000
	c := &engine.Change{ID: "P0100001", Added: added.Clone(), Removed: removed.Clone(),
		Members: before + int(added.GetCardinality()) - int(removed.GetCardinality())}
	parts, err := evaluator.Cut(c)
	if err != nil {
		t.Fatal(err)
	}
	plus, minus := roaring.New(), roaring.New()
	members := before
	for i, results := range parts {
		e := &event.Event{Payload: &event.CollectionsEvaluated{Cycle: 1, Part: uint16(i + 1), Of: uint16(len(parts)), Queue: event.FullQueue, Cause: event.ByStart, Results: results}}
		if _, err := e.Append(nil); err != nil {
			t.Error(err)
		}
		for _, r := range results {
			a, err := event.ParseSet(r.Added)
			d, err2 := event.ParseSet(r.Removed)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			plus.Or(a)
			minus.Or(d)
			members += int(a.GetCardinality()) - int(d.GetCardinality())
			if int(r.Members) != members {
				t.Errorf("%d members, want %d", r.Members, members)
			}
		}
	}
	if !plus.Equals(added) || !minus.Equals(removed) || members != c.Members {
		t.Errorf("%d came and %d went, want %d and %d", plus.GetCardinality(), minus.GetCardinality(), added.GetCardinality(), removed.GetCardinality())
	}
}
