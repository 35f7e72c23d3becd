package listener

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func each(set map[uint32]bool, yield func(uint32) bool) {
	for d := range set {
		if !yield(d) {
			return
		}
	}
}

func setOf(devices []uint32) map[uint32]bool {
	set := make(map[uint32]bool)
	for _, d := range devices {
		set[d] = true
	}
	return set
}

func sortedIDs(ids []task.ID) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = fmt.Sprint(id)
	}
	slices.Sort(all)
	return all
}

func TestFrameBudget(t *testing.T) {
	p := newPKI(t)
	tab := newTable(10, func([]receiver) {})
	u := p.operation(time.Hour, 1, 2, 300)
	tk, _ := u.Signed.Task()
	op := newOperation(tk, u)
	if err := tab.open(op, time.Now()); err != nil {
		t.Fatal(err)
	}
	a, _ := op.frame(1, &tab.room)
	b, _ := op.frame(2, &tab.room)
	c, _ := op.frame(300, &tab.room)
	if &a[0] != &b[0] || &a[0] == &c[0] {
		t.Fatal("devices of one leaf share a frame, others do not")
	}
	if used := frameCache - tab.room.Load(); used != int64(len(a)+len(c)) {
		t.Fatalf("%d bytes are counted", used)
	}
	tab.end(EndOperation{ID: tk.Operation}, nil, time.Now())
	if _, err := op.frame(1, &tab.room); err != nil || tab.room.Load() != frameCache {
		t.Fatalf("after the end %d bytes are counted, %v", frameCache-tab.room.Load(), err)
	}
}

func TestTableRefuses(t *testing.T) {
	tab := newTable(1, func([]receiver) {})
	now := time.Now()
	tab.signIn(1, &fakeSession{}, &wire.SignIn{}, 1, now, func() {})
	if _, _, err := tab.signIn(2, &fakeSession{}, &wire.SignIn{}, 1, now, func() { t.Error("taken") }); err != errFull {
		t.Fatalf("got %v", err)
	}
	if n := len(tab.close()); n != 1 {
		t.Fatalf("%d sessions", n)
	}
	if _, _, err := tab.signIn(1, &fakeSession{}, &wire.SignIn{}, 1, now, func() { t.Error("taken") }); err != errStops {
		t.Fatalf("got %v", err)
	}
}

// The feed tells no end of an operation whose targets have all answered: it gives
// its place to another when its time is over.
func TestOperationsThatAreOverMakeRoom(t *testing.T) {
	p := newPKI(t)
	tab := newTable(2, func([]receiver) {})
	now := time.Now()
	open := func(valid time.Duration, at time.Time) error {
		u := p.operationAt(now, now.Add(valid), 1)
		tk, err := u.Signed.Task()
		if err != nil {
			t.Fatal(err)
		}
		err = tab.open(newOperation(tk, u), at)
		if op := tab.find(tk.Operation); op != nil {
			op.setFinal(1)
		}
		return err
	}
	for _, valid := range []time.Duration{time.Hour, 3 * time.Hour} {
		if err := open(valid, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(3*time.Hour, now); !errors.Is(err, errTooManyOps) {
		t.Fatalf("a third: %v", err)
	}
	if err := open(3*time.Hour, now.Add(time.Hour)); err != nil {
		t.Fatalf("when the first is over: %v", err)
	}
	if ops, _, _ := tab.counts(); ops != 2 {
		t.Fatalf("%d operations", ops)
	}
}

// A sign-in that took its time before it got the lock still meets what was
// released meanwhile, and so does one after the clock was set back.
func TestReleasedIsNotMissed(t *testing.T) {
	tab := newTable(1, func([]receiver) {})
	now := time.Unix(1_700_000_000, 0)
	op := &modelOp{id: task.ID{1}, notBefore: now, deliverBy: now.Add(time.Hour), targets: setOf([]uint32{7})}
	if err := tab.open(op.make(), now); err != nil {
		t.Fatal(err)
	}
	s := &fakeSession{device: 7}
	if _, _, err := tab.signIn(7, s, &wire.SignIn{}, 1, now.Add(-time.Nanosecond), func() {}); err != nil {
		t.Fatal(err)
	}
	if len(s.got) != 1 {
		t.Fatalf("got %d operations that are released, want 1", len(s.got))
	}
}
