package listener

import (
	"bufio"
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// bubble runs f with a listener in fake time. Whatever f reads from an agent
// must have been sent: waiting for it would let time pass.
func bubble(t *testing.T, edit func(*Config), f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		b := newBenchOn(t, p, nil, p.dial, usual, edit)
		b.tell(Whole{})
		f(t, b)
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
}

// pass lets d pass and everything that is due by then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) lastPresence(device uint32) box.PresenceEntry {
	b.t.Helper()
	e := presenceOf(b.box.all(), device)
	if len(e) == 0 {
		b.t.Fatalf("no file says anything of device %d", device)
	}
	return e[len(e)-1]
}

func TestPR1_Closed(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		pass(time.Minute)
		left := time.Now()
		a.conn.(*tls.Conn).NetConn().Close()
		pass(time.Second - 1)
		if e := b.lastPresence(7); e.Online || e.Reason != reasonClosed || e.Since.Before(left.Truncate(time.Millisecond)) {
			t.Fatalf("within a second of the end: %+v", e)
		}
	})
}

func TestPR2_TimedOut(t *testing.T) {
	bubble(t, func(c *Config) { c.KeepAlive = 10 * time.Minute }, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		pass(14 * time.Minute)
		a.alone() // heard: 15 minutes begin anew
		pass(15*time.Minute - time.Second)
		if e := b.lastPresence(7); !e.Online {
			t.Fatalf("before 1.5 intervals are over: %+v", e)
		}
		pass(2 * time.Second)
		if e := b.lastPresence(7); e.Online || e.Reason != reasonTimedOut {
			t.Fatalf("after 1.5 intervals: %+v", e)
		}
		a.expectClose(wire.Idle)
	})
}

// Until an agent has asked for its policy the listener cannot know which one it
// has, and is patient.
func TestIntervalOfPolicy(t *testing.T) {
	of := func(uint32) time.Duration { return 2 * time.Minute }
	bubble(t, func(c *Config) { c.KeepAlive, c.KeepAliveOf = 10*time.Minute, of }, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		pass(14 * time.Minute)
		a.send(&wire.PolicyRequest{})
		expect[*wire.Policy](a)
		pass(14 * time.Minute) // the timer that runs now may still be the old one
		a.alone()
		pass(3*time.Minute - time.Second)
		if e := b.lastPresence(7); !e.Online {
			t.Fatalf("before 1.5 of policy's intervals: %+v", e)
		}
		pass(2 * time.Second)
		if e := b.lastPresence(7); e.Reason != reasonTimedOut {
			t.Fatalf("after them: %+v", e)
		}
	})
}

func TestOP1_DeadlineAtSignIn(t *testing.T) {
	for name, c := range map[string]struct {
		after  time.Duration
		pushed bool
	}{"59 minutes": {59 * time.Minute, true}, "61 minutes": {61 * time.Minute, false},
		"at the deadline": {time.Hour, false}, "just before": {time.Hour - 1, true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, b *bench) {
				op := b.pki.operation(time.Hour, 7)
				b.tell(op)
				pass(c.after)
				a := b.signIn(7)
				if c.pushed {
					a.expectTask(b.pki, 7)
				}
				a.alone()
			})
		})
	}
}

// The deadline is checked where a task leaves, too: here it passes while the
// agent does not read.
func TestOP1_DeadlineAtSend(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		conn, r := stuck(t, b, 7)
		b.tell(b.pki.operation(time.Hour, 7), b.pki.operation(4*time.Second, 7))
		pass(5 * time.Second) // the first task is being written, the second waits
		m, _, err := wire.ReadFrom(r, nil)
		if _, ok := m.(*wire.Task); !ok {
			t.Fatalf("got %T, %v", m, err)
		}
		go conn.send(&wire.KeepAlive{})
		if m, _, err = wire.ReadFrom(r, nil); err != nil || m.Type() != wire.TypeKeepAliveAck {
			t.Fatalf("got %v, %v, want nothing but the answer", m, err)
		}
	})
}

