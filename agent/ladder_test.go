package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// Numbers of the carriers in presence files.
const (
	byTCP       = 1
	byWebSocket = 2
	byLongPoll  = 3
)

func statusOf(t *testing.T, dir string) Status {
	t.Helper()
	s, err := ReadStatus(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A task reaches the agent by every carrier, runs once, and its result arrives.
func TestEveryCarrier(t *testing.T) {
	for name, c := range map[string]struct {
		https   func(p *post) string
		proxied bool
		dropped bool // packets to the TCP port are
		closed  bool // the TCP port is
		carrier uint8
		called  string
		why     string
	}{
		"TCP":                {carrier: byTCP, called: overTCP},
		"websocket":          {dropped: true, carrier: byWebSocket, called: overWebSocket, why: "tcp ADDRESS: connection timed out"},
		"websocket by proxy": {closed: true, proxied: true, carrier: byWebSocket, called: overWebSocket, why: "tcp ADDRESS: nobody there"},
		"upgrade answered 200": {https: func(p *post) string { return p.noUpgrade(http.StatusOK) }, closed: true, carrier: byLongPoll, called: overLongPoll,
			why: "tcp ADDRESS: nobody there; websocket: server answered 200 instead of 101"},
		"upgrade answered 426, by proxy": {https: func(p *post) string { return p.noUpgrade(http.StatusUpgradeRequired) }, closed: true, proxied: true,
			carrier: byLongPoll, called: overLongPoll, why: "tcp ADDRESS: nobody there; websocket: server answered 426 instead of 101"},
		"HTTP/2 only": {https: func(p *post) string { return onlyHTTP2(p.t, p.https) }, closed: true, carrier: byLongPoll, called: overLongPoll,
			why: "tcp ADDRESS: nobody there; websocket: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t)
			https := p.https
			if c.https != nil {
				https = c.https(p)
			}
			var w wires
			var ran atomic.Int32
			w.dropped.Store(c.dropped)
			w.closed.Store(c.closed)
			cfg := p.setup(&w, &ran)
			var through *proxy
			if c.proxied {
				through = newProxy(t)
				cfg.Proxy = through.use
			}
			dir := p.device(https)
			a := p.start(dir, cfg)
			p.awaitCarrier(c.carrier)
			p.push()
			p.push()
			if n := ran.Load(); n != 2 {
				t.Errorf("2 tasks ran %d times", n)
			}
			why := strings.ReplaceAll(c.why, "ADDRESS", p.tcp)
			if c.carrier != byTCP {
				p.awaitFact(factCarrier, c.called)
				p.awaitFact(factWhy, why)
			}
			if s := statusOf(t, dir); s.Carrier != c.called || s.Why != why || s.CarrierSince.IsZero() {
				t.Errorf("status %+v, want %q", s, why)
			}
			if c.proxied && through.connected.Load() == 0 || c.proxied && through.refused.Load() > 0 {
				t.Errorf("proxy let %d through, refused %d", through.connected.Load(), through.refused.Load())
			}
			a.halt()
			p.await("signed out", func(files []box.Contents) bool {
				all := presence(files)
				return !all[len(all)-1].Online
			})
		})
	}
}

// When TCP works again the session moves, with all that is under way, and the
// device is online all the while.
func TestBackToTCP(t *testing.T) {
	for name, upgrade := range map[string]bool{"from websocket": true, "from long poll": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t)
			https, from := p.https, uint8(byWebSocket)
			if !upgrade {
				https, from = p.noUpgrade(http.StatusOK), byLongPoll
			}
			var w wires
			var ran atomic.Int32
			w.closed.Store(true)
			cfg := p.setup(&w, &ran)
			cfg.RetryCarrier = 50 * time.Millisecond
			dir := p.device(https)
			a := p.start(dir, cfg)
			p.awaitCarrier(from)
			p.push()
			w.closed.Store(false)
			pushed := int32(1)
			for moved := false; !moved; pushed++ {
				p.push()
				moved = statusOf(t, dir).Carrier == overTCP
			}
			p.awaitCarrier(byTCP)
			p.push()
			if n := ran.Load(); n != pushed+1 {
				t.Errorf("%d tasks ran %d times", pushed+1, n)
			}
			p.awaitFact(factCarrier, overTCP)
			p.mu.Lock()
			for _, e := range presence(p.files) {
				if !e.Online {
					t.Errorf("the device was offline: %+v", e)
				}
			}
			p.mu.Unlock()
			if s := p.listener.Stats(); s.Sessions != 1 {
				t.Errorf("%d sessions", s.Sessions)
			}
			a.halt()
		})
	}
}

