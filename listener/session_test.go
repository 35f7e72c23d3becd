package listener

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func TestPushAndResult(t *testing.T) {
	b := newBench(t, nil)
	a := b.signIn(7)
	other := b.signIn(8)
	op := b.pki.operation(time.Hour, 7, 300)
	b.tell(op)
	id := a.expectTask(b.pki, 7)
	if id != op.id(t) {
		t.Fatalf("got task %s", id)
	}
	for _, s := range []task.State{task.Delivered, task.Running, task.Succeeded} {
		a.send(report(id, s))
		if got := *expect[*wire.ResultAck](a); got != ack(id, s) {
			t.Fatalf("got %+v", got)
		}
	}
	other.alone()
	got := rowsOf(b.box.all(), 7)
	if want := []task.State{task.Sent, task.Delivered, task.Running, task.Succeeded}; !equal(got, want) {
		t.Fatalf("files say %v, want %v", got, want)
	}
	if s := b.l.Stats(); s.Sessions != 2 || s.Pushes != 1 || s.Results != 3 || s.Operations != 1 || !s.Whole {
		t.Fatalf("stats %+v", s)
	}
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// A result carries what the agent said, its MAC and its clock to the bit, and the
// device of the certificate.
func TestResultRow(t *testing.T) {
	b := newBench(t, nil)
	a := b.signIn(9)
	sent := &wire.Result{Operation: task.NewID(time.Now()), Attempt: 3, State: task.Failed, Code: -5,
		At: time.Unix(0, 123456789).UTC(), Detail: "disk is full", MAC: [16]byte{1, 2, 3}}
	a.send(sent)
	expect[*wire.ResultAck](a)
	want := box.ResultRow{MAC: sent.MAC, Result: task.Result{Operation: sent.Operation, Device: 9, Attempt: 3,
		State: task.Failed, Code: -5, At: sent.At, Detail: sent.Detail}}
	b.box.await(t, "the result", func(files []box.Contents, _ int) bool {
		for _, c := range files {
			if r, ok := c.(*box.Results); ok {
				return len(r.Rows) == 1 && r.Rows[0] == want
			}
		}
		return false
	})
	if s := b.l.Stats(); s.Unknown != 1 {
		t.Fatalf("stats %+v", s)
	}
}

func TestOP2_SentAgainUntilAnswered(t *testing.T) {
	b := newBench(t, nil)
	first, second := b.pki.operation(time.Hour, 7), b.pki.operation(time.Hour, 7)
	b.tell(first, second)
	a := b.signIn(7)
	for _, op := range []OpenOperation{first, second} {
		if id := a.expectTask(b.pki, 7); id != op.id(t) {
			t.Fatalf("got %s, want %s: oldest first", id, op.id(t))
		}
	}
	a.send(report(first.id(t), task.Succeeded))
	expect[*wire.ResultAck](a)
	a.conn.Close()

	a = b.signIn(7)
	if id := a.expectTask(b.pki, 7); id != second.id(t) {
		t.Fatalf("got %s, want the one without an answer", id)
	}
	a.alone()
	b.tell(EndOperation{ID: second.id(t)})
	a.conn.Close()
	b.tell(b.pki.operation(time.Hour, 1)) // the feed is read in order: the end has been applied
	b.tell(b.pki.operation(time.Hour, 1))
	b.signIn(7).alone()
}

// The site says who has answered; the listener forgets nothing by a restart.
func TestDoneIsNotSent(t *testing.T) {
	op := OpenOperation{}
	b := newBench(t, func(*Config) {})
	op = b.pki.operation(time.Hour, 7, 8)
	op.Done = targetsOf(t, 8)
	b.tell(op, b.pki.operation(time.Hour, 1))
	b.signIn(8).alone()
	b.signIn(7).expectTask(b.pki, 7)
}

func TestDisplacement(t *testing.T) {
	b := newBench(t, nil)
	old := b.signIn(7)
	b.box.awaitPresence(t, 7, true, reasonSignedIn)
	fresh := b.signIn(7)
	old.expectClose(wire.Displaced)
	b.box.await(t, "newer presence", func(files []box.Contents, _ int) bool { return len(presenceOf(files, 7)) == 2 })
	fresh.alone()
	fresh.send(&wire.Bye{})
	b.box.awaitPresence(t, 7, false, reasonSignedOut)
	e := presenceOf(b.box.all(), 7)
	if len(e) != 3 || !e[0].Online || !e[1].Online || e[1].Since.Before(e[0].Since) {
		t.Fatalf("presence %+v, want online, online again, signed out", e)
	}
}

func TestBlock(t *testing.T) {
	b := newBench(t, nil)
	a := b.signIn(7)
	other := b.signIn(8)
	b.tell(BlockDevice{7})
	a.expectClose(wire.Blocked)
	b.box.awaitPresence(t, 7, false, reasonBlocked)

	again := b.mustConnect(7)
	again.send(&wire.SignIn{Version: 1})
	again.expectClose(wire.Blocked)
	other.alone()

	b.tell(UnblockDevice{7}, UnblockDevice{99})
	b.tell(b.pki.operation(time.Hour, 1))
	b.signIn(7).alone()
}

// A session that is cut counts no more, whatever is still under way.
func TestBlockedBeforeWhole(t *testing.T) {
	b := newBench(t, nil, BlockDevice{7})
	a := b.mustConnect(7)
	a.send(&wire.SignIn{Version: 1})
	a.expectClose(wire.Blocked)
}

func TestFeedBegins(t *testing.T) {
	b := newBench(t, nil)
	kept, gone := b.pki.operation(time.Hour, 7), b.pki.operation(time.Hour, 7)
	b.tell(kept, gone, BlockDevice{8}, BlockDevice{9})
	a := b.signIn(7)
	a.expectTask(b.pki, 7)
	a.expectTask(b.pki, 7)

	b.feed <- errors.New("feed is away")
	b.tell(kept, BlockDevice{8})
	a.alone() // nothing is sent twice in a session, and no session ends
	fresh := b.pki.operation(time.Hour, 7)
	b.tell(fresh, Whole{}, b.pki.operation(time.Hour, 1))
	if id := a.expectTask(b.pki, 7); id != fresh.id(t) {
		t.Fatalf("got %s, want the new one", id)
	}
	a.conn.Close()
	a = b.signIn(7)
	if id := a.expectTask(b.pki, 7); id != kept.id(t) {
		t.Fatalf("got %s, want the one that the feed repeated", id)
	}
	a.expectTask(b.pki, 7)
	a.alone()
	b.signIn(9).alone()
	blocked := b.mustConnect(8)
	blocked.send(&wire.SignIn{Version: 1})
	blocked.expectClose(wire.Blocked)
}

func TestNotServed(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Operations = 1 })
	forged := b.pki.operation(time.Hour, 7)
	forged.Targets = targetsOf(t, 7, 8)
	cut := b.pki.operation(time.Hour, 7)
	cut.Signed = cut.Signed[:20]
	good := b.pki.operation(time.Hour, 7)
	b.tell(forged, cut, good, b.pki.operation(time.Hour, 7), UnblockDevice{1})
	a := b.signIn(7)
	if id := a.expectTask(b.pki, 7); id != good.id(t) {
		t.Fatalf("got %s", id)
	}
	a.alone()
	b.box.await(t, "message 3004", func(files []box.Contents, _ int) bool {
		for _, r := range statusOf(files) {
			if r.Type == box.Message && r.Number == uint32(msgNotServed) && strings.Contains(r.Text, errTargets.Error()) {
				return true
			}
		}
		return false
	})
}