// stuck signs a device in that reads only when the test does.
func stuck(t *testing.T, b *bench, device uint32) (*agent, *bufio.Reader) {
	t.Helper()
	raw, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	a := deaf(t, raw, b.pki.client(device))
	t.Cleanup(func() { raw.Close() })
	go a.send(&wire.SignIn{Version: 1})
	r := bufio.NewReader(a.conn)
	if m, _, err := wire.ReadFrom(r, nil); err != nil || m.Type() != wire.TypeWelcome {
		t.Fatalf("got %v, %v", m, err)
	}
	return a, r
}

func TestWriteDeadline(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		stuck(t, b, 7)
		quick := b.signIn(8)
		b.tell(b.pki.operation(time.Hour, 7, 8))
		quick.expectTask(b.pki, 8)
		pass(usual.write - time.Second)
		if e := b.lastPresence(7); !e.Online {
			t.Fatalf("too early: %+v", e)
		}
		pass(2 * time.Second)
		if e := b.lastPresence(7); e.Online || e.Reason != reasonClosed {
			t.Fatalf("after the write deadline: %+v", e)
		}
		if s := b.l.Stats(); s.TooSlow != 1 || s.LastPush < usual.write {
			t.Fatalf("stats %+v", s)
		}
	})
}

// A blocked device is gone at once even if it does not read.
func TestBlockOfStuck(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		stuck(t, b, 7)
		b.tell(b.pki.operation(time.Hour, 7))
		pass(time.Second)
		b.tell(BlockDevice{7})
		pass(time.Second - 1)
		if e := b.lastPresence(7); e.Online || e.Reason != reasonBlocked {
			t.Fatalf("a second after the block: %+v", e)
		}
		if s := b.l.Stats(); s.Connections != 0 {
			t.Fatalf("%d connections are open", s.Connections)
		}
	})
}

// onDisplace is a session that does something when it is displaced.
type onDisplace struct {
	fakeSession
	do func()
}

func (s *onDisplace) displace() { s.do() }

// A session that is ended before it has begun to read is gone as soon as any
// other, even if its agent neither reads nor hangs up.
func TestBlockRightAfterSignIn(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		tab := b.l.table
		first := &onDisplace{do: func() { tab.block(7).block() }}
		if _, _, err := tab.signIn(7, first, &wire.SignIn{}, 1, time.Now(), func() {}); err != nil {
			t.Fatal(err)
		}
		raw, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		a := deaf(t, raw, b.pki.client(7))
		go a.send(&wire.SignIn{Version: 1})
		pass(time.Second)
		if e := b.lastPresence(7); e.Online || e.Reason != reasonBlocked {
			t.Errorf("presence %+v", e)
		}
		if n := b.l.Stats().Connections; n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

func TestNotBefore(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		now := time.Now()
		later := b.pki.operationAt(now.Add(10*time.Minute), now.Add(time.Hour), 7)
		sooner := b.pki.operationAt(now.Add(5*time.Minute), now.Add(time.Hour), 7)
		b.tell(later, sooner)
		pass(5*time.Minute - 1)
		a.alone()
		pass(1)
		if id := a.expectTask(b.pki, 7); id != sooner.id(t) {
			t.Fatalf("got %s", id)
		}
		pass(5*time.Minute - 1)
		a.alone()
		b.signIn(7).expectTask(b.pki, 7) // the one that is open; the other's time has not come
		pass(1)
	})
}

// What is over costs nothing any more, whether or not the feed says that it ended.
func TestOperationsThatAreOverAreForgotten(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		b.tell(b.pki.operation(time.Hour, 1), b.pki.operation(3*time.Hour, 1))
		for _, want := range []int{2, 1, 0} {
			pass(5 * time.Minute)
			if ops, _, _ := b.l.table.counts(); ops != want {
				t.Errorf("%d operations, want %d", ops, want)
			}
			pass(2 * time.Hour)
		}
	})
}

func TestSnapshots(t *testing.T) {
	bubble(t, func(c *Config) { c.SnapshotEvery = time.Minute }, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		pass(30 * time.Second)
		a.conn.(*tls.Conn).NetConn().Close()
		b.signIn(8)
		pass(60 * time.Second)
		var full []*box.Presence
		for _, c := range b.box.all() {
			if p, ok := c.(*box.Presence); ok && p.Full {
				full = append(full, p)
			}
		}
		if len(full) != 2 || len(full[0].Entries) != 0 || len(full[1].Entries) != 1 || full[1].Entries[0].Device != 8 {
			t.Fatalf("full reports: %+v", full)
		}
	})
}

