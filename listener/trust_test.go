package listener

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// cancelled ends u with the site's signed word, which holds for a time.
func (p *pki) cancelled(u OpenOperation, valid time.Duration) EndOperation {
	c := task.Cancel{Site: "P01", Operation: u.id(p.t), At: time.Now()}
	return EndOperation{ID: c.Operation, Cancel: c.Sign(p.task), Until: time.Now().Add(valid)}
}

func (a *agent) expectCancel(p *pki, id task.ID) {
	a.t.Helper()
	m := expect[*wire.Cancel](a)
	c, err := task.VerifyCancel(m.Signed, "P01", p.task.Public().(ed25519.PublicKey))
	if err != nil || c.Operation != id {
		a.t.Fatalf("cancel of %s, want %s: %v", c.Operation, id, err)
	}
}

// signInWith is signIn with a message of its own.
func (b *bench) signInWith(device uint32, in wire.SignIn) *agent {
	b.t.Helper()
	a := b.mustConnect(device)
	in.Version = wire.Version
	a.send(&in)
	expect[*wire.Welcome](a)
	return a
}

func TestOP5_CancelReachesWhoHasTheTask(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		op := b.pki.operation(time.Hour, 1, 2, 3)
		id := op.id(t)
		has, answered, stranger := b.signIn(1), b.signIn(2), b.signIn(9)
		b.tell(op)
		has.expectTask(b.pki, 1)
		answered.expectTask(b.pki, 2)
		answered.send(report(id, task.Succeeded))
		expect[*wire.ResultAck](answered)
		b.tell(b.pki.cancelled(op, time.Hour))
		pass(time.Second)
		has.expectCancel(b.pki, id)
		answered.alone()
		stranger.alone()
		b.signIn(3).alone() // never had it, and does not get it
		back := b.signInWith(1, wire.SignIn{Open: []task.ID{id}})
		back.expectCancel(b.pki, id)
		back.alone()
		b.signIn(1).alone() // does not list it
		if s := b.l.Stats(); s.Cancels != 2 || s.Operations != 0 {
			t.Errorf("stats %+v", s)
		}
		pass(time.Hour)
		b.signInWith(1, wire.SignIn{Open: []task.ID{id}}).alone() // nobody may begin it any more
	})
}

// An agent that got the task elsewhere lists it, and is known to have it.
func TestOP5_CancelReachesWhoListsTheTask(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		op := b.pki.held(time.Hour, 1, 2)
		b.tell(op)
		pass(time.Second)
		lists, other := b.signInWith(1, wire.SignIn{Open: []task.ID{op.id(t), {99}}}), b.signIn(2)
		b.tell(b.pki.cancelled(op, time.Hour))
		pass(time.Second)
		lists.expectCancel(b.pki, op.id(t))
		lists.alone()
		other.alone()
	})
}

// A task that waits in the queue of an agent that does not read is not sent
// after the end, and what was being written is followed by the cancel.
func TestOP5_CancelOfStuck(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		conn, r := stuck(t, b, 7)
		first, second := b.pki.operation(time.Hour, 7), b.pki.operation(time.Hour, 7)
		b.tell(first, second)
		pass(time.Second) // the first is being written, the second waits
		b.tell(b.pki.cancelled(first, time.Hour), b.pki.cancelled(second, time.Hour))
		pass(time.Second)
		go conn.send(&wire.KeepAlive{})
		var got []string
		for len(got) == 0 || got[len(got)-1] != "keep-alive-ack" {
			m, _, err := wire.ReadFrom(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.Type().String())
		}
		if want := "[task cancel keep-alive-ack]"; fmt.Sprint(got) != want {
			t.Fatalf("got %v, want %s", got, want)
		}
	})
}

// After a restart the feed tells what was cancelled.
func TestCancelOfUnknown(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		op := b.pki.operation(time.Hour, 7)
		a := b.signIn(7)
		b.tell(b.pki.cancelled(op, time.Hour), EndOperation{ID: task.ID{1}, Cancel: make([]byte, task.MaxCancel+1), Until: time.Now().Add(time.Hour)})
		pass(time.Second)
		a.alone()
		b.signInWith(7, wire.SignIn{Open: []task.ID{op.id(t), {1}}}).expectCancel(b.pki, op.id(t))
	})
}