func TestPolicy(t *testing.T) {
	body := bytes.Repeat([]byte("policy "), 20_000)
	p := &task.Policy{Site: "P01", Body: body}
	_, key, _ := ed25519.GenerateKey(nil)
	signed, err := p.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *Config) {
		c.Policy = func(device uint32, _ string) (Policy, error) {
			if device == 8 {
				return Policy{}, nil
			}
			return Policy{ETag: p.ETag(), Signed: signed}, nil
		}
	})
	a := b.signIn(7)
	a.send(&wire.PolicyRequest{})
	var got []byte
	for part := uint32(1); ; part++ {
		m := expect[*wire.Policy](a)
		if m.Part != part || m.ETag != p.ETag() {
			t.Fatalf("got part %d of %d, etag %s", m.Part, m.Of, m.ETag)
		}
		if got = append(got, m.Chunk...); m.Part == m.Of {
			break
		}
	}
	if !bytes.Equal(got, signed) {
		t.Fatal("policy arrived changed")
	}
	a.send(&wire.PolicyRequest{ETag: p.ETag()})
	if m := expect[*wire.Policy](a); m.Of != 0 || m.ETag != p.ETag() {
		t.Fatalf("got %+v", m)
	}
	none := b.signIn(8)
	none.send(&wire.PolicyRequest{ETag: "old"})
	if m := expect[*wire.Policy](none); m.Of != 0 || m.ETag != "" {
		t.Fatalf("got %+v", m)
	}
}