// Many changes make few files: one at once, then one every 250 ms.
func TestDeltasAreApart(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		pass(time.Second)
		for d := range uint32(20) {
			b.signIn(d + 1)
			pass(50 * time.Millisecond)
		}
		pass(time.Second)
		deltas, entries := 0, 0
		for _, c := range b.box.all() {
			if p, ok := c.(*box.Presence); ok && !p.Full {
				deltas++
				entries += len(p.Entries)
			}
		}
		if entries != 20 || deltas > 6 {
			t.Fatalf("%d changes in %d files within a second", entries, deltas)
		}
	})
}

func TestNobodyBeforeWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		b := newBenchOn(t, p, nil, p.dial, usual, nil)
		op := b.pki.operation(time.Hour, 7)
		b.tell(op)
		early := b.mustConnect(7)
		early.send(&wire.SignIn{Version: 1})
		pass(usual.whole)
		if c := early.expectClose(wire.Overloaded); c.RetryAfter == 0 {
			t.Fatal("no retry-after")
		}
		a := b.mustConnect(7)
		a.send(&wire.SignIn{Version: 1})
		pass(time.Second)
		b.tell(Whole{})
		expect[*wire.Welcome](a)
		a.expectTask(b.pki, 7)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSilentStrangers(t *testing.T) {
	bubble(t, func(c *Config) { c.Limits.Handshakes = 1 }, func(t *testing.T, b *bench) {
		begun := time.Now()
		silent, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		b.signIn(7) // waits for the one place, until the other has had its chance
		if waited := time.Since(begun); waited < usual.slow || waited > usual.slow+lookAgain {
			t.Fatalf("waited %s for the place", waited)
		}
		mute := b.mustConnect(8)
		pass(usual.signIn)
		mute.expectClose(wire.Protocol)
		pass(time.Minute)
		reasons := map[string]uint32{}
		for _, r := range statusOf(b.box.all()) {
			if r.Type == box.Refused {
				reasons[r.Text] += r.Count
			}
		}
		if len(reasons) != 2 || reasons[tooSlow] != 1 || reasons["no sign-in after the handshake"] != 1 {
			t.Fatalf("refused: %v", reasons)
		}
	})
}

// A minute's refusals of one address and reason are one record.
func TestRefusedAreCounted(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		for range 3 {
			a := b.mustConnect(7)
			a.send(&wire.SignIn{Version: 0})
			a.expectClose(wire.BadVersion)
		}
		pass(time.Minute + time.Second)
		n := 0
		for _, r := range statusOf(b.box.all()) {
			if r.Type == box.Refused {
				if n++; r.Count != 3 {
					t.Fatalf("record %+v", r)
				}
			}
		}
		if n != 1 {
			t.Fatalf("%d records", n)
		}
	})
}

func TestRateCap(t *testing.T) {
	cap := func(c *Config) { c.Limits.MessageRate, c.Limits.MessageBurst = 1, 2 }
	bubble(t, cap, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		begun := time.Now()
		for range 5 {
			a.alone()
		}
		if took := time.Since(begun); took < 2900*time.Millisecond || took > 3100*time.Millisecond {
			t.Fatalf("five messages took %s", took)
		}
	})
}

// A stop does not wait for a broken disk for ever, and says that it did not keep
// all of its promise.
func TestStopWithBrokenDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		b := newBenchOn(t, p, nil, p.dial, usual, nil)
		b.tell(Whole{})
		b.signIn(7)
		pass(time.Second)
		full := errors.New("disk is full")
		b.box.breaks(full)
		begun := time.Now()
		if err := b.stop(); !errors.Is(err, full) {
			t.Fatalf("stop: %v", err)
		}
		if _, err := p.dial(); err == nil {
			t.Fatal("port is still open")
		}
		if took := time.Since(begun); took < 10*time.Second || took > 12*time.Second {
			t.Fatalf("stop took %s", took)
		}
	})
}