func TestCancelsAreBounded(t *testing.T) {
	var c cancels
	now := time.Unix(1_700_000_000, 0)
	id := func(i int) task.ID { return task.ID{1, byte(i >> 16), byte(i >> 8), byte(i)} }
	for i := range maxCancels + 10 {
		c.keep(&cancel{id: id(i), frame: []byte{1}, until: now.Add(time.Hour + time.Duration(i)*time.Second)}, now)
	}
	if len(c.of) != maxCancels || len(c.heap) != maxCancels || c.get(id(9), now) != nil || c.get(id(10), now) == nil {
		t.Fatalf("%d are kept", len(c.of))
	}
	c.keep(&cancel{id: id(10), frame: []byte{2}, until: now.Add(time.Minute)}, now)
	if len(c.heap) != maxCancels || c.get(id(10), now)[0] != 2 || c.get(id(10), now.Add(time.Minute)) != nil {
		t.Fatal("a word that came again counts twice, or for too long")
	}
	c.keep(&cancel{id: id(0), until: now.Add(100 * time.Hour)}, now.Add(99*time.Hour))
	if len(c.of) != 1 || len(c.heap) != 1 {
		t.Fatalf("%d are kept that are over", len(c.of)-1)
	}
}

// ring signs keyring n, which listeners do not check.
func (p *pki) ring(n uint32) ChangeKeys {
	p.t.Helper()
	pub := p.task.Public().(ed25519.PublicKey)
	r := task.Keyring{Site: "P01", Number: n, At: time.Unix(int64(n), 0), Task: []ed25519.PublicKey{pub},
		Policy: []ed25519.PublicKey{pub}, CA: [][]byte{p.cert.Raw}}
	signed, err := r.Sign(p.task)
	if err != nil {
		p.t.Fatal(err)
	}
	return ChangeKeys{signed}
}

func (a *agent) expectRings(numbers ...uint32) {
	a.t.Helper()
	for _, want := range numbers {
		r, err := task.ReadKeyring(expect[*wire.Keyring](a).Signed)
		if err != nil || r.Number != want {
			a.t.Fatalf("ring %d, want %d: %v", r.Number, want, err)
		}
	}
}

func TestKeyrings(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		b.tell(b.pki.ring(2), b.pki.ring(3), b.pki.operation(time.Hour, 1, 2, 3))
		pass(time.Second)
		joined, behind, newest := b.signIn(1), b.signInWith(2, wire.SignIn{Keyring: 2}), b.signInWith(3, wire.SignIn{Keyring: 3})
		joined.expectRings(2, 3)
		behind.expectRings(3)
		for i, a := range []*agent{joined, behind, newest} {
			a.expectTask(b.pki, uint32(i+1)) // the rings went before it
		}
		b.tell(b.pki.ring(4))
		pass(time.Second)
		for _, a := range []*agent{joined, behind, newest} {
			a.expectRings(4)
			a.alone()
		}
		b.feed <- errors.New("broken")
		b.tell(b.pki.ring(2), b.pki.ring(3), b.pki.ring(4), Whole{})
		pass(time.Second)
		joined.alone()
		b.signInWith(1, wire.SignIn{Keyring: 9}).alone()
		if n := b.l.Stats().Keyring; n != 4 {
			t.Errorf("newest is %d", n)
		}
	})
}

