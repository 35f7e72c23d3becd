package agent

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// model is what a ledger must know, told from its promises.
type model struct {
	last        map[task.ID]task.Result
	again, here map[task.ID]bool
	wait        map[string]bool // results that the site does not have
}

func (m *model) reached(e Entry) {
	r := e.Result
	m.last[r.Operation], m.again[r.Operation], m.here[r.Operation] = r, e.Again, true
	m.wait[key(&r)] = true
}

// cancelled is what a cancel must make of an operation.
func (m *model) cancelled(id task.ID) (end task.State) {
	last, known := m.last[id]
	switch {
	case last.State.Final() || last.State == task.Running && !m.again[id]:
		return task.NoState
	case last.State == task.Running && m.here[id]:
		last.Detail = detailCancelled
		m.last[id], m.again[id] = last, false
		return task.NoState
	case last.State == task.Running || last.Attempt > 1:
		last.State, last.Detail = task.Failed, detailCutOff
	case known:
		last.State, last.Detail = task.Refused, detailCancelled
	default:
		last = cancelOf(id).Result
	}
	last.At = someTime
	m.reached(Entry{Again: m.again[id], Result: last})
	return last.State
}

func cancelOf(id task.ID) Entry {
	return Entry{Act: Reached, Until: someTime.Add(time.Hour), Result: task.Result{Operation: id, Attempt: 1, State: task.Refused,
		At: someTime, Detail: detailCancelled}}
}

func key(r *task.Result) string { return fmt.Sprint(r.Operation, r.Attempt, r.State) }

func TestLedgerProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := &memoryRecord{}
		l := must(openLedger(rec))
		m := model{map[task.ID]task.Result{}, map[task.ID]bool{}, map[task.ID]bool{}, map[string]bool{}}
		ids := []task.ID{{1}, {2}, {3}, {4}}
		states := []task.State{task.Delivered, task.Running, task.Succeeded, task.Failed, task.Refused}
		result := func(t *rapid.T) task.Result {
			return task.Result{Operation: rapid.SampledFrom(ids).Draw(t, "id"), State: rapid.SampledFrom(states).Draw(t, "state"),
				Attempt: uint8(rapid.IntRange(1, 2).Draw(t, "attempt")), At: someTime, Detail: "x"}
		}
		check := func(t *rapid.T, l *ledger) {
			for id, want := range m.last {
				if got, ok := l.get(id); !ok || got.last != want || got.again != m.again[id] {
					t.Fatalf("%x is %+v, want %+v, and may start again: %t", id[0], got, want, m.again[id])
				}
			}
			waiting := map[string]bool{}
			for _, p := range l.queue {
				waiting[key(&p.Result)] = true
			}
			if d := cmp.Diff(m.wait, waiting, cmpopts.EquateEmpty()); d != "" {
				t.Fatal(d)
			}
		}
		luck := func(t *rapid.T) {
			rec.step = nil
			if rapid.IntRange(0, 4).Draw(t, "luck") == 0 {
				rec.step = func(append bool) fault {
					if append {
						return failsEmpty
					}
					return noFault
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"reach": func(t *rapid.T) {
				r := result(t)
				r.Detail = fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "detail"))
				e := Entry{Reached, "test", someTime.Add(time.Hour), rapid.Bool().Draw(t, "again"), "", r}
				luck(t)
				if l.reach(someTime, true, e) != nil {
					return
				}
				if old, ok := m.last[r.Operation]; !ok || follows(&r, &old) {
					m.reached(e)
				}
			},
			"cancel": func(t *rapid.T) {
				id := rapid.SampledFrom(ids).Draw(t, "id")
				luck(t)
				end, err := l.cancel(someTime, cancelOf(id))
				if err != nil {
					return
				}
				if want := m.cancelled(id); end != want {
					t.Fatalf("cancel of %x ended it %s, want %s", id[0], end, want)
				}
			},
			"ack": func(t *rapid.T) {
				r := result(t)
				l.ack(r.Operation, r.Attempt, r.State)
				delete(m.wait, key(&r))
			},
			"restart": func(t *rapid.T) {
				rec.step = nil
				if err := l.close(); err != nil {
					t.Fatal(err)
				}
				l = must(openLedger(rec))
				clear(m.here)
			},
			"rewrite": func(t *rapid.T) {
				rec.step = nil
				l.dirty = true
			},
			"": func(t *rapid.T) { check(t, l) },
		})
	})
}

func TestLedgerForgetsAndIsBounded(t *testing.T) {
	rec := &memoryRecord{}
	l := must(openLedger(rec))
	entry := func(i int, until time.Time) Entry {
		return Entry{Reached, "test", until, false, "", task.Result{Operation: task.ID{byte(i >> 8), byte(i)}, Attempt: 1,
			State: task.Succeeded, At: someTime}}
	}
	for i := range MaxKnown {
		if err := l.reach(someTime, true, entry(i, someTime.Add(time.Duration(i)*time.Second))); err != nil {
			t.Fatal(err)
		}
	}
	next := entry(MaxKnown, someTime)
	if err := l.reach(someTime, true, next); !errors.Is(err, errFull) {
		t.Fatalf("one more: %v", err)
	}
	// What the site has not acknowledged is kept, whatever its age.
	if err := l.reach(someTime.Add(time.Hour), true, next); !errors.Is(err, errFull) {
		t.Fatalf("one more: %v", err)
	}
	for i := range MaxKnown {
		e := entry(i, someTime)
		l.ack(e.Result.Operation, 1, task.Succeeded)
	}
	if err := l.reach(someTime.Add(10*time.Second), true, next); err != nil {
		t.Fatal(err)
	}
	if n := len(l.ops); n != MaxKnown-9 {
		t.Errorf("%d operations are known", n)
	}
	if n := len(rec.entries); n > 3*MaxKnown {
		t.Errorf("record of %d entries", n)
	}
}

