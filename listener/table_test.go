package listener

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A fakeSession notes what the table hands it.
type fakeSession struct {
	device uint32
	got    []task.ID
}

func (s *fakeSession) deliver(op *operation, push bool) { s.got = append(s.got, op.task.Operation) }
func (s *fakeSession) displace()                        {}
func (s *fakeSession) block()                           {}
func (s *fakeSession) goAway()                          {}

// A model says in the plainest way what a table must do: each session meets each
// operation once, when both are there, and gets it if it is due at that moment.
type model struct {
	now     time.Time
	ops     []*modelOp
	session map[uint32]*fakeSession
	blocked map[uint32]bool
	want    map[*fakeSession][]task.ID
}

type modelOp struct {
	id                   task.ID
	notBefore, deliverBy time.Time
	targets, final       map[uint32]bool
	released, ended      bool
	repeated             bool // by this reading of the feed
	met                  map[*fakeSession]bool
}

func (m *model) meet() {
	for _, op := range m.ops {
		op.released = op.released || !m.now.Before(op.notBefore)
		if !op.released || op.ended {
			continue
		}
		for device, s := range m.session {
			if op.met[s] {
				continue
			}
			op.met[s] = true
			if op.targets[device] && !op.final[device] && m.now.Before(op.deliverBy) {
				m.want[s] = append(m.want[s], op.id)
			}
		}
	}
}

var tableDevices = []uint32{1, 2, 255, 256, 300, 70_000}

func TestTableProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable(1 << 20)
		tab.begin()
		m := &model{now: time.Unix(1_700_000_000, 0), session: map[uint32]*fakeSession{}, blocked: map[uint32]bool{},
			want: map[*fakeSession][]task.ID{}}
		var all []*fakeSession
		device := func() uint32 { return rapid.SampledFrom(tableDevices).Draw(t, "device") }
		someOp := func() *modelOp {
			if len(m.ops) == 0 {
				t.Skip("no operation yet")
			}
			return rapid.SampledFrom(m.ops).Draw(t, "op")
		}
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				devices := rapid.SliceOfNDistinct(rapid.SampledFrom(tableDevices), 1, 6, rapid.ID[uint32]).Draw(t, "targets")
				done := rapid.SliceOfDistinct(rapid.SampledFrom(devices), rapid.ID[uint32]).Draw(t, "done")
				op := &modelOp{id: task.ID{0: byte(len(m.ops) >> 8), 1: byte(len(m.ops))}, targets: setOf(devices), final: setOf(done), met: map[*fakeSession]bool{}}
				op.notBefore = m.now.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "notBefore")) * time.Second)
				op.deliverBy = op.notBefore.Add(time.Duration(rapid.IntRange(1, 6).Draw(t, "validity")) * time.Second)
				op.repeated = true
				m.ops = append(m.ops, op)
				if err := tab.open(op.make(), m.now); err != nil {
					t.Fatal(err)
				}
			},
			"open again": func(t *rapid.T) {
				op := someOp()
				if op.ended {
					t.Skip("ended")
				}
				tab.open(op.make(), m.now)
			},
			"end": func(t *rapid.T) {
				op := someOp()
				op.ended = true
				tab.end(op.id)
			},
			"final": func(t *rapid.T) {
				op, d := someOp(), device()
				op.final[d] = true
				if known := tab.final(op.id, d); known == op.ended {
					t.Fatalf("known is %t", known)
				}
			},
			"sign in": func(t *rapid.T) {
				d := device()
				s := &fakeSession{device: d}
				old, err := tab.signIn(d, s, len(tableDevices), m.now, func() {})
				if (err != nil) != m.blocked[d] {
					t.Fatalf("sign-in of %d: %v", d, err)
				}
				if err == nil {
					if was := m.session[d]; (old == nil) != (was == nil) || was != nil && old != receiver(was) {
						t.Fatal("displaced another session")
					}
					m.session[d] = s
					all = append(all, s)
				}
			},
			"sign out": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("nobody yet")
				}
				s := rapid.SampledFrom(all).Draw(t, "session")
				current := m.session[s.device] == s
				told := false
				tab.signOut(s.device, s, func() { told = true })
				if told != current {
					t.Fatalf("sign-out told is %t", told)
				}
				if current {
					delete(m.session, s.device)
				}
			},
			"block":   func(t *rapid.T) { d := device(); m.blocked[d] = true; tab.block(d) },
			"unblock": func(t *rapid.T) { d := device(); delete(m.blocked, d); tab.unblock(d) },
			"feed begins": func(t *rapid.T) {
				tab.begin()
				for _, op := range m.ops {
					if !op.ended && rapid.Bool().Draw(t, "repeated") {
						tab.open(op.make(), m.now)
					} else {
						op.ended = true
					}
				}
				for _, d := range tableDevices {
					if rapid.Bool().Draw(t, "blocked") {
						m.blocked[d] = true
						tab.block(d)
					} else {
						delete(m.blocked, d)
					}
				}
				tab.whole()
			},
			"time": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 4).Draw(t, "half seconds")) * time.Second / 2)
				next := tab.release(m.now)
				m.checkNext(t, next)
			},
			"": func(t *rapid.T) {
				m.meet()
				for _, s := range all {
					if got, want := sortedIDs(s.got), sortedIDs(m.want[s]); !slices.Equal(got, want) {
						t.Fatalf("device %d got %v, want %v", s.device, got, want)
					}
				}
			},
		})
	})
}