func TestKeyringRefused(t *testing.T) {
	foreign := newPKI(t)
	for name, u := range map[string]func(p *pki) ChangeKeys{
		"gap":     func(p *pki) ChangeKeys { return p.ring(4) },
		"other":   func(*pki) ChangeKeys { return foreign.ring(2) },
		"garbage": func(*pki) ChangeKeys { return ChangeKeys{[]byte("ring")} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, b *bench) {
				b.tell(b.pki.ring(2), u(b.pki))
				pass(time.Second)
				a := b.signIn(7)
				a.expectRings(2)
				a.alone()
				if r := statusOf(b.box.all()); r[len(r)-1].Number != uint32(msgKeyring) {
					t.Errorf("status %+v", r)
				}
			})
		})
	}
	var r rings
	for i := range uint32(maxRings) {
		if _, err := r.add(i+firstRing, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.add(maxRings+firstRing, nil); !errors.Is(err, errRings) {
		t.Errorf("one ring too many: %v", err)
	}
}

func TestRenewal(t *testing.T) {
	renew := func(_ context.Context, device uint32, r wire.Renew) ([]byte, error) {
		switch string(r.CSR) {
		case "no":
			return nil, &JoinRefused{403, "Not renewed", strings.Repeat("because ", 100)}
		case "later":
			return nil, errors.New("the site is away")
		}
		return fmt.Appendf(nil, "%s for %d%s", r.CSR, device, r.Proof), nil
	}
	bubble(t, func(c *Config) { c.Renew = renew }, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		a.send(&wire.Renew{CSR: []byte("certificate"), Proof: []byte(", proven")})
		if m := expect[*wire.Renewed](a); string(m.Certificate) != "certificate for 7, proven" || m.Reason != "" {
			t.Errorf("got %+v", m)
		}
		a.send(&wire.Renew{CSR: []byte("no")})
		if m := expect[*wire.Renewed](a); m.Certificate != nil || !strings.HasPrefix(m.Reason, "Not renewed: because") || len(m.Reason) > wire.MaxText {
			t.Errorf("got %+v", m)
		}
		a.send(&wire.Renew{CSR: []byte("later")})
		pass(time.Second)
		a.alone()
		for range renewsOfOne { // two more are answered, in this window
			a.send(&wire.Renew{CSR: []byte("again")})
		}
		for range renewsOfOne - 3 {
			expect[*wire.Renewed](a)
		}
		pass(time.Second)
		a.alone()
		pass(renewWindow)
		a.send(&wire.Renew{CSR: []byte("later today")})
		expect[*wire.Renewed](a)
		if s := b.l.Stats(); s.Renewals != 1+renewsOfOne-3+1 || s.RenewsDropped != 3 {
			t.Errorf("stats %+v", s)
		}
		numbers := map[uint32]bool{}
		for _, r := range statusOf(b.box.all()) {
			numbers[r.Number] = true
		}
		if !numbers[uint32(msgRenewFails)] || !numbers[uint32(msgRenewOften)] {
			t.Errorf("status messages %v", numbers)
		}
	})
}

// While the site is slow, agents are served as ever, and a stop does not wait.
func TestRenewalOfSlowSite(t *testing.T) {
	var asked atomic.Int64
	renew := func(ctx context.Context, _ uint32, _ wire.Renew) ([]byte, error) {
		asked.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	bubble(t, func(c *Config) { c.Renew = renew; c.Limits.Sessions = 100 }, func(t *testing.T, b *bench) {
		agents := make([]*agent, 2*renewWorkers)
		for i := range agents {
			agents[i] = b.signIn(uint32(i + 1))
			agents[i].send(&wire.Renew{CSR: []byte("please")})
		}
		pass(renewTimeout - time.Second)
		for _, a := range agents {
			a.alone()
		}
		if n := asked.Load(); n != renewWorkers {
			t.Errorf("%d are asked at once", n)
		}
		pass(2 * time.Second)
		if n := asked.Load(); n != 2*renewWorkers {
			t.Errorf("%d were asked", n)
		}
		begun := time.Now()
		b.stop()
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("stop took %s", took)
		}
	})
}

func TestNoRenewalHere(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		a.send(&wire.Renew{CSR: []byte("please")})
		if m := expect[*wire.Renewed](a); m.Reason != noRenewalHere {
			t.Errorf("got %+v", m)
		}
	})
}

func TestRenewersAreBounded(t *testing.T) {
	r, now := newRenewals(), time.Unix(1_700_000_000, 0)
	for d := range uint32(maxRenewers) {
		if !r.allow(d+1, now) {
			t.Fatalf("device %d", d+1)
		}
	}
	if r.allow(maxRenewers+1, now) || !r.allow(1, now) {
		t.Error("a device too many, or one that is counted is not")
	}
	if !r.allow(maxRenewers+1, now.Add(renewWindow)) || !r.allow(maxRenewers+2, now.Add(-time.Hour)) {
		t.Error("a window does not end")
	}
}

