package listener

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// The moment of a device is At + Spread × hash / 2^64, in whole nanoseconds.
func TestMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := ReleaseWave{ID: task.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")), At: time.Unix(1_700_000_000, 0),
			Spread: time.Duration(rapid.Int64Range(0, int64(maxSpread)).Draw(t, "spread"))}
		device := rapid.Uint32Range(1, task.MaxDevice).Draw(t, "device")
		h := sha256.Sum256(binary.BigEndian.AppendUint32(w.ID[:], device))
		share := new(big.Int).SetBytes(h[:8])
		share.Mul(share, big.NewInt(int64(w.Spread)))
		share.Rsh(share, 64)
		if got := w.Moment(device); !got.Equal(w.At.Add(time.Duration(share.Int64()))) {
			t.Fatalf("got %s", got)
		}
	})
}

// These numbers never change: every listener, and whoever plans, must agree.
func TestMomentGolden(t *testing.T) {
	w := ReleaseWave{ID: task.ID{0x01, 0x93, 0x6f, 0x5e, 0x8a, 0x6b, 0x7c, 0x1d, 0x9e, 0x2f, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab},
		At: time.Unix(1_700_000_000, 0), Spread: time.Hour}
	for device, want := range map[uint32]time.Duration{1: 549_472_935_621, 7: 59_644_911_779, 70_000: 3_076_827_440_408} {
		if got := w.Moment(device).Sub(w.At); got != want {
			t.Errorf("device %d after %d, want %d", device, got, want)
		}
	}
}

func TestWaveRefused(t *testing.T) {
	tab, now := newTable(10, func([]receiver) {}), time.Unix(1_700_000_000, 0)
	op := (&modelOp{id: task.ID{1}, notBefore: now, deliverBy: now.Add(time.Hour), held: true, targets: setOf([]uint32{7})}).make()
	if err := tab.open(op, now); err != nil {
		t.Fatal(err)
	}
	devices := targetsOf(t, 7)
	for _, w := range []ReleaseWave{{ID: task.ID{1}, Wave: 1}, {ID: task.ID{1}, Wave: 1, Devices: devices, Spread: maxSpread + 1}} {
		if err := tab.wave(w, now); !errors.Is(err, errWave) {
			t.Errorf("%+v: %v", w, err)
		}
	}
	for i := range uint32(maxWaves) {
		if err := tab.wave(ReleaseWave{ID: task.ID{1}, Wave: i + 1, Devices: devices, At: now}, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.wave(ReleaseWave{ID: task.ID{1}, Wave: maxWaves + 1, Devices: devices}, now); !errors.Is(err, errWaves) {
		t.Errorf("one wave too many: %v", err)
	}
	if err := tab.wave(ReleaseWave{ID: task.ID{2}, Wave: 1, Devices: devices}, now); err != nil {
		t.Errorf("of an operation that is not open: %v", err)
	}
}

// held is an operation that goes to nobody before a wave says so.
func (p *pki) held(valid time.Duration, devices ...uint32) OpenOperation {
	u := p.operation(valid, devices...)
	u.Held = true
	return u
}

func TestWavesRelease(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		first, second, third := b.signIn(1), b.signIn(2), b.signIn(3)
		op := b.pki.held(time.Hour, 1, 2, 3, 4)
		b.tell(op)
		pass(time.Minute)
		for _, a := range []*agent{first, second, third} {
			a.alone()
		}
		now := time.Now()
		b.tell(ReleaseWave{ID: op.id(t), Wave: 1, Devices: targetsOf(t, 1), At: now},
			ReleaseWave{ID: op.id(t), Wave: 2, Devices: targetsOf(t, 2, 4), At: now.Add(time.Minute)})
		pass(time.Second)
		first.expectTask(b.pki, 1)
		second.alone()
		b.signIn(4).alone()
		pass(time.Minute)
		second.expectTask(b.pki, 2)
		third.alone()
		first.alone()
		b.signIn(4).expectTask(b.pki, 4) // was away at its moment
		b.tell(ReleaseWave{ID: op.id(t), Wave: 2, Devices: targetsOf(t, 3), At: now})
		pass(time.Second)
		third.alone() // a wave that is known changes nothing
		b.tell(OpenOperation{Signed: op.Signed, Targets: op.Targets})
		pass(time.Second)
		third.expectTask(b.pki, 3) // let go
		second.alone()
	})
}

// Each device gets the task at its own moment, at most one batch late and never
// early.
func TestSpread(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		const n = 40
		devices := make([]uint32, n)
		agents := make([]*agent, n)
		for i := range devices {
			devices[i] = uint32(i + 1)
			agents[i] = b.signIn(devices[i])
		}
		op := b.pki.held(time.Hour, devices...)
		w := ReleaseWave{ID: op.id(t), Wave: 1, Devices: op.Targets, At: time.Now(), Spread: 10 * time.Minute}
		b.tell(op, w)
		got := make([]time.Duration, n)
		done := make(chan struct{})
		for i, a := range agents {
			go func() {
				m := <-a.received
				if _, ok := m.(*wire.Task); ok {
					got[i] = time.Since(w.Moment(devices[i]))
				} else {
					got[i] = -1
				}
				done <- struct{}{}
			}()
		}
		for range n {
			<-done
		}
		for i, late := range got {
			if late < 0 || late > batch {
				t.Errorf("device %d got its task %s after its moment", devices[i], late)
			}
		}
	})
}

