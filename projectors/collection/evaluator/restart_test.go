package evaluator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// crash does what a crash and a new start do; the views are folded anew.
func (r *rig) crash() error {
	r.t.Helper()
	err := r.stop()
	w := newWorld()
	j, failed := r.j.Reopen(journal.Options{Folds: []journal.Fold{w}})
	if failed != nil {
		r.t.Fatal(failed)
	}
	r.j, r.w = j, w
	r.start()
	return err
}

// judge is an engine that knows what the views know, and nothing else. Collections
// that cannot be read have no rules in it.
func (r *rig) judge() (*engine.Engine, []engine.Collection) {
	r.t.Helper()
	e := engine.New(r.w.schema)
	if err := r.w.Records(func(rec *schema.Record) (bool, error) { e.Put(rec); return true, nil }); err != nil {
		r.t.Fatal(err)
	}
	var all []engine.Collection
	for _, d := range r.w.definitions() {
		c := engine.Collection{ID: d.ID}
		if s := r.state(d.ID); s.Broken == nil {
			c = engine.Collection{ID: d.ID, Limit: d.Limit, Include: d.Include, Exclude: d.Exclude}
			for _, q := range d.Queries {
				parsed, err := wql.Parse(q.WQL, r.w.schema)
				if err != nil {
					r.t.Fatal(err)
				}
				c.Queries = append(c.Queries, parsed)
			}
		}
		all = append(all, c)
	}
	if err := e.Define(all); err != nil {
		r.t.Fatal(err)
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	for id, k := range r.w.known {
		e.Restore(id, k.Members)
	}
	return e, all
}

// differences are the collections that a full evaluation of them, of all if none is
// named, would change.
func (r *rig) differences(ids ...string) (all []string) {
	r.t.Helper()
	e, _ := r.judge()
	changes, err := e.Evaluate(engine.Request{Collections: ids, Now: time.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range changes {
		if !c.Added.IsEmpty() || !c.Removed.IsEmpty() {
			all = append(all, fmt.Sprintf("%s +%v -%v", c.ID, c.Added.ToArray(), c.Removed.ToArray()))
		}
	}
	return all
}

func TestRestartAppendsNothing(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 1, 2), definition("P0100001", where("Name like 'a%'")), definition("P0100002", limit("P0100001"), scheduled("0 4 1 1 *")),
			&event.EvaluationRequested{Collections: []string{"P0100001"}})
		r.settle()
		head, before := r.head(), r.cycles(0)
		for range 3 {
			if err := r.crash(); err != nil {
				t.Error(err)
			}
			r.settle()
		}
		if r.head() != head {
			t.Errorf("%d events follow a new start: %v", r.head()-head, r.cycles(head))
		}
		r.append(named("az", 3))
		r.settle()
		r.expect("P0100001", 1, 2, 3)
		if c := r.cycles(head); len(c) != 1 || c[0].Cycle != before[len(before)-1].Cycle+1 {
			t.Errorf("cycles are %v", c) // their numbers go on
		}
	})
}

// What happened while nobody evaluated is found at the start.
func TestRestartFindsWhatIsUndone(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 1), definition("P0100001", where("Name like 'a%'")),
			definition("P0100002", limit("P0100001"), where("Name like '%z'"), scheduled("0 4 1 1 *")),
			definition("P0100003", where("Name like '%z'"), scheduled("0 4 * * *")),
			definition("P0100004", where("Name like '%z'"), manual),
			definition("P0100005", where("Name like '%z'"), manual))
		r.settle()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		head := r.append(named("bz", 2), named("az", 3), &event.DeviceRemoved{Device: 1},
			&event.EvaluationRequested{Collections: []string{"P0100004"}}, definition("P0100006", where("Name = 'bz'"), manual))
		if err := r.crash(); err != nil {
			t.Error(err)
		}
		r.settle()
		r.expect("P0100001", 3)
		r.expect("P0100002", 3)
		r.expect("P0100003", 2, 3) // follows the root
		r.expect("P0100004", 2, 3)
		r.expect("P0100006", 2)
		if got := r.differences(); got != nil {
			t.Errorf("a full evaluation changes %v", got)
		}
		c := r.cycles(head)
		if len(c) != 2 || c[0].Cause != event.ByStart || c[0].Queue != event.IncrementalQueue || c[1].Cause != event.ByRequest || c[1].By != head-1 {
			t.Errorf("cycles are %v", c)
		}
		head = r.head()
		if err := r.crash(); err != nil {
			t.Error(err)
		}
		r.settle()
		if r.head() != head {
			t.Errorf("after another start: %v", r.cycles(head))
		}
	})
}