func TestKeepAliveBringsBeacon(t *testing.T) {
	b := newBench(t, nil)
	a := b.signIn(7)
	nonce := [16]byte{1, 2, 3}
	a.send(&wire.KeepAlive{Nonce: nonce})
	m := expect[*wire.KeepAliveAck](a)
	beacon, err := task.VerifyBeacon(m.Beacon, "P01", b.pki.task.Public().(ed25519.PublicKey))
	if err != nil || beacon.Nonce != nonce {
		t.Fatalf("got %+v, %v", beacon, err)
	}
}

func TestInventory(t *testing.T) {
	b := newBench(t, nil)
	a := b.signIn(7)
	at := time.Unix(1700000000, 5).UTC()
	a.send(&wire.Inventory{ID: 42, At: at, Facts: []wire.Fact{{Name: "os.name", Value: "linux"}}})
	if m := expect[*wire.InventoryAck](a); m.ID != 42 {
		t.Fatalf("got %+v", m)
	}
	b.box.await(t, "the facts", func(files []box.Contents, _ int) bool {
		for _, c := range files {
			if d, ok := c.(*box.Discovery); ok {
				r := d.Records[0]
				return r.Device == 7 && r.At.Equal(at) && equal(r.Facts, []box.Fact{{Name: "os.name", Value: "linux"}})
			}
		}
		return false
	})
}

// Nothing is acknowledged before it is on disk, and all is once the disk works.
func TestDropFails(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.PendingRows = 3 })
	a := b.signIn(7)
	b.box.awaitPresence(t, 7, true, reasonSignedIn)
	b.box.breaks(errors.New("disk is full"))
	id := task.NewID(time.Now())
	a.send(report(id, task.Delivered))
	a.send(&wire.Inventory{ID: 1})
	_, before := b.box.all(), b.l.Stats().FailedDrops
	b.box.await(t, "drops that fail", func([]box.Contents, int) bool { return b.l.Stats().FailedDrops >= before+3 })
	a.alone()
	if !b.l.Stats().DropFailing {
		t.Fatal("stats do not say that drops fail")
	}
	states := []task.State{task.Running, task.Deferred, task.Failed, task.Refused, task.Succeeded}
	for _, s := range states { // more than there is room for
		a.send(report(id, s))
	}
	b.box.breaks(nil)
	got := map[task.State]bool{}
	inventory := false
	for range len(states) + 2 {
		switch m := a.next().(type) {
		case *wire.ResultAck:
			got[m.State] = true
		case *wire.InventoryAck:
			inventory = true
		default:
			t.Fatalf("got %T", m)
		}
	}
	if len(got) != 6 || !inventory {
		t.Fatalf("acknowledged: %v, inventory %t", got, inventory)
	}
	b.box.await(t, "that drops work again", func(files []box.Contents, _ int) bool {
		n := 0
		for _, r := range statusOf(files) {
			if r.Number == uint32(msgDropFails) || r.Number == uint32(msgDropWorks) {
				n++
			}
		}
		return n == 2
	})
}

// An agent that asks and does not read costs only itself.
func TestSlowReader(t *testing.T) {
	signed := make([]byte, 1<<20)
	b := newBench(t, func(c *Config) {
		c.Policy = func(uint32, string) (Policy, error) { return Policy{ETag: "e", Signed: signed}, nil }
	})
	quick := b.signIn(8)
	raw, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	slow := deaf(t, raw, b.pki.client(7))
	slow.send(&wire.SignIn{Version: 1})
	b.box.awaitPresence(t, 7, true, reasonSignedIn)
	ask, _ := wire.Append(nil, &wire.PolicyRequest{})
	for range 64 {
		if _, err := slow.conn.Write(ask); err != nil {
			break
		}
	}
	b.tell(b.pki.operation(time.Hour, 7, 8))
	quick.expectTask(b.pki, 8)
	b.box.awaitPresence(t, 7, false, reasonClosed)
	b.awaitStats(func(s Stats) bool { return s.TooSlow == 1 && s.Sessions == 1 })
	quick.alone()
}

