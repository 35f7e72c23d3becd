package listener

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A fakeSession notes what the table hands it.
type fakeSession struct {
	device   uint32
	got      []task.ID
	replayed []*operation
	pushes   map[*push]int64 // of all sessions
	cancels  []string
	rings    []string
	waits    bool // has something, and was not signalled
}

func signalled(sessions []receiver) {
	for _, s := range sessions {
		s.(*fakeSession).waits = false
	}
}

// deliver counts as sent: a writer would send it at once.
func (s *fakeSession) deliver(op *operation, p *push) {
	s.got = append(s.got, op.task.Operation)
	s.waits = true
	op.setSent(s.device)
	if p == nil {
		s.replayed = append(s.replayed, op)
	} else if s.pushes != nil {
		s.pushes[p]++
	}
}

func (s *fakeSession) keyrings(frames [][]byte) {
	s.waits = true
	for _, f := range frames {
		s.rings = append(s.rings, string(f))
	}
}
func (s *fakeSession) frame(f []byte) { s.cancels = append(s.cancels, string(f)) }
func (s *fakeSession) displace()      {}
func (s *fakeSession) block()         {}
func (s *fakeSession) goAway()        {}

// A model says in the plainest way what a table must do: each session meets each
// operation once, when both are there and its device is released, and gets it if
// it is due at that moment. A cancel goes to every session that knows the task
// and has not answered, and later to whoever lists it. Each session gets each
// keyring above its own once, in order.
type model struct {
	now     time.Time
	tab     *table
	ops     []*modelOp
	rings   []string
	session map[uint32]*fakeSession
	blocked map[uint32]bool
	all     []*fakeSession
	pushes  map[*push]int64

	want      map[*fakeSession][]task.ID
	wantWords map[*fakeSession][]string
	wantRings map[*fakeSession][]string
}

type modelOp struct {
	id                   task.ID
	notBefore, deliverBy time.Time
	priority             uint8
	held, ended          bool
	targets, final       map[uint32]bool
	knows                map[uint32]bool
	released             map[uint32]bool
	waves                []ReleaseWave
	cancel               string
	until                time.Time
	met                  map[*fakeSession]bool
}

var tableDevices = []uint32{1, 2, 255, 256, 300, 70_000}

func newModel() *model {
	m := &model{now: time.Unix(1_700_000_000, 0), tab: newTable(1<<20, signalled), session: map[uint32]*fakeSession{},
		blocked: map[uint32]bool{}, pushes: map[*push]int64{}, want: map[*fakeSession][]task.ID{},
		wantWords: map[*fakeSession][]string{}, wantRings: map[*fakeSession][]string{}}
	m.tab.begin()
	return m
}

// moment is when device is released, if anything says so.
func (op *modelOp) moment(device uint32) (at time.Time, ok bool) {
	if !op.held {
		return op.notBefore, true
	}
	for _, w := range op.waves {
		if w.Devices.Has(device) {
			if moment := later(w.Moment(device), op.notBefore); !ok || moment.Before(at) {
				at, ok = moment, true
			}
		}
	}
	return at, ok
}

func (m *model) meet() {
	for _, op := range m.ops {
		for _, d := range tableDevices {
			if at, ok := op.moment(d); ok && !m.now.Before(at) {
				op.released[d] = true
			}
		}
		for device, s := range m.session {
			if op.ended || op.met[s] || !op.released[device] {
				continue
			}
			op.met[s] = true
			if op.targets[device] && !op.final[device] && m.now.Before(op.deliverBy) {
				m.want[s] = append(m.want[s], op.id)
				op.knows[device] = true
			}
		}
	}
}