// A crash between two parts of a cycle leaves a parent whose child has not followed.
func TestRestartFindsACascadeThatWasCut(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 1), named("b", 2), definition("P0100001", where("Name like 'a%'")), definition("P0100002", limit("P0100001"), where("Name like '%z'"), scheduled("0 4 1 1 *")))
		r.settle()
		r.append(definition("P0100003", manual, where("Name = 'zz'")))
		r.settle()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.append(named("az", 2), definition("P0100003", manual, include(event.RootCollection)))
		head := r.append(&event.CollectionsEvaluated{Cycle: 90, Part: 1, Of: 2, Queue: event.IncrementalQueue, Cause: event.ByDevices, Basis: r.head(),
			Results: []event.CollectionResult{{ID: "P0100001", Members: 2, Added: []byte{0, 2}}}})
		if err := r.crash(); err != nil {
			t.Error(err)
		}
		r.settle()
		r.expect("P0100001", 1, 2)
		r.expect("P0100002", 1, 2)
		r.expect("P0100003", 1, 2) // was defined anew, and nothing else came
		if c := r.cycles(head); len(c) != 1 || c[0].Cycle != 91 || !slices.Equal(c[0].ids, []string{"P0100002", "P0100003"}) {
			t.Errorf("cycles are %v", c)
		}
	})
}

// A collection on schedule only keeps its members over a start, unless its time came.
func TestRestartKeepsSchedules(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 1), named("b", 2), definition("P0100001", where("Name like 'a%'"), scheduled("0 4 * * *")))
		r.settle()
		head := r.append(named("az", 2))
		r.settle()
		if err := r.crash(); err != nil {
			t.Error(err)
		}
		r.settle()
		r.expect("P0100001", 1)
		if s := r.state("P0100001"); !s.Stale {
			t.Errorf("state is %+v", s)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		time.Sleep(72 * time.Hour) // its time comes three times
		if err := r.crash(); err != nil {
			t.Error(err)
		}
		r.settle()
		r.expect("P0100001", 1, 2)
		if c := r.cycles(head); len(c) != 1 || c[0].Cause != event.BySchedule {
			t.Errorf("cycles are %v", c)
		}
	})
}

// TestFaults: whatever happens to the append of results, once the evaluator is well
// again members are those of a full evaluation, and no result counts twice; the world
// of the rig panics if one did.
func TestFaults(t *testing.T) {
	const collections = 150
	var devices []uint32
	for i := range uint32(3000) {
		devices = append(devices, i*200+i*i%199+1)
	}
	for _, c := range []struct {
		name   string
		faults []journaltest.Fault
		fatal  bool
	}{
		{"not stored", []journaltest.Fault{journaltest.NotStored, journaltest.NotStored}, false},
		{"stored but failed", []journaltest.Fault{journaltest.StoredButFailed}, false},
		{"lost", []journaltest.Fault{journaltest.Lost}, true},
		{"lost but stored", []journaltest.Fault{journaltest.LostButStored}, true},
		{"the second page not stored", []journaltest.Fault{journaltest.NoFault, journaltest.NotStored}, false},
		{"the second page lost", []journaltest.Fault{journaltest.NoFault, journaltest.Lost}, true},
		{"the second page lost but stored", []journaltest.Fault{journaltest.NoFault, journaltest.LostButStored}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, evaluator.Settings{}, func(r *rig) {
				r.append(named("a", devices...))
				r.settle()
				r.j.Inject(append([]journaltest.Fault{journaltest.NoFault}, c.faults...)...) // the first is for the definitions
				var all []event.Payload
				for i := range collections {
					all = append(all, definition(fmt.Sprintf("P01%05X", i+1), where("Name = 'a'")))
				}
				head := r.append(all...)
				time.Sleep(time.Minute)
				synctest.Wait()
				if c.fatal {
					if err := r.crash(); !errors.Is(err, journal.ErrUnknown) {
						t.Errorf("the evaluator ended with %v", err)
					}
					r.settle()
				}
				if got := r.differences(); got != nil {
					t.Errorf("a full evaluation changes %d collections", len(got))
				}
				n := 0
				for _, said := range r.cycles(head) {
					n += len(said.ids)
				}
				if n != collections {
					t.Errorf("%d results, want %d", n, collections)
				}
				head = r.head()
				if err := r.crash(); err != nil {
					t.Error(err)
				}
				r.settle()
				if r.head() != head {
					t.Errorf("a further start appends %v", r.cycles(head))
				}
			})
		})
	}
}