func (m *model) checkNext(t *rapid.T, next time.Time) {
	var want time.Time
	for _, op := range m.ops {
		if !op.ended && op.notBefore.After(m.now) && (want.IsZero() || op.notBefore.Before(want)) {
			want = op.notBefore
		}
	}
	if !next.Equal(want) {
		t.Fatalf("next release %s, want %s", next, want)
	}
}

func (op *modelOp) make() *operation {
	targets, _ := task.NewTargets(func(yield func(uint32) bool) { each(op.targets, yield) })
	done, _ := task.NewTargets(func(yield func(uint32) bool) { each(op.final, yield) })
	return newOperation(task.Task{Operation: op.id, NotBefore: op.notBefore, DeliverBy: op.deliverBy},
		OpenOperation{Targets: targets, Done: done})
}

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
	tab := newTable(10)
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
	tab.end(tk.Operation)
	if _, err := op.frame(1, &tab.room); err != nil || tab.room.Load() != frameCache {
		t.Fatalf("after the end %d bytes are counted, %v", frameCache-tab.room.Load(), err)
	}
}

func TestTableRefuses(t *testing.T) {
	tab := newTable(1)
	now := time.Now()
	tab.signIn(1, &fakeSession{}, 1, now, func() {})
	if _, err := tab.signIn(2, &fakeSession{}, 1, now, func() { t.Error("taken") }); err != errFull {
		t.Fatalf("got %v", err)
	}
	if n := len(tab.close()); n != 1 {
		t.Fatalf("%d sessions", n)
	}
	if _, err := tab.signIn(1, &fakeSession{}, 1, now, func() { t.Error("taken") }); err != errStops {
		t.Fatalf("got %v", err)
	}
}

// A sign-in that took its time before it got the lock still meets what was
// released meanwhile, and so does one after the clock was set back.
func TestReleasedIsNotMissed(t *testing.T) {
	tab := newTable(1)
	now := time.Unix(1_700_000_000, 0)
	op := &modelOp{id: task.ID{1}, notBefore: now, deliverBy: now.Add(time.Hour), targets: setOf([]uint32{7})}
	if err := tab.open(op.make(), now); err != nil {
		t.Fatal(err)
	}
	s := &fakeSession{device: 7}
	if _, err := tab.signIn(7, s, 1, now.Add(-time.Nanosecond), func() {}); err != nil {
		t.Fatal(err)
	}
	if len(s.got) != 1 {
		t.Fatalf("got %d operations that are released, want 1", len(s.got))
	}
}