// next is when somebody is released next, zero for never.
func (m *model) next() (next time.Time) {
	for _, op := range m.ops {
		for d := range op.targets {
			if at, ok := op.moment(d); ok && !op.ended && at.After(m.now) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	return next
}

// someOp is an operation, mostly one of the last.
func (m *model) someOp(t *rapid.T) *modelOp {
	if len(m.ops) == 0 {
		t.Skip("no operation yet")
	}
	last := m.ops[max(0, len(m.ops)-2):]
	if rapid.IntRange(0, 4).Draw(t, "any") == 0 {
		last = m.ops
	}
	return rapid.SampledFrom(last).Draw(t, "op")
}

func device(t *rapid.T) uint32 { return rapid.SampledFrom(tableDevices).Draw(t, "device") }

func some(t *rapid.T, of []uint32, least int, what string) []uint32 {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(of), least, len(of), rapid.ID[uint32]).Draw(t, what)
}

func halfSeconds(t *rapid.T, least, most int, what string) time.Duration {
	return time.Duration(rapid.IntRange(least, most).Draw(t, what)) * time.Second / 2
}

func (m *model) open(t *rapid.T) {
	devices := some(t, tableDevices, 1, "targets")
	op := &modelOp{id: task.ID{0: byte(len(m.ops) >> 8), 1: byte(len(m.ops))}, targets: setOf(devices),
		final: setOf(some(t, devices, 0, "done")), knows: map[uint32]bool{}, released: map[uint32]bool{}, met: map[*fakeSession]bool{},
		held: rapid.IntRange(0, 3).Draw(t, "held") > 0, priority: rapid.Uint8Range(0, 3).Draw(t, "priority")}
	op.notBefore = m.now.Add(halfSeconds(t, -6, 6, "notBefore"))
	op.deliverBy = op.notBefore.Add(halfSeconds(t, 2, 60, "validity"))
	m.ops = append(m.ops, op)
	m.retell(t, op)
}

func (m *model) retell(t *rapid.T, op *modelOp) {
	if err := m.tab.open(op.make(), m.now); err != nil {
		t.Fatal(err)
	}
}

func (m *model) openAgain(t *rapid.T) {
	op := m.someOp(t)
	if op.ended {
		t.Skip("ended")
	}
	m.retell(t, op)
}

func (m *model) wave(t *rapid.T) {
	op := m.someOp(t)
	if op.ended || !op.held {
		t.Skip("no waves")
	}
	set, _ := task.NewTargets(slices.Values(some(t, tableDevices, 0, "wave")))
	w := ReleaseWave{ID: op.id, Wave: uint32(len(op.waves) + 1), Devices: set, At: m.now.Add(halfSeconds(t, -8, 2, "at")),
		Spread: halfSeconds(t, 0, 12, "spread")}
	op.waves = append(op.waves, w)
	m.tellWave(t, w)
}

func (m *model) tellWave(t *rapid.T, w ReleaseWave) {
	if err := m.tab.wave(w, m.now); err != nil {
		t.Fatal(err)
	}
}

func (m *model) waveAgain(t *rapid.T) {
	op := m.someOp(t)
	if len(op.waves) == 0 {
		t.Skip("no wave")
	}
	w := rapid.SampledFrom(op.waves).Draw(t, "wave")
	w.Devices, _ = task.NewTargets(slices.Values(tableDevices))
	m.tellWave(t, w)
}

func (m *model) end(t *rapid.T) {
	op := m.someOp(t)
	u := EndOperation{ID: op.id}
	var frame []byte
	if rapid.Bool().Draw(t, "cancel") {
		u.Until = m.now.Add(halfSeconds(t, -1, 8, "until"))
		frame = []byte(op.id.String())
	}
	if frame != nil && m.now.Before(u.Until) {
		if !op.ended {
			for d, s := range m.session {
				if op.knows[d] && !op.final[d] {
					m.wantWords[s] = append(m.wantWords[s], string(frame))
				}
			}
		}
		op.cancel, op.until = string(frame), u.Until
	}
	op.ended = true
	for _, s := range m.tab.end(u, frame, m.now) {
		s.frame(frame)
	}
}

func (m *model) final(t *rapid.T) {
	op, d := m.someOp(t), device(t)
	op.final[d] = true
	known := m.tab.find(op.id)
	if known != nil {
		known.setFinal(d)
	}
	if (known != nil) == op.ended {
		t.Fatalf("known is %v", known)
	}
}

func (m *model) signIn(t *rapid.T) {
	d := device(t)
	s := &fakeSession{device: d, pushes: m.pushes}
	in := &wire.SignIn{Keyring: uint32(rapid.IntRange(0, len(m.rings)+2).Draw(t, "keyring"))}
	listed := rapid.SliceOfDistinct(rapid.IntRange(0, max(0, len(m.ops)-1)), rapid.ID[int]).Draw(t, "listed")
	for _, i := range listed {
		if i < len(m.ops) {
			in.Open = append(in.Open, m.ops[i].id)
		}
	}
	old, words, err := m.tab.signIn(d, s, in, len(tableDevices), m.now, func() {})
	if (err != nil) != m.blocked[d] {
		t.Fatalf("sign-in of %d: %v", d, err)
	}
	if err != nil {
		return
	}
	s.waits = false // it begins
	if was := m.session[d]; (old == nil) != (was == nil) || was != nil && old != receiver(was) {
		t.Fatal("displaced another session")
	}
	if !slices.IsSortedFunc(s.replayed, inOrder) {
		t.Fatal("replay is not in order")
	}
	for _, w := range words {
		s.frame(w)
	}
	m.session[d] = s
	m.all = append(m.all, s)
	for _, i := range listed {
		if i >= len(m.ops) {
			continue
		}
		if op := m.ops[i]; op.cancel != "" && m.now.Before(op.until) {
			m.wantWords[s] = append(m.wantWords[s], op.cancel)
		} else if op.targets[d] {
			op.knows[d] = true
		}
	}
	if n := int(max(in.Keyring, 1)) - 1; n < len(m.rings) {
		m.wantRings[s] = append(m.wantRings[s], m.rings[n:]...)
	}
}

func (m *model) signOut(t *rapid.T) {
	if len(m.all) == 0 {
		t.Skip("nobody yet")
	}
	m.leave(t, rapid.SampledFrom(m.all).Draw(t, "session"))
}

func (m *model) leave(t *rapid.T, s *fakeSession) {
	current := m.session[s.device] == s
	told := false
	m.tab.signOut(s.device, s, func() { told = true })
	if told != current {
		t.Fatalf("sign-out told is %t", told)
	}
	if current {
		delete(m.session, s.device)
	}
}

func (m *model) ring(t *rapid.T) {
	frame := string(rune('a' + len(m.rings)))
	m.rings = append(m.rings, frame)
	for _, s := range m.session {
		m.wantRings[s] = append(m.wantRings[s], frame)
	}
	m.tellRings(t)
}

func (m *model) tellRings(t *rapid.T) {
	for i, r := range m.rings {
		if err := m.tab.changeKeys(uint32(i)+firstRing, []byte(r)); err != nil {
			t.Fatal(err)
		}
	}
}

// feedBegins is another reading of the feed, which leaves out what is over, lets
// go of operations that were held, and may repeat waves.
func (m *model) feedBegins(t *rapid.T) {
	m.tab.begin()
	m.tellRings(t)
	for _, op := range m.ops {
		if op.ended || !rapid.Bool().Draw(t, "repeated") {
			op.ended = true
			continue
		}
		op.held = op.held && rapid.IntRange(0, 3).Draw(t, "let go") > 0
		m.retell(t, op)
		if rapid.Bool().Draw(t, "waves") {
			for _, w := range op.waves {
				m.tellWave(t, w)
			}
		}
	}
	m.tellBlocked(t)
	m.tab.whole()
}

func (m *model) tellBlocked(t *rapid.T) {
	for _, d := range tableDevices {
		if rapid.Bool().Draw(t, "blocked") {
			m.blocked[d] = true
			m.tab.block(d)
		} else {
			delete(m.blocked, d)
		}
	}
}

// restart is a new table that the feed tells everything. It does not know who
// knows which task.
func (m *model) restart(t *rapid.T) {
	for _, s := range m.session {
		m.leave(t, s)
	}
	m.tab = newTable(1<<20, signalled)
	m.tab.begin()
	m.tellRings(t)
	for _, op := range m.ops {
		clear(op.knows)
		clear(op.released)
		switch {
		case !op.ended:
			m.retell(t, op)
			for _, w := range op.waves {
				m.tellWave(t, w)
			}
		case op.cancel != "":
			m.tab.end(EndOperation{ID: op.id, Until: op.until}, []byte(op.cancel), m.now)
		}
	}
	m.tellBlocked(t)
	m.tab.whole()
}

func (m *model) passTime(t *rapid.T) {
	m.now = m.now.Add(halfSeconds(t, 1, 4, "time"))
	next, needed := m.tab.release(m.now), m.next()
	switch {
	case !next.IsZero() && !next.After(m.now):
		t.Fatalf("next release %s is not after %s", next, m.now)
	case !needed.IsZero() && (next.IsZero() || next.After(needed)):
		t.Fatalf("next release %s, want %s", next, needed)
	}
}

func (m *model) check(t *rapid.T) {
	m.meet()
	for _, s := range m.all {
		if s.waits {
			t.Fatalf("device %d has something that it was not told of", s.device)
		}
		if got, want := sortedIDs(s.got), sortedIDs(m.want[s]); !slices.Equal(got, want) {
			t.Fatalf("device %d got %v, want %v", s.device, got, want)
		}
		slices.Sort(s.cancels)
		slices.Sort(m.wantWords[s])
		if !slices.Equal(s.cancels, m.wantWords[s]) {
			t.Fatalf("device %d got cancels %q, want %q", s.device, s.cancels, m.wantWords[s])
		}
		if !slices.Equal(s.rings, m.wantRings[s]) {
			t.Fatalf("device %d got keyrings %q, want %q", s.device, s.rings, m.wantRings[s])
		}
	}
	for p, n := range m.pushes {
		if p.left.Load() != n {
			t.Fatalf("a push waits for %d sessions, %d got it", p.left.Load(), n)
		}
	}
	for i, w := range m.tab.agenda {
		if w.place != i || m.tab.ops[w.op.task.Operation] != w.op {
			t.Fatalf("wave %d of the agenda is at place %d, of an operation that is open: %t", i, w.place, m.tab.ops[w.op.task.Operation] == w.op)
		}
	}
}

func TestTableProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		for range 4 {
			m.signIn(t)
		}
		m.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"open": m.open, "open again": m.openAgain, "wave": m.wave, "wave too": m.wave, "wave again": m.waveAgain, "end": m.end, "final": m.final,
			"sign in": m.signIn, "sign in too": m.signIn, "sign out": m.signOut, "ring": m.ring,
			"block":       func(t *rapid.T) { d := device(t); m.blocked[d] = true; m.tab.block(d) },
			"unblock":     func(t *rapid.T) { d := device(t); delete(m.blocked, d); m.tab.unblock(d) },
			"feed begins": m.feedBegins, "restart": m.restart, "time": m.passTime, "time too": m.passTime, "": m.check,
		})
	})
}

func (op *modelOp) make() *operation {
	targets, _ := task.NewTargets(func(yield func(uint32) bool) { each(op.targets, yield) })
	done, _ := task.NewTargets(func(yield func(uint32) bool) { each(op.final, yield) })
	return newOperation(task.Task{Operation: op.id, NotBefore: op.notBefore, DeliverBy: op.deliverBy},
		OpenOperation{Targets: targets, Done: done, Held: op.held, Priority: op.priority})
}