// resumable is a client that keeps its tickets.
func (p *pki) resumable(device uint32) *tls.Config {
	c := p.client(device)
	c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	return c
}

// visit signs in and leaves; it says whether the session was resumed.
func (b *bench) visit(c *tls.Config) (resumed bool, err error) {
	a, err := b.connect(c)
	if err != nil {
		return false, err
	}
	defer a.conn.Close()
	frame, err := wire.Append(nil, &wire.SignIn{Version: wire.Version})
	if err != nil {
		return false, err
	}
	a.conn.Write(frame) // fails if the listener has hung up already, which next tells
	switch m := a.next().(type) {
	case *wire.Welcome:
		return a.conn.(*tls.Conn).ConnectionState().DidResume, nil
	case *wire.Close:
		return a.conn.(*tls.Conn).ConnectionState().DidResume, fmt.Errorf("closed: %s", m.Code)
	}
	return false, a.end
}

// A ticket does not outlive a block, nor the CA that vouched for its device.
func TestTicketsAndBlocks(t *testing.T) {
	b := newBench(t, nil)
	client := b.pki.resumable(7)
	if resumed, err := b.visit(client); err != nil || resumed {
		t.Fatalf("first visit: %t, %v", resumed, err)
	}
	if resumed, err := b.visit(client); err != nil || !resumed {
		t.Fatalf("second visit: %t, %v, want it resumed", resumed, err)
	}
	b.tell(BlockDevice{7}, Whole{}, Whole{}) // applied when the next one is taken
	if resumed, err := b.visit(client); err == nil || !strings.Contains(err.Error(), "blocked") || !resumed {
		t.Fatalf("blocked: %t, %v", resumed, err)
	}
}

func TestClientCAsChange(t *testing.T) {
	var current atomic.Pointer[x509.CertPool]
	b := newBench(t, func(c *Config) {
		current.Store(c.ClientCAs())
		c.ClientCAs = current.Load
	})
	next := newPKI(t)
	next.server, next.pool = b.pki.server, b.pki.pool
	old, fresh := b.pki.resumable(7), next.resumable(8)
	if _, err := b.visit(fresh); err == nil {
		t.Fatal("a certificate of another CA is taken")
	}
	b.visit(old)
	both := b.pki.pool.Clone()
	both.AddCert(next.cert)
	current.Store(both)
	if resumed, err := b.visit(old); err != nil || resumed {
		t.Fatalf("ticket from before the change: %t, %v, want the certificate shown again", resumed, err)
	}
	if resumed, err := b.visit(old); err != nil || !resumed {
		t.Fatalf("ticket from after the change: %t, %v", resumed, err)
	}
	if _, err := b.visit(fresh); err != nil {
		t.Fatalf("certificate of the new CA: %v", err)
	}
	only := x509.NewCertPool()
	only.AddCert(next.cert)
	current.Store(only)
	if resumed, err := b.visit(old); err == nil {
		t.Fatalf("certificate of a CA that is retired is taken, resumed: %t", resumed)
	}
	for i := range 2 {
		if resumed, err := b.visit(fresh); err != nil || resumed != (i > 0) {
			t.Fatalf("certificate of the new CA: %t, %v", resumed, err)
		}
	}
	current.Store(nil)
	if _, err := b.visit(fresh); err == nil {
		t.Fatal("without CAs those of the machine count")
	}
}

// A block cuts the session and refuses the next within a second, whatever the
// agent does meanwhile.
func TestBlockWithinASecond(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		pass(time.Minute)
		b.tell(BlockDevice{7})
		pass(time.Second - 1)
		a.expectClose(wire.Blocked)
		if e := b.lastPresence(7); e.Online || e.Reason != reasonBlocked {
			t.Errorf("presence %+v", e)
		}
		again := b.mustConnect(7)
		again.send(&wire.SignIn{Version: 1})
		again.expectClose(wire.Blocked)
		b.tell(UnblockDevice{7}, Whole{})
		pass(time.Second)
		b.signIn(7).alone()
	})
}