// What has no end on record is listed, also what is in hand and not on record yet:
// only of what is listed a listener hands out the cancel. There is room for some.
func TestOpenListsWhatHasNoEnd(t *testing.T) {
	var entries []Entry
	add := func(e Entry) task.ID {
		e.Act, e.Result.Operation, e.Result.Attempt = Reached, task.NewRandomID(), 1
		entries = append(entries, e)
		return e.Result.Operation
	}
	fresh := task.NewRandomID()
	ended := add(Entry{Result: task.Result{State: task.Succeeded}})
	want := []task.ID{fresh, add(Entry{Result: task.Result{State: task.Running}}), add(Entry{Again: true, Result: task.Result{State: task.Running}})}
	waited := add(Entry{Result: task.Result{State: task.Deferred}})
	held := map[task.ID]bool{fresh: true, ended: true}
	ids, _ := must(openLedger(&memoryRecord{entries: entries})).open(held)
	if !sameIDs(ids, append(want, waited)) {
		t.Errorf("%v, want %v and %s", ids, want, waited)
	}
	for range wire.MaxOpen {
		add(Entry{Result: task.Result{State: task.Delivered}})
	}
	ids, _ = must(openLedger(&memoryRecord{entries: entries})).open(held)
	if len(ids) != wire.MaxOpen || ids[0] != fresh || !sameIDs(ids[:len(want)], want) {
		t.Errorf("%d are listed, first %v, want %v in front", len(ids), ids[:len(want)], want)
	}
}

func sameIDs(a, b []task.ID) bool {
	order := func(x, y task.ID) int { return bytes.Compare(x[:], y[:]) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

// What a cancel makes of an operation, by what is on record of it and whether this
// process came so far, and what the next process makes of that.
func TestLedgerCancel(t *testing.T) {
	m := newSite(t, 0).order("test.again", nil)
	id := operationOf(m)
	once := func(e Entry) Entry { e.Again = false; return e }
	for name, c := range map[string]struct {
		earlier, here []Entry
		end           task.State // by the cancel
		detail        string
		next          task.State // by the next process's interrupted
	}{
		"unknown":           {end: task.Refused, detail: detailCancelled},
		"waits":             {here: []Entry{again(m, 1, task.Delivered)}, end: task.Refused, detail: detailCancelled},
		"waited":            {earlier: []Entry{again(m, 1, task.Delivered)}, end: task.Refused, detail: detailCancelled},
		"runs":              {here: []Entry{again(m, 1, task.Delivered), again(m, 1, task.Running)}, detail: detailCutOff, next: task.Failed},
		"ran":               {earlier: []Entry{again(m, 1, task.Running)}, end: task.Failed, detail: detailCutOff},
		"waits again":       {earlier: []Entry{again(m, 1, task.Running)}, here: []Entry{again(m, 2, task.Delivered)}, end: task.Failed, detail: detailCutOff},
		"runs again":        {earlier: []Entry{again(m, 1, task.Running)}, here: []Entry{again(m, 2, task.Running)}, detail: detailCutOff, next: task.Failed},
		"runs once":         {here: []Entry{once(again(m, 1, task.Running))}, detail: detailInterrupted, next: task.Failed},
		"ran once":          {earlier: []Entry{once(again(m, 1, task.Running))}, detail: detailInterrupted, next: task.Failed},
		"ended":             {here: []Entry{again(m, 1, task.Running), again(m, 1, task.Succeeded)}},
		"ended, and before": {earlier: []Entry{again(m, 1, task.Succeeded)}},
	} {
		for _, how := range []string{"appended", "acknowledged", "rewritten"} {
			t.Run(name+", "+how, func(t *testing.T) {
				rec := &memoryRecord{entries: slices.Clone(c.earlier)}
				l := must(openLedger(rec))
				if len(c.here) > 0 {
					if err := l.reach(someTime, true, c.here...); err != nil {
						t.Fatal(err)
					}
				}
				if how == "acknowledged" {
					for _, e := range slices.Concat(c.earlier, c.here) {
						l.ack(id, e.Result.Attempt, e.Result.State)
					}
				}
				waiting := len(l.queue)
				for i := range 2 { // the second makes no difference
					end, err := l.cancel(someTime, Entry{Act: Reached, Result: task.Result{Operation: id, Attempt: 1, State: task.Refused, Detail: detailCancelled}})
					if want := []task.State{c.end, task.NoState}[i]; end != want || err != nil {
						t.Errorf("cancel %d ended it %s: %v, want %s", i+1, end, err, want)
					}
				}
				if got := len(l.queue) - waiting; (got == 1) != (c.end != task.NoState) {
					t.Errorf("%d more results wait", got)
				}
				if how == "rewritten" {
					l.dirty = true
				}
				if err := l.close(); err != nil {
					t.Fatal(err)
				}
				l = must(openLedger(rec))
				op, _ := l.get(id)
				if c.end != task.NoState && (op.last.State != c.end || op.last.Detail != c.detail) {
					t.Errorf("on record is %s %q", op.last.State, op.last.Detail)
				}
				ends := l.interrupted("")
				if (len(ends) == 1) != (c.next != task.NoState) || len(ends) == 1 && (ends[0].Result.State != c.next || ends[0].Result.Detail != c.detail) {
					t.Errorf("the next process ends %+v", ends)
				}
			})
		}
	}
}
