package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/carrier"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// impatient is for agents that are never going to read.
var impatient = times{handshake: patience, signIn: patience, whole: patience, write: time.Second, close: time.Second, slow: patience}

// webBench is a bench whose HTTPS port is at url.
func webBench(t testing.TB, edit func(*Config), updates ...Update) (b *bench, url string) {
	t.Helper()
	return webBenchOf(t, patient, edit, updates...)
}

func webBenchOf(t testing.TB, wait times, edit func(*Config), updates ...Update) (b *bench, url string) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	https, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (net.Conn, error) { return net.Dial("tcp", tcp.Addr().String()) }
	b = newBenchOn(t, tcp, https, dial, wait, quick(edit))
	b.tell(updates...)
	b.tell(Whole{})
	return b, "https://" + https.Addr().String()
}

// web is a client of the HTTPS port that shows a device's certificate.
func (b *bench) web(multiplex bool, certificates ...tls.Certificate) *http.Client {
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: multiplex,
		TLSClientConfig: &tls.Config{RootCAs: b.pki.pool, ServerName: "listener.test", Certificates: certificates}}}
	b.t.Cleanup(client.CloseIdleConnections) // else a stop waits for those that were never used
	return client
}

// fallbacks are the carriers over HTTPS.
var fallbacks = []struct {
	name   string
	number uint8
	dial   func(b *bench, url string, device uint32) (carrier.Conn, error)
}{
	{"websocket", carrierWebSocket, func(b *bench, url string, device uint32) (carrier.Conn, error) {
		return carrier.DialWebSocket(context.Background(), b.web(false, b.pki.certificate(device)), url+carrier.WebSocketPath)
	}},
	{"long poll, HTTP/1.1", carrierLongPoll, func(b *bench, url string, device uint32) (carrier.Conn, error) {
		return carrier.DialPoll(context.Background(), b.web(false, b.pki.certificate(device)), url+carrier.PollPath)
	}},
	{"long poll, HTTP/2", carrierLongPoll, func(b *bench, url string, device uint32) (carrier.Conn, error) {
		return carrier.DialPoll(context.Background(), b.web(true, b.pki.certificate(device)), url+carrier.PollPath)
	}},
}

func onFallbacks(t *testing.T, edit func(*Config), test func(t *testing.T, b *bench, number uint8, connect func(device uint32) *agent)) {
	for _, f := range fallbacks {
		t.Run(f.name, func(t *testing.T) {
			b, url := webBench(t, edit)
			test(t, b, f.number, func(device uint32) *agent {
				t.Helper()
				conn, err := f.dial(b, url, device)
				if err != nil {
					t.Fatal(err)
				}
				return b.agent(conn, conn)
			})
		})
	}
}

func (a *agent) hello() *agent {
	a.t.Helper()
	a.send(&wire.SignIn{Version: wire.Version, Agent: "fake"})
	expect[*wire.Welcome](a)
	return a
}

func TestPushOverHTTPS(t *testing.T) {
	onFallbacks(t, nil, func(t *testing.T, b *bench, number uint8, connect func(uint32) *agent) {
		a := connect(7).hello()
		op := b.pki.operation(time.Hour, 7)
		b.tell(op)
		id := a.expectTask(b.pki, 7)
		a.send(report(id, task.Succeeded))
		if got := *expect[*wire.ResultAck](a); got != ack(id, task.Succeeded) {
			t.Fatalf("got %+v", got)
		}
		a.alone()
		a.send(&wire.Bye{})
		a.conn.CloseWrite()
		if m := a.next(); m != nil {
			t.Fatalf("got %T after bye", m)
		}
		b.box.awaitPresence(t, 7, false, reasonSignedOut)
		if e := presenceOf(b.box.all(), 7); len(e) != 2 || !e[0].Online || e[0].Carrier != number || e[1].Carrier != number {
			t.Errorf("presence %+v, want carrier %d", e, number)
		}
		if got := rowsOf(b.box.all(), 7); !equal(got, []task.State{task.Sent, task.Succeeded}) {
			t.Errorf("files say %v", got)
		}
	})
}