func TestStop(t *testing.T) {
	b := newBench(t, nil)
	agents := []*agent{b.signIn(7), b.signIn(8)}
	b.box.awaitPresence(t, 8, true, reasonSignedIn)
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	for _, a := range agents {
		if c := a.expectClose(wire.GoingAway); c.RetryAfter < time.Second {
			t.Fatalf("retry after %s", c.RetryAfter)
		}
	}
	files := b.box.all()
	for _, device := range []uint32{7, 8} {
		e := presenceOf(files, device)
		if last := e[len(e)-1]; last.Online || last.Reason != reasonStopped {
			t.Fatalf("device %d: %+v", device, last)
		}
	}
	last, ok := files[len(files)-1].(*box.Status)
	if !ok || last.Records[len(last.Records)-1].Type != box.Stopped {
		t.Fatalf("last file is %+v, want that the listener stopped", files[len(files)-1])
	}
	if s := b.l.Stats(); s.Connections != 0 || s.Sessions != 0 {
		t.Fatalf("stats %+v", s)
	}
	if err := b.l.Serve(t.Context(), nil, nil); !errors.Is(err, errServed) {
		t.Fatalf("second serve: %v", err)
	}
	first := statusOf(files)[0]
	if first.Type != box.Started || first.Version != "test" || first.Address == "" {
		t.Fatalf("first status %+v", first)
	}
}

// What came before the stop is on disk after it.
func TestStopFlushesResults(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Flush = time.Hour })
	a := b.signIn(7)
	id := task.NewID(time.Now())
	a.send(report(id, task.Delivered))
	a.alone() // so it has been read
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if got := rowsOf(b.box.all(), 7); !equal(got, []task.State{task.Delivered}) {
		t.Fatalf("files say %v", got)
	}
}

// Whoever is told to go gets what was ready before; a blocked device gets
// nothing.
func TestLastWords(t *testing.T) {
	for code, frames := range map[wire.CloseCode]int{wire.GoingAway: 2, wire.Blocked: 1} {
		q := queue{rings: [][]byte{{1}}}
		q.tasks[0] = []delivery{{op: &operation{}}}
		q.tasks[2] = []delivery{{op: &operation{}, push: &push{}}}
		q.add([]byte("ready"))
		if unsent := q.finish(&wire.Close{Code: code}); len(unsent) != 1 || q.nextTask().op != nil || q.rings != nil {
			t.Errorf("%s: %d pushes are left, %v", code, len(unsent), q)
		}
		if len(q.frames) != frames {
			t.Errorf("%s: %d frames are left", code, len(q.frames))
		}
	}
}

func TestOutOfPlace(t *testing.T) {
	for name, m := range map[string]wire.Message{"second sign-in": &wire.SignIn{Version: 1}, "a listener's": &wire.Task{},
		"close": &wire.Close{Code: wire.GoingAway}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			a := b.signIn(7)
			a.send(m)
			a.expectClose(wire.Protocol)
			b.box.awaitPresence(t, 7, false, reasonClosed)
		})
	}
}

func TestUnknownMessages(t *testing.T) {
	b := newBench(t, nil)
	a := b.signIn(7)
	a.raw([]byte{0, 0, 0, 3, 201, 1, 2}) // an agent's, of a later version
	a.alone()
	a.raw([]byte{0, 0, 0, 1, 200})
	a.expectClose(wire.Protocol)
}

func (a *agent) raw(b []byte) {
	a.t.Helper()
	if _, err := a.conn.Write(b); err != nil {
		a.t.Fatal(err)
	}
}

func TestOversizedFrame(t *testing.T) {
	b := newBench(t, nil)
	a := b.signIn(7)
	a.raw([]byte{0, 1, 0, 0, 5})
	if c := a.expectClose(wire.Protocol); !strings.Contains(c.Reason, "65536") {
		t.Fatalf("reason %q", c.Reason)
	}
	b.box.awaitPresence(t, 7, false, reasonClosed)
	stranger := b.mustConnect(8)
	stranger.raw([]byte{0xff, 0xff, 0xff, 0xff, 1})
	stranger.expectClose(wire.Protocol)
}

func TestMalformedMessage(t *testing.T) {
	b := newBench(t, nil)
	a := b.signIn(7)
	a.raw([]byte{0, 0, 0, 6, byte(wire.TypeKeepAlive), 0xdd, 0xff, 0xff, 0xff, 0xff}) // an array of 4 G elements
	a.expectClose(wire.Protocol)
}
