package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
)

var quiet = log.New(io.Discard, "", 0)

// dials remembers when and where an agent dialled.
type dials struct {
	mu    sync.Mutex
	at    []time.Time
	where []string
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
}

func (d *dials) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.at, d.where = append(d.at, time.Now()), append(d.where, address)
	d.mu.Unlock()
	return d.dial(ctx, network, address)
}

var errNobody = errors.New("nobody there")

func nobody(context.Context, string, string) (net.Conn, error) { return nil, errNobody }

func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		d := &dials{dial: nobody}
		cfg := s.config()
		cfg.Dial = d.Dial
		a := s.start(s.device("a.test:1", "b.test:2"), cfg)
		time.Sleep(24 * time.Hour)
		a.halt()
		limit, full := minBackOff, 0
		for i := 2; i < len(d.at); i += 2 {
			if d.where[i-2] != "a.test:1" || d.where[i-1] != "b.test:2" || d.at[i-1] != d.at[i-2] {
				t.Fatalf("round %d was %v at %v", i/2, d.where[i-2:i], d.at[i-2:i])
			}
			wait := d.at[i].Sub(d.at[i-1])
			if wait < 0 || wait >= limit {
				t.Errorf("wait %d was %s, the limit is %s", i/2, wait, limit)
			}
			if wait > maxBackOff/2 {
				full++
			}
			limit = min(2*limit, maxBackOff)
		}
		if rounds := len(d.at) / 2; rounds < 400 || rounds > 1000 || full < rounds/4 {
			t.Errorf("%d rounds in a day, %d of them after more than half of the cap", rounds, full)
		}
	})
}

func TestReconnect(t *testing.T) {
	for name, c := range map[string]struct {
		lasts    time.Duration // how long the session serves before it ends
		spread   time.Duration
		end      *wire.Close // nil: the connection is cut
		min, max time.Duration
	}{
		"cut":                {time.Minute, 0, nil, 0, time.Second},
		"cut, with a spread": {time.Minute, 40 * time.Second, nil, 0, 40 * time.Second},
		"going away":         {time.Minute, 0, &wire.Close{Code: wire.GoingAway, RetryAfter: 7 * time.Second}, 7 * time.Second, 8 * time.Second},
		"overloaded":         {time.Second, 0, &wire.Close{Code: wire.Overloaded, RetryAfter: time.Minute}, time.Minute, 61 * time.Second},
		"blocked":            {time.Second, 0, &wire.Close{Code: wire.Blocked}, 48 * time.Minute, 72 * time.Minute},
		"version":            {time.Second, 0, &wire.Close{Code: wire.BadVersion}, 48 * time.Minute, 72 * time.Minute},
		"a wait without end": {time.Second, 0, &wire.Close{Code: wire.GoingAway, RetryAfter: 365 * 24 * time.Hour}, time.Hour, time.Hour + time.Second},
		"a code of tomorrow": {time.Second, 0, &wire.Close{Code: 1999}, 0, time.Second},
		"a stop of tomorrow": {time.Second, 0, &wire.Close{Code: 3999}, 48 * time.Minute, 72 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 0)
				d := &dials{dial: s.dial}
				cfg := s.config()
				cfg.Dial = d.Dial
				s.start(s.device("a.test:1"), cfg)
				s2 := *s
				p := s2.acceptAs("a.test")
				w := welcomeOf(s.beacon(p.SignIn.Nonce))
				w.Spread = c.spread
				p.welcomeWith(w)
				time.Sleep(c.lasts)
				cut := time.Now()
				if c.end != nil {
					p.send(c.end)
				} else {
					p.drop()
				}
				<-p.done
				s2.acceptAs("a.test").welcome()
				d.mu.Lock()
				defer d.mu.Unlock()
				if wait := d.at[1].Sub(cut); wait < c.min || wait > c.max {
					t.Errorf("came back after %s, want %s to %s", wait, c.min, c.max)
				}
			})
		})
	}
}