// A session that moves from one carrier to another is online all the while.
func TestMoveBetweenCarriers(t *testing.T) {
	onFallbacks(t, nil, func(t *testing.T, b *bench, number uint8, connect func(uint32) *agent) {
		old := connect(7).hello()
		op := b.pki.operation(time.Hour, 7)
		b.tell(op)
		id := old.expectTask(b.pki, 7)
		a := b.signIn(7)
		old.expectClose(wire.Displaced)
		if again := a.expectTask(b.pki, 7); again != id {
			t.Fatalf("got %s, want what has no answer yet", again)
		}
		a.send(report(id, task.Succeeded))
		expect[*wire.ResultAck](a)
		b.box.await(t, "the move", func(files []box.Contents, _ int) bool {
			e := presenceOf(files, 7)
			return len(e) > 0 && e[len(e)-1].Carrier == carrierTCP
		})
		for _, e := range presenceOf(b.box.all(), 7) {
			if !e.Online {
				t.Error("the device was offline in between")
			}
		}
		if s := b.l.Stats(); s.Sessions != 1 {
			t.Errorf("%d sessions", s.Sessions)
		}
	})
}

func TestBlockOverHTTPS(t *testing.T) {
	onFallbacks(t, nil, func(t *testing.T, b *bench, _ uint8, connect func(uint32) *agent) {
		a := connect(7).hello()
		b.tell(BlockDevice{7})
		a.expectClose(wire.Blocked)
		b.box.awaitPresence(t, 7, false, reasonBlocked)
		again := connect(7)
		again.send(&wire.SignIn{Version: 1})
		again.expectClose(wire.Blocked)
	})
}

// Whoever is gone without a word is noticed.
func TestHangUpIsNoticed(t *testing.T) {
	onFallbacks(t, nil, func(t *testing.T, b *bench, _ uint8, connect func(uint32) *agent) {
		a := connect(7).hello()
		a.conn.Close()
		b.box.awaitPresence(t, 7, false, reasonClosed)
	})
}

func TestSilenceOverHTTPS(t *testing.T) {
	edit := func(c *Config) { c.KeepAlive = 100 * time.Millisecond }
	onFallbacks(t, edit, func(t *testing.T, b *bench, _ uint8, connect func(uint32) *agent) {
		connect(7).hello()
		b.box.awaitPresence(t, 7, false, reasonTimedOut)
	})
}

// The last words of a listener reach whoever polls.
func TestStopOverHTTPS(t *testing.T) {
	onFallbacks(t, nil, func(t *testing.T, b *bench, _ uint8, connect func(uint32) *agent) {
		a := connect(7).hello()
		b.box.awaitPresence(t, 7, true, reasonSignedIn)
		stopped := make(chan error)
		go func() { stopped <- b.stop() }()
		if c := expect[*wire.Close](a); c.Code != wire.GoingAway || c.RetryAfter == 0 {
			t.Errorf("%+v", c)
		}
		a.conn.Close()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		b.box.awaitPresence(t, 7, false, reasonStopped)
	})
}

// An agent that does not read costs only itself.
func TestSlowReaderOverHTTPS(t *testing.T) {
	policy := make([]byte, wire.MaxTransfer/2)
	edit := func(c *Config) {
		c.Policy = func(uint32, string) (Policy, error) { return Policy{ETag: "x", Signed: policy}, nil }
	}
	for _, f := range fallbacks {
		t.Run(f.name, func(t *testing.T) {
			b, url := webBenchOf(t, impatient, edit)
			conn, err := f.dial(b, url, 7)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			a := &agent{t: t, conn: conn} // nobody reads
			a.send(&wire.SignIn{Version: wire.Version})
			b.box.awaitPresence(t, 7, true, reasonSignedIn)
			request, err := wire.Append(nil, &wire.PolicyRequest{})
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if _, err := conn.Write(request); err != nil {
					break // it is cut already
				}
			}
			b.box.awaitPresence(t, 7, false, reasonClosed)
			b.awaitStats(func(s Stats) bool { return s.TooSlow == 1 })
			b.signIn(8).alone()
		})
	}
}