// What worked is tried first after a restart; TCP is tried later.
func TestRestartIsQuick(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	var w wires
	var ran atomic.Int32
	w.closed.Store(true)
	dir := p.device(p.https)
	a := p.start(dir, p.setup(&w, &ran))
	p.awaitCarrier(byWebSocket)
	p.awaitFact(factCarrier, overWebSocket)
	before := statusOf(t, dir)
	a.halt()
	w.tried.Store(0)
	a = p.start(dir, p.setup(&w, &ran))
	p.push()
	after := statusOf(t, dir)
	if w.tried.Load() != 0 || after.Carrier != overWebSocket || after.Why != before.Why || !after.CarrierSince.Equal(before.CarrierSince) {
		t.Errorf("after %d tries of TCP: %+v, before %+v", w.tried.Load(), after, before)
	}
	a.halt()
}

// A proxy that refuses is named in the reason.
func TestRefusingProxy(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	var w wires
	var ran atomic.Int32
	cfg := p.setup(&w, &ran)
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == p.tcp {
			return nil, errNobody
		}
		return w.dial(ctx, network, address)
	}
	through := newProxy(t)
	stranger := *through.url
	stranger.User = url.UserPassword("ann", "wrong")
	cfg.Proxy = func(*http.Request) (*url.URL, error) { return &stranger, nil }
	dir := p.device(p.https)
	a := p.start(dir, cfg)
	defer a.halt()
	limit := time.Now().Add(patience)
	for {
		s := statusOf(t, dir)
		want := "websocket: proxy " + through.url.Host + " answered 407 to CONNECT"
		if strings.Contains(s.LastError, want) && strings.Contains(s.LastError, "tcp "+p.tcp+": nobody there") {
			if strings.Contains(s.LastError, "wrong") {
				t.Error("the password is in the status")
			}
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("status %q", s.LastError)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Joining goes by the same proxy.
func TestJoinByProxy(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	through := newProxy(t)
	id, err := Join(t.Context(), JoinConfig{Dir: t.TempDir(), Site: p.https, Token: p.token().String(), Proxy: through.use})
	if err != nil || id.Device != p.id.Device {
		t.Fatalf("%v %v", id, err)
	}
	if through.connected.Load() != 1 {
		t.Errorf("%d connections by the proxy", through.connected.Load())
	}
}

// A port whose packets are dropped does not cost more than 10 s, however many
// there are.
func TestDroppedPortsFallThrough(t *testing.T) {
	for n := 1; n <= 8; n++ {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, 0)
			tried := make(chan time.Time, 16)
			cfg := s.config()
			cfg.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
				if address == "https.test:443" {
					tried <- time.Now()
					return nil, errNobody
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}
			dir := t.TempDir()
			key := must(keyIn(dir))
			var tcp []string
			for i := range n {
				tcp = append(tcp, net.JoinHostPort("a.test", string(rune('1'+i))))
			}
			reply := s.admit(&key.PublicKey, tcp...)
			reply.HTTPS = []string{"https.test:443"}
			if err := storeIdentity(dir, reply); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			a := s.start(dir, cfg)
			if d := (<-tried).Sub(begun); d > 10*time.Second {
				t.Errorf("with %d addresses it took %s", n, d)
			}
			a.halt()
		})
	}
}