// acceptAs is accept for a listener of another name.
func (s *site) acceptAs(host string) *peer {
	s.t.Helper()
	select {
	case c := <-s.conns:
		return s.serve(c, s.server(func(c *x509.Certificate) { c.DNSNames = []string{host} }))
	case <-time.After(24 * time.Hour):
		s.t.Fatal("no agent came")
		return nil
	}
}

func TestRefusedAtSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		d := &dials{dial: s.dial}
		cfg := s.config()
		cfg.Dial = d.Dial
		s.start(s.device("a.test:1", "b.test:2"), cfg)
		p := s.acceptAs("a.test")
		p.welcomeWithClose(&wire.Close{Code: wire.NotAdmitted, Reason: "not known here"})
		s.acceptAs("a.test").welcome() // the best listener, an hour later
		if wait := d.at[1].Sub(d.at[0]); wait < 48*time.Minute || len(d.at) != 2 {
			t.Errorf("%d dials, after %s", len(d.at), wait)
		}
	})
}

// welcomeWithClose says no instead of welcome.
func (p *peer) welcomeWithClose(m *wire.Close) {
	go p.write()
	go p.read()
	p.send(m)
}

func TestRedirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		d := &dials{dial: s.dial}
		cfg := s.config()
		cfg.Dial = d.Dial
		s.start(s.device("a.test:1", "b.test:2"), cfg)
		s.acceptAs("a.test").welcomeWithClose(&wire.Close{Code: wire.Redirect})
		s.acceptAs("b.test").welcome()
		if d.where[0] != "a.test:1" || d.where[1] != "b.test:2" || d.at[0] != d.at[1] {
			t.Errorf("dialled %v at %v", d.where, d.at)
		}
	})
}

func TestListenersThatAreNotTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(s *site, c net.Conn)
		want  string
	}{
		"another site's": {func(s *site, c net.Conn) {
			other := newSite(s.t, 0)
			other.handshake(c, other.server(nil))
		}, "server cannot be trusted"},
		"another host's": {func(s *site, c net.Conn) {
			s.handshake(c, s.server(func(c *x509.Certificate) { c.DNSNames = []string{"evil.test"} }))
		}, "server cannot be trusted"},
		"a beacon of another key": {func(s *site, c net.Conn) {
			p := s.serve(c, s.server(nil))
			other := newSite(s.t, 0)
			p.welcomeWith(welcomeOf(other.beacon(p.SignIn.Nonce)))
		}, "site time: "},
		"no welcome": {func(s *site, c net.Conn) {
			go s.serve(c, s.server(nil)).welcomeMessage(&wire.KeepAliveAck{})
		}, "where a welcome must be"},
		"another version": {func(s *site, c net.Conn) {
			p := s.serve(c, s.server(nil))
			w := welcomeOf(nil)
			w.Version = 2
			p.welcomeWith(w)
		}, "speaks version 2"},
		"silence": {func(s *site, c net.Conn) {}, "deadline exceeded"},
		"garbage": {func(s *site, c net.Conn) {
			go io.Copy(io.Discard, c)
			c.Write([]byte(strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 10)))
		}, "handshake: "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 0)
				dir := s.device()
				s.start(dir, s.config())
				c.serve(s, <-s.conns)
				next := <-s.conns // the next round
				st, err := ReadStatus(dir)
				if err != nil || st.Connected || !strings.Contains(st.LastError, c.want) {
					t.Errorf("status %q, want %q: %v", st.LastError, c.want, err)
				}
				next.Close()
			})
		})
	}
}

func (p *peer) welcomeMessage(m wire.Message) {
	go p.write()
	go p.read()
	p.send(m)
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.start(s.device(), s.config())
		p := s.accept().welcome()
		begun := time.Now()
		for i := range 4 {
			<-p.alive
			if d := time.Since(begun); d != time.Duration(i+1)*15*time.Minute {
				t.Errorf("keep-alive %d after %s", i, d)
			}
		}
		// A listener that no longer answers is left.
		p.mu.Lock()
		p.mute = true
		p.mu.Unlock()
		<-p.done
		if d := time.Since(begun); d != 75*time.Minute+answerTime {
			t.Errorf("left after %s", d)
		}
		s.accept().welcome()
	})
}