// Without a device's certificate the carriers answer with a problem.
func TestCarriersNeedACertificate(t *testing.T) {
	b, url := webBench(t, nil)
	ca := func(c *x509.Certificate) { c.URIs = nil }
	other := wire.Identity{Site: "P02", Device: 7, ID: task.NewRandomID()}
	for name, client := range map[string]*http.Client{
		"none":         b.web(true),
		"no identity":  b.web(true, b.pki.certificate(7, ca)),
		"another site": b.web(true, b.pki.certificate(7, func(c *x509.Certificate) { c.URIs = []*neturl.URL{other.URI()} })),
		"ended":        b.web(true, b.pki.certificate(7, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })),
	} {
		for _, path := range []string{carrier.WebSocketPath, carrier.PollPath, carrier.PollPath + "/x"} {
			resp, err := client.Post(url+path, "", nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			var p wire.JoinError
			err = json.NewDecoder(resp.Body).Decode(&p)
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized || err != nil || p.Status != http.StatusUnauthorized || p.Detail == "" {
				t.Errorf("%s, %s: %d %+v %v", name, path, resp.StatusCode, p, err)
			}
		}
	}
	if s := b.l.Stats(); s.Refused != 12 || s.Connections != 0 {
		t.Errorf("%+v", s)
	}
}

// Strangers are capped by address, sessions by device.
func TestCarrierRates(t *testing.T) {
	b, url := webBenchOf(t, impatient, func(c *Config) { c.Limits.JoinBurst, c.Limits.JoinRate = 2, 1e-9 })
	stranger := b.web(true)
	var got []int
	for range 3 {
		got = append(got, statusAt(t, stranger, url+carrier.PollPath))
	}
	if !equal(got, []int{401, 401, 429}) {
		t.Errorf("strangers got %v", got)
	}
	device := b.web(true, b.pki.certificate(7))
	last := 0
	for range deviceOpens + 5 {
		last = statusAt(t, device, url+carrier.PollPath)
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("a device may open any number of sessions: %d", last)
	}
}

// As many devices as there is room for may come at once, as they do after a restart.
func TestAllMayComeAtOnce(t *testing.T) {
	const all = 20_000
	f, now := newFallback(all), time.Now()
	for device := range all {
		if !f.opens.allow(strconv.Itoa(device), now) {
			t.Fatalf("device %d of %d may not begin a session", device, all)
		}
	}
}

func statusAt(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	resp, err := client.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// Sessions over HTTPS take no place of strangers, and those who join none of
// theirs.
func TestJoiningIsNotStarved(t *testing.T) {
	edit := func(c *Config) {
		c.Limits.HTTPS = 2
		c.Join = func(context.Context, wire.JoinRequest, string) (wire.JoinReply, error) { return wire.JoinReply{}, nil }
	}
	b, url := webBench(t, edit)
	for device := range uint32(6) {
		f := fallbacks[device%3]
		conn, err := f.dial(b, url, device+1)
		if err != nil {
			t.Fatal(err)
		}
		b.agent(conn, conn).hello()
	}
	client := b.web(false)
	resp, err := client.Post(url+wire.JoinPath, "application/json", nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	if s := b.l.Stats(); s.Sessions != 6 {
		t.Errorf("%d sessions", s.Sessions)
	}
}

// One device has few connections; a full house says so.
func TestFallbackIsBounded(t *testing.T) {
	b, url := webBench(t, func(c *Config) { c.Limits.Fallback = 2 })
	connect := func(device uint32) error {
		conn, err := fallbacks[0].dial(b, url, device)
		if err == nil {
			b.agent(conn, conn).hello()
		}
		return err
	}
	for device := range uint32(2) {
		if err := connect(device + 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := connect(3); err == nil {
		t.Error("more sessions than the limit")
	}
	b.signIn(4).alone() // over TCP there is room
	f := newFallback(100).connections
	var leave []func()
	var wait sync.WaitGroup
	for range deviceConnections {
		release, ok := f.place(7)
		if !ok {
			t.Fatal("no place")
		}
		leave = append(leave, release)
	}
	if _, ok := f.place(7); ok {
		t.Error("one device has more connections than it may")
	}
	if _, ok := f.place(8); !ok {
		t.Error("another has none")
	}
	for _, l := range leave {
		wait.Go(l)
	}
	wait.Wait()
	if len(f.of) != 1 || f.total != 1 {
		t.Errorf("%d devices, %d connections", len(f.of), f.total)
	}
}
