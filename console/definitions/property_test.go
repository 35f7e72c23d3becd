package definitions_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
)

// whole tells what is wrong with what is defined: something that is not there, a
// cycle, a name of two.
func whole(s *definitions.State) error {
	names, state := map[string]string{}, map[string]int{}
	var visit func(id string) error
	visit = func(id string) error {
		if _, ok := s.Get(id); !ok {
			return fmt.Errorf("%s is not there", id)
		}
		if state[id] == 1 {
			return fmt.Errorf("a cycle through %s", id)
		}
		if state[id] == 2 {
			return nil
		}
		state[id] = 1
		for _, in := range s.Inputs(id) {
			if err := visit(in.ID); err != nil {
				return fmt.Errorf("%s %s: %w", id, in.Relation, err)
			}
		}
		state[id] = 2
		return nil
	}
	for _, c := range s.All() {
		name := strings.ToLower(c.Name)
		if other, twice := names[name]; twice {
			return fmt.Errorf("%s and %s are named %q", c.ID, other, c.Name)
		}
		names[name] = c.ID
		if err := visit(c.ID); err != nil {
			return err
		}
	}
	return nil
}

// drawRequest asks for changes of which many are possible.
func drawRequest(t *rapid.T, now *definitions.State, names []string) *definitions.Request {
	some := func(label string, from []string, most int) []string {
		if len(from) == 0 {
			return nil
		}
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, min(most, len(from)), rapid.ID).Draw(t, label)
	}
	var there []string
	for _, c := range now.All() {
		there = append(there, c.Name)
	}
	r := &definitions.Request{}
	if rapid.IntRange(0, 3).Draw(t, "deletes") == 0 {
		r.Delete = some("delete", there, 2)
	}
	asked := some("collections", names, 5)
	there = append(there, asked...)
	for _, name := range asked {
		c := definitions.Collection{Name: name, Include: some("include", there, 1), Exclude: some("exclude", there, 1)}
		if limit := some("limit", there, 1); len(limit) > 0 {
			c.Limit = limit[0]
		}
		switch rapid.IntRange(0, 19).Draw(t, "how") {
		case 0:
			c.RenameFrom = rapid.SampledFrom(there).Draw(t, "former")
		case 1:
			c.ID = fmt.Sprintf("P010000%d", rapid.IntRange(1, 9).Draw(t, "id"))
		case 2:
			c.Queries = []definitions.Query{{WQL: "select * from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_P0100001)"}}
		}
		r.Collections = append(r.Collections, c)
	}
	return r
}

// Whatever is asked for, in any order: a plan is either refused, or carried out
// without a moment at which something is missing or goes in a circle; and then the
// same request changes nothing.
func TestPlansHold(t *testing.T) {
	names := []string{"a", "B", "c", "D", "e", "F", "g", "H"}
	rapid.Check(t, func(t *rapid.T) {
		s := &site{Definitions: definitions.New("P01")}
		for range rapid.IntRange(1, 12).Draw(t, "requests") {
			r := drawRequest(t, s.Now(), names)
			plan, err := s.Now().Plan(r)
			if err != nil {
				refusal, ok := errors.AsType[*definitions.Refusal](err)
				if !ok || len(refusal.Errors) == 0 || refusal.Error() == "" {
					t.Fatalf("%T: %v", err, err)
				}
				continue
			}
			for _, p := range plan.Events() {
				changed := p.(*event.CollectionChanged)
				was, there := s.Now().Get(changed.ID)
				if there != (changed.Before != nil) || there && was.Name != changed.Before.Name {
					t.Fatalf("before %s there was %+v, the event says %+v", changed.ID, was, changed.Before)
				}
				s.tell(p)
				if name := whole(s.Now()); name != nil && !strings.Contains(name.Error(), "are named") {
					t.Fatalf("half way: %v", name)
				}
			}
			if err := whole(s.Now()); err != nil {
				t.Fatal(err)
			}
			r.Delete = nil
			for i := range r.Collections {
				r.Collections[i].RenameFrom = ""
			}
			again, err := s.Now().Plan(r)
			if err != nil || len(again.Events()) != 0 {
				t.Fatalf("again: %v, %v", err, again)
			}
		}
	})
}

// What does not fit one page of the journal is refused, before anything is done.
func TestTooMuchAtOnce(t *testing.T) {
	s := newSite(t)
	many := func(n, bytes int) *definitions.Request {
		r := &definitions.Request{}
		for i := range n {
			r.Collections = append(r.Collections, definitions.Collection{Name: fmt.Sprintf("c%d", i), Comment: strings.Repeat("x", bytes)})
		}
		return r
	}
	s.refuseAll(many(1001, 0), "1001 things, at most 1000")
	s.refuseAll(many(200, 4000), "the changes are", "apply them in parts")
	large := many(1, 0)
	for i := range 40 {
		large.Collections[0].Queries = append(large.Collections[0].Queries, definitions.Query{WQL: fmt.Sprintf("select * from SMS_R_System where Name in ('%d'%s)", i, strings.Repeat(", 'xxxxxxxxxxxxx'", 500))})
	}
	s.refuseAll(large, "collections[0]: it cannot be kept")
	if _, err := s.Now().Plan(many(1000, 0)); err != nil {
		t.Error(err)
	}
}