// A listener that does not answer is left, too, when keep-alives are closer
// together than an answer may take.
func TestSilenceBetweenCloseKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.start(s.device(), s.config())
		p := s.accept()
		p.welcomeWith(&wire.Welcome{Version: wire.Version, Listener: "LSN01",
			KeepAlive: answerTime / 2, Beacon: s.beacon(p.SignIn.Nonce)})
		<-p.alive
		settle() // it is answered
		p.mu.Lock()
		p.mute = true
		p.mu.Unlock()
		<-p.alive
		select {
		case <-p.done:
		case <-time.After(answerTime + time.Second):
			t.Error("a listener that does not answer is not left")
		}
	})
}

// A listener cannot make its agents busy with keep-alives.
func TestKeepAlivesAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.start(s.device(), s.config())
		p := s.accept()
		begun := time.Now()
		p.welcomeWith(&wire.Welcome{Version: wire.Version, Listener: "LSN01", KeepAlive: 1, Beacon: s.beacon(p.SignIn.Nonce)})
		<-p.alive
		if d := time.Since(begun); d != minSeconds*time.Second {
			t.Errorf("keep-alive after %s", d)
		}
	})
}

func TestProtocolErrorsEndTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.start(s.device(), s.config())
		for _, m := range []wire.Message{&wire.Welcome{Version: 1}, &wire.SignIn{Version: 1}, &wire.Bye{},
			&wire.KeepAliveAck{Beacon: []byte("no beacon")}} {
			p := s.accept().welcome()
			p.send(m)
			<-p.done
		}
		p := s.accept().welcome()
		p.conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 1})
		<-p.done
		s.accept().welcome()
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		st, err := ReadStatus(dir)
		if err != nil || st.Device != s.id.Device || st.Connected || st.PID != 0 {
			t.Fatalf("before the first start: %+v %v", st, err)
		}
		a := s.start(dir, s.config())
		p := s.accept().welcome()
		settle()
		if st, err = ReadStatus(dir); err != nil {
			t.Fatal(err)
		}
		if !st.Connected || st.Listener != "LSN01" || st.Address != "listener.test:10123" || st.Carrier != "tcp" ||
			!st.Since.Equal(time.Now()) || st.KeepAliveSeconds != 900 || st.PID == 0 {
			t.Errorf("connected: %+v", st)
		}
		if on, err := Running(dir); err != nil || !on {
			t.Errorf("running: %v %v", on, err)
		}
		p.drop()
		<-p.done
		settle()
		if st, _ = ReadStatus(dir); st.Connected || st.NextTry.IsZero() || st.LastError == "" {
			t.Errorf("disconnected: %+v", st)
		}
		p = s.accept().welcome()
		settle()
		a.halt()
		if st, _ = ReadStatus(dir); st.Connected || st.PID != 0 {
			t.Errorf("stopped: %+v", st)
		}
		if on, err := Running(dir); err != nil || on {
			t.Errorf("running: %v %v", on, err)
		}
		<-p.bye
	})
	if _, err := ReadStatus(t.TempDir()); !errors.Is(err, ErrNotJoined) {
		t.Errorf("empty folder: %v", err)
	}
}

// A task that is dropped while a sign-in is under way comes again all the same: with
// another one.
func TestDroppedWhileSigningIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		a := s.start(s.device(), cfg)
		p := s.accept() // what the agent has in hand is said
		a.mu.Lock()
		a.drop()
		a.mu.Unlock()
		p.welcome()
		m := s.order("test.once", nil)
		p.send(m)
		select {
		case <-p.done:
		case <-time.After(time.Hour):
			t.Fatal("no other sign-in")
		}
		s.accept().welcome()
		settle()
		if n.n.Load() != 1 {
			t.Errorf("started %d times", n.n.Load())
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.dropped {
			t.Error("it would never be quiet again")
		}
	})
}