// A feed that is read again releases nothing twice and forgets no wave.
func TestWavesOverRestartOfFeed(t *testing.T) {
	bubble(t, func(c *Config) { c.KeepAlive = time.Hour }, func(t *testing.T, b *bench) {
		a, other := b.signIn(1), b.signIn(2)
		op := b.pki.held(time.Hour, 1, 2)
		w := ReleaseWave{ID: op.id(t), Wave: 1, Devices: op.Targets, At: time.Now(), Spread: 30 * time.Minute}
		early, late := a, other
		one, two := w.Moment(1), w.Moment(2)
		if two.Before(one) {
			early, late, one, two = other, a, two, one
		}
		b.tell(op, w)
		pass(time.Until(one) + batch)
		b.feed <- errors.New("broken")
		b.tell(op, w, Whole{})
		expect[*wire.Task](early)
		pass(time.Until(two) - time.Millisecond)
		early.alone()
		late.alone()
		pass(batch + time.Millisecond)
		expect[*wire.Task](late)
		early.alone()
	})
}

// Priority orders what waits for one agent: at the sign-in and in the queue.
func TestPriority(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		ops := make([]OpenOperation, 5)
		for i, p := range []uint8{3, 0, 1, 2, 1} {
			ops[i] = b.pki.operation(time.Hour, 7)
			ops[i].Priority = p
			b.tell(ops[i])
		}
		pass(time.Second)
		a := b.signIn(7)
		for _, i := range []int{2, 4, 1, 3, 0} {
			if id := a.expectTask(b.pki, 7); id != ops[i].id(t) {
				t.Fatalf("got %s, want operation %d", id, i)
			}
		}
	})
}

func TestPriorityInQueue(t *testing.T) {
	s := &newAttended(nil).session
	for i, p := range []uint8{3, 2, 1, 3, 1} {
		s.deliver(&operation{task: task.Task{Operation: task.ID{byte(i)}}, priority: p}, nil)
	}
	s.keyrings([][]byte{[]byte("ring")})
	s.waiting.add([]byte("frame"))
	for _, want := range []string{"frame", "ring"} {
		if f, next, _, _ := s.take(nil); len(f) != 1 || string(f[0]) != want || next.op != nil {
			t.Fatalf("took %q, want %s", f, want)
		}
	}
	for _, want := range []byte{2, 4, 1, 0, 3} {
		if _, next, _, _ := s.take(nil); next.op.task.Operation[0] != want {
			t.Fatalf("took %d, want %d", next.op.task.Operation[0], want)
		}
	}
}

// Waves that overlap, of several operations, with and without spread: each device
// gets each operation once, at the earliest of its moments and not before
// not-before.
func TestWavesOverlap(t *testing.T) {
	tab, now := newTable(10, func([]receiver) {}), time.Unix(1_700_000_000, 0)
	const devices, operations = 50, 5
	all := map[uint32]bool{}
	for d := range uint32(devices) {
		all[d+1] = true
	}
	sessions := map[uint32]*fakeSession{}
	for d := range all {
		sessions[d] = &fakeSession{device: d}
		tab.signIn(d, sessions[d], &wire.SignIn{}, devices, now, func() {})
	}
	ops := make([]*modelOp, operations)
	for i := range ops {
		op := &modelOp{id: task.ID{byte(i + 1)}, notBefore: now.Add(time.Duration(10*i) * time.Second), deliverBy: now.Add(time.Hour), held: true, targets: all}
		ops[i] = op
		if err := tab.open(op.make(), now); err != nil {
			t.Fatal(err)
		}
		set, _ := task.NewTargets(func(yield func(uint32) bool) { each(all, yield) })
		some := targetsOf(t, 1, 2, 3, uint32(i+4))
		op.waves = []ReleaseWave{
			{ID: op.id, Wave: 1, Devices: set, At: now.Add(5 * time.Second), Spread: time.Minute},
			{ID: op.id, Wave: 2, Devices: some, At: now.Add(20 * time.Second)},
			{ID: op.id, Wave: 3, Devices: some, At: now.Add(-time.Second)},
			{ID: op.id, Wave: 4, Devices: some, At: now, Spread: 40 * time.Second}}
		for _, w := range op.waves {
			if err := tab.wave(w, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	for end := now.Add(2 * time.Minute); now.Before(end); now = now.Add(time.Second) {
		tab.release(now)
		for d, s := range sessions {
			want := 0
			for _, op := range ops {
				if at, _ := op.moment(d); !now.Before(at) {
					want++
				}
			}
			if len(s.got) != want {
				t.Fatalf("device %d got %d operations, want %d", d, len(s.got), want)
			}
		}
	}
	if len(tab.agenda) != 0 {
		t.Fatalf("%d waves are left", len(tab.agenda))
	}
}