// When the machine is in another network TCP is tried at once.
func TestNetworkChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		var where atomic.Value
		where.Store("office")
		var tried []time.Time
		cfg := s.config().withDefaults()
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
			tried = append(tried, time.Now())
			return nil, errNobody
		}
		a := must(Open(s.device(), cfg))
		defer a.Close()
		a.network = func() string { return where.Load().(string) }
		a.briefly = tooOftenBrief
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		begun := time.Now()
		time.AfterFunc(5*time.Minute+time.Second, func() { where.Store("home") })
		if m := a.search(ctx, way{overLongPoll, "https.test:443"}); m != nil {
			t.Fatal("found a way")
		}
		if len(tried) != 1 || tried[0].Sub(begun) != 5*time.Minute+networkCheck {
			t.Errorf("tried at %v, begun at %s", tried, begun)
		}
		if a.briefly != 0 {
			t.Error("WebSockets that the other network cut count here")
		}
	})
}

// WebSockets that are cut again and again are given up for long poll.
func TestBriefWebSockets(t *testing.T) {
	s := newSite(t, 0)
	a := must(Open(s.device(), s.config()))
	defer a.Close()
	w := way{overWebSocket, "https.test:443"}
	a.stand(w, "tcp: nothing")
	for _, lived := range []time.Duration{time.Second, time.Second, time.Hour, time.Second, time.Second} {
		a.brief(w, lived)
	}
	if a.footing.Carrier != overWebSocket {
		t.Fatalf("%+v", a.footing)
	}
	a.brief(w, time.Second)
	if f := a.footing; f.Carrier != overLongPoll || f.Address != w.address || !strings.Contains(f.Why, "3 times") || f.Reported {
		t.Errorf("%+v", f)
	}
}

func TestFootingIsChecked(t *testing.T) {
	s := newSite(t, 0)
	dir := s.device()
	a := must(Open(dir, s.config()))
	a.stand(way{overWebSocket, "https.test:443"}, "because")
	want := a.footing
	a.Close()
	a = must(Open(dir, s.config()))
	if a.footing.Carrier != want.Carrier || a.footing.Why != "because" || !a.footing.Since.Equal(want.Since) {
		t.Errorf("%+v, want %+v", a.footing, want)
	}
	a.Close()
	for _, bad := range []string{"", "{", `{"carrier":"pigeon","address":"a:1"}`, `{"carrier":"tcp","address":"nowhere"}`} {
		if err := os.WriteFile(filepath.Join(dir, footingFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := Open(dir, s.config())
		if err != nil || a.footing != (footing{}) {
			t.Errorf("%q: %+v %v", bad, a, err)
		}
		a.Close()
	}
}

func FuzzFooting(f *testing.F) {
	f.Add([]byte(`{"carrier":"websocket","address":"a.test:443","why":"x","since":"2026-01-02T03:04:05Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if f, ok := readFooting(b); ok && (len(f.Why) > maxWhy || f.Carrier == "" || f.Address == "") {
			t.Errorf("%+v is taken", f)
		}
	})
}

func TestBecause(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for want, c := range map[string]struct {
		w   way
		err error
	}{
		"tcp a.test:1: connection refused": {way{overTCP, "a.test:1"}, refused},
		"long poll: nobody there":          {way{overLongPoll, "a.test:1"}, &url.Error{Op: "Get", URL: "https://secret", Err: errNobody}},
	} {
		if got := because(c.w, c.err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Something in between that takes an upgrade and never answers does not end the
// search for a better carrier.
func TestSearchGoesOnWhenNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		var tried atomic.Int32
		cfg := s.config().withDefaults()
		cfg.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			if address == "https.test:443" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			tried.Add(1)
			return nil, errNobody
		}
		dir := t.TempDir()
		key := must(keyIn(dir))
		reply := s.admit(&key.PublicKey)
		reply.HTTPS = []string{"https.test:443"}
		if err := storeIdentity(dir, reply); err != nil {
			t.Fatal(err)
		}
		a := must(Open(dir, cfg))
		defer a.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 65*time.Minute)
		defer cancel()
		if m := a.search(ctx, way{overLongPoll, "https.test:443"}); m != nil {
			t.Fatal("found a way")
		}
		if n := tried.Load(); n < 3 {
			t.Errorf("TCP was tried %d times in 65 minutes", n)
		}
	})
}