// Devices whose records cannot be read for a while are not lost.
func TestInventoryFails(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.settle()
		r.w.fail(errors.New("view is being built"))
		r.append(named("a", 1))
		time.Sleep(time.Minute)
		synctest.Wait()
		r.expect(event.RootCollection)
		if s, err := r.e.Stats(context.Background()); err != nil || s.Pending != 1 {
			t.Errorf("%+v, %v", s, err) // questions are answered meanwhile
		}
		r.w.fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.expect(event.RootCollection, 1)
	})
}

// What came while a cycle computed is not served by its results, though these are
// behind it in the journal.
func TestRestartAfterResultsThatWereOvertaken(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 1), named("b", 2), definition("P0100001", manual, where("Name like 'a%'")), definition("P0100002", manual, where("Name like 'a%'")))
		r.settle()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		basis := r.head()
		head := r.append(named("az", 2), definition("P0100001", manual, where("Name like '%z'")), &event.EvaluationRequested{Collections: []string{"P0100002"}},
			&event.CollectionsEvaluated{Cycle: 90, Part: 1, Of: 1, Queue: event.SingleQueue, Cause: event.ByRequest, Basis: basis,
				Results: []event.CollectionResult{{ID: "P0100001", Members: 1}, {ID: "P0100002", Members: 1}}})
		if err := r.crash(); err != nil {
			t.Error(err)
		}
		r.settle()
		r.expect("P0100001", 1, 2)
		r.expect("P0100002", 1, 2)
		if c := r.cycles(head); len(c) != 2 || c[1].Cause != event.ByRequest || c[1].By != head-1 {
			t.Errorf("cycles are %v", c)
		}
	})
}

// A moody journal cannot be read every tenth time, and the first.
type moody struct {
	evaluator.Journal
	calls atomic.Int64
}

func (m *moody) fails() error {
	if m.calls.Add(1)%10 == 1 {
		return errors.New("the store is busy")
	}
	return nil
}

func (m *moody) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	return m.reader(m.Journal.Read(ctx, from))
}

func (m *moody) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	return m.reader(m.Journal.Follow(ctx, from))
}

func (m *moody) reader(r journal.Reader, err error) (journal.Reader, error) {
	if failed := m.fails(); failed != nil && err == nil {
		return nil, errors.Join(failed, r.Close())
	}
	return &moodyReader{r, m}, err
}

type moodyReader struct {
	journal.Reader
	m *moody
}

func (r *moodyReader) Next(ctx context.Context) (*journal.Page, error) {
	if err := r.m.fails(); err != nil {
		return nil, err
	}
	return r.Reader.Next(ctx)
}

// A journal that cannot be read for the moment is read again, and no event is lost or
// counts twice.
func TestJournalCannotBeRead(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("a", 1), definition("P0100001", manual, where("Name = 'a'")))
		r.settle()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.append(&event.EvaluationRequested{Collections: []string{"P0100001"}}, named("a", 2))
		r.through = func(j evaluator.Journal) evaluator.Journal { return &moody{Journal: j} }
		r.start()
		time.Sleep(time.Minute)
		for d := uint32(3); d < 10; d++ {
			r.append(named("a", d), &event.EvaluationRequested{Collections: []string{"P0100001"}})
			time.Sleep(time.Minute)
		}
		r.settle()
		r.expect("P0100001", 1, 2, 3, 4, 5, 6, 7, 8, 9)
		if q := r.queue(event.SingleQueue); q.Stats.Cycles != 8 {
			t.Errorf("%+v", q)
		}
	})
}

// What was defined and not evaluated before the end is evaluated once, and said to be,
// though nothing is in it.
func TestRestartSaysWhatIsEmpty(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("a", 1))
		r.settle()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		head := r.append(definition("P0100001", manual, where("Name = 'b'")), definition("P0100002", where("Name = 'b'")))
		for range 2 {
			if err := r.crash(); err != nil {
				t.Error(err)
			}
			r.settle()
			if c := r.cycles(head); len(c) != 1 || !slices.Equal(c[0].ids, []string{"P0100001", "P0100002"}) {
				t.Errorf("cycles are %v", c)
			}
		}
		if q := r.queue(event.IncrementalQueue); q.Stats.Collections != 2 {
			t.Errorf("%+v", q) // those that follow changes, the root and one
		}
	})
}
