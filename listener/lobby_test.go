package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	neturl "net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/carrier"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A peer is a connection from an address, as the listener sees it.
type peer struct {
	net.Conn
	address string
}

func (p peer) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(p.address), Port: 4711}
}

// comesFrom is a visitor that sends nothing by itself; whoever is served by it
// reads in the background.
func comesFrom(t *testing.T, address string) (v *visitor, far net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	v = newVisitor(peer{near, address}, make(chan struct{}, 1))
	v.shook()
	go io.Copy(io.Discard, v)
	return v, far
}

// left is what there is in the budget of this machine.
func (b *bench) left() int {
	b.l.budgets.mu.Lock()
	defer b.l.budgets.mu.Unlock()
	return int(math.Round(b.l.budgets.of["127.0.0.1"].left))
}

// A handshake is computed in turns, and nobody has one while the peer is waited for.
func TestTurns(t *testing.T) {
	turns := make(chan struct{}, 2)
	var computing, most atomic.Int32
	var all sync.WaitGroup
	for range 3 { // who is waited for, in the middle of a handshake
		near, far := net.Pipe()
		defer near.Close()
		v := newVisitor(peer{near, "192.0.2.1"}, turns)
		go io.Copy(io.Discard, v)
		far.Write([]byte("x"))
	}
	for range 8 {
		near, far := net.Pipe()
		v := newVisitor(peer{near, "192.0.2.1"}, turns)
		all.Go(func() {
			defer far.Close()
			go io.Copy(io.Discard, far)
			for range 100 {
				if _, err := far.Write([]byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			defer v.shook()
			b := make([]byte, 1)
			for {
				if _, err := v.Read(b); err != nil {
					return
				}
				n := computing.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				computing.Add(-1)
				v.Write(b)
			}
		})
	}
	all.Wait()
	if n := most.Load(); n < 1 || n > 2 {
		t.Fatalf("%d computed at once", n)
	}
	if len(turns) != 0 {
		t.Fatalf("%d turns are still taken", len(turns))
	}
}

func TestTooManyBytes(t *testing.T) {
	near, far := net.Pipe()
	v := newVisitor(peer{near, "192.0.2.1"}, make(chan struct{}, 1))
	go func() {
		for {
			if _, err := far.Write(make([]byte, 4<<10)); err != nil {
				return
			}
		}
	}()
	defer far.Close()
	n, err := io.Copy(io.Discard, v)
	v.shook()
	if n > shakeBytes || !errors.Is(err, errTooMuch) || refusedBecause(err) != errTooMuch.Error() {
		t.Fatalf("%d bytes were read, %v", n, err)
	}
}

// Who connects again and again without signing in has to wait; those who sign in
// can come as often as they like, and are not kept out by the others.
func TestStrangersAreSlowed(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.StrangerBurst, c.Limits.StrangerRate = 1, 1e-9 })
	for device := range uint32(spareRate + 5) {
		b.signIn(device + 1)
	}
	for limit := time.Now().Add(patience); b.left() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("those who signed in left %d of the budget", b.left())
		}
	}
	for b.l.Stats().Slowed == 0 {
		raw, err := b.dial()
		if err != nil {
			continue // it was reset so soon
		}
		raw.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		raw.SetReadDeadline(time.Now().Add(patience))
		io.Copy(io.Discard, raw)
		raw.Close()
	}
	if s := b.l.Stats(); s.Owing != 1 {
		t.Errorf("%+v", s)
	}
	for limit := time.Now().Add(patience); ; { // there is something to spare again soon
		a, err := b.connect(b.pki.client(7000))
		if err == nil {
			hello, _ := wire.Append(nil, &wire.SignIn{Version: wire.Version})
			a.conn.Write(hello)
			if _, ok := a.next().(*wire.Welcome); ok {
				break
			}
		}
		if time.Now().After(limit) {
			t.Fatal("a neighbour of a stranger is kept out")
		}
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, r := range statusOf(b.box.all()) {
		if r.Type == box.Message && r.Number == uint32(msgSlowed) && r.Severity == warning && strings.HasPrefix(r.Text, "127.0.0.1 ") {
			said++
		}
	}
	if said != 1 {
		t.Fatalf("it is said %d times", said)
	}
}

// A device that signs in again and again is told to come later.
func TestSignInsOfOneDevice(t *testing.T) {
	b := newBench(t, nil)
	for range deviceSignIns {
		b.signIn(7)
	}
	for limit := time.Now().Add(patience); ; {
		a := b.mustConnect(7)
		hello, _ := wire.Append(nil, &wire.SignIn{Version: wire.Version})
		a.conn.Write(hello) // it may have been refused already
		m := a.next()
		if c, ok := m.(*wire.Close); ok && c.Code == wire.Overloaded && c.RetryAfter >= 2*time.Second {
			break
		}
		if _, ok := m.(*wire.Welcome); !ok || time.Now().After(limit) {
			t.Fatalf("got %+v", m)
		}
	}
	if s := b.l.Stats(); s.TooOften != 1 {
		t.Errorf("%+v", s)
	}
	b.signIn(8).alone()
}

// Who asks for its policy too often gets it later.
func TestPolicyIsPaced(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		a := b.signIn(7)
		go func() {
			for range devicePolicies + 5 {
				a.send(&wire.PolicyRequest{})
			}
		}()
		synctest.Wait()
		for _, want := range []int{devicePolicies, 1, 1, 1, 1, 1, 0} {
			if n := len(a.received); n != want {
				t.Fatalf("%d answers, want %d", n, want)
			}
			for range want {
				expect[*wire.Policy](a)
			}
			pass(time.Second)
		}
		a.alone()
	})
}

// A stranger that hesitates on the HTTPS port keeps nobody from joining.
func TestIdleStrangerMakesRoom(t *testing.T) {
	hasty := patient
	hasty.slow = time.Millisecond
	b, url := webBenchOf(t, hasty, func(c *Config) { c.Limits.HTTPS = 1 })
	idle, err := net.Dial("tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if status := statusAt(t, b.web(false), url+wire.JoinPath); status != http.StatusNotFound {
		t.Fatalf("status %d", status)
	}
	idle.SetReadDeadline(time.Now().Add(patience))
	if _, err := idle.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("it is still connected: %v", err)
	}
	b.awaitStats(func(s Stats) bool { return s.CutSlow == 1 })
}

// A listener that runs apart is no stranger on the HTTPS port.
func TestOutpostIsNoStranger(t *testing.T) {
	id := wire.ListenerIdentity{Site: "P01", Name: "EAST01"}
	b, url := webBench(t, func(c *Config) {
		c.Limits.HTTPS = 1
		c.Outpost = func(chain []*x509.Certificate) (string, bool) {
			l, err := wire.ListenerOf(chain[0])
			return l.Name, err == nil && l == id
		}
	})
	certificate := b.pki.certificate(1, func(c *x509.Certificate) { c.URIs = []*neturl.URL{id.URI()} })
	for range 3 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: b.pki.pool, ServerName: "listener.test",
			Certificates: []tls.Certificate{certificate}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if status := statusAt(t, b.web(false, certificate), url+carrier.PollPath); status != http.StatusUnauthorized {
		t.Fatalf("a listener got %d where devices poll", status)
	}
	if status := statusAt(t, b.web(false), url+wire.JoinPath); status != http.StatusNotFound {
		t.Fatalf("status %d", status)
	}
	if n := b.l.Stats().CutSlow; n != 0 {
		t.Errorf("%d were cut", n)
	}
}

func TestHTTPWithoutTLS(t *testing.T) {
	_, url := webBench(t, nil)
	resp, err := http.Get("http://" + strings.TrimPrefix(url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("status %d", resp.StatusCode)
	}
}

// A device that shakes hands on the HTTPS port again and again does so on the
// account of its address, and so does one that is blocked.
func TestDeviceThatConnectsAgainAndAgain(t *testing.T) {
	b, url := webBench(t, func(c *Config) { c.Limits.StrangerRate = 1e-9 }, BlockDevice{8})
	connect := func(device uint32) {
		if status := statusAt(t, b.web(false, b.pki.certificate(device)), url+"/none"); status != http.StatusNotFound {
			t.Fatalf("status %d", status)
		}
	}
	full := b.l.cfg.Limits.StrangerBurst
	for range deviceConnections / 2 {
		connect(7)
	}
	if n := b.left(); n != full {
		t.Fatalf("a device left %v of %v", n, full)
	}
	for range 3 {
		connect(8)
	}
	if n := b.left(); n != full-3 {
		t.Fatalf("a blocked device left %v of %v", n, full)
	}
	for range deviceConnects {
		b.l.connects.allow("9", time.Now().Add(time.Hour))
	}
	connect(9)
	if n := b.left(); n != full-4 {
		t.Fatalf("a device that comes too often left %v of %v", n, full)
	}
}

// A stranger may send only so much on one connection, a device any amount.
func TestBytesOfStrangers(t *testing.T) {
	b, url := webBench(t, nil)
	const requests = visitorBytes/4000 + 10
	answers := func(certificates ...tls.Certificate) (n int) {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: b.pki.pool, ServerName: "listener.test",
			Certificates: certificates})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		r := bufio.NewReader(conn)
		for ; n < requests; n++ {
			if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 4000)+"\r\n\r\n"); err != nil {
				return n
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return n
			}
			io.Copy(io.Discard, resp.Body)
		}
		return n
	}
	if n := answers(); n == requests {
		t.Error("a stranger may send any amount")
	}
	if n := answers(b.pki.certificate(7)); n != requests {
		t.Errorf("a device got %d answers of %d", n, requests)
	}
}

// What a stranger may send on one connection holds the longest join request; the
// logs of a device and the files of a listener that runs apart are beyond it.
func TestBytesOfRequests(t *testing.T) {
	const body = 2 * visitorBytes
	all := func(r io.Reader) error {
		n, err := io.Copy(io.Discard, r)
		if err == nil && n != body {
			err = fmt.Errorf("%d bytes came, want %d", n, body)
		}
		return err
	}
	id := wire.ListenerIdentity{Site: "P01", Name: "EAST01"}
	b, url := webBench(t, func(c *Config) {
		c.Join = func(context.Context, wire.JoinRequest, string) (wire.JoinReply, error) {
			return wire.JoinReply{Device: 1}, nil
		}
		c.StoreLog = func(_ context.Context, _ uint32, _ task.ID, _ [32]byte, _ int64, r io.Reader) error { return all(r) }
		c.Outpost = func(chain []*x509.Certificate) (string, bool) {
			l, err := wire.ListenerOf(chain[0])
			return l.Name, err == nil && l == id
		}
		c.Routes = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if all(r.Body) != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		})
	})
	outpost := b.pki.certificate(1, func(c *x509.Certificate) { c.URIs = []*neturl.URL{id.URI()} })
	longest := `{"name":"` + strings.Repeat("x", wire.MaxJoin-len(`{"name":""}`)) + `"}`
	long, logs := strings.Repeat("x", body), wire.LogsPath+task.ID{1}.String()
	for _, c := range []struct {
		who, method, path, body string
		certificates            []tls.Certificate
		want                    int // 0: cut off, or refused
	}{
		{"a stranger that joins", "POST", wire.JoinPath, longest, nil, http.StatusOK},
		{"a device with logs", "PUT", logs, long, []tls.Certificate{b.pki.certificate(7)}, http.StatusNoContent},
		{"a listener with files", "POST", RoutesPath + "files", long, []tls.Certificate{outpost}, http.StatusOK},
		{"a stranger with logs", "PUT", logs, long, nil, 0},
		{"a stranger with files", "POST", RoutesPath + "files", long, nil, 0},
	} {
		if got := b.sends(c.method, url+c.path, c.body, c.certificates...); got != c.want && (c.want != 0 || got < 400) {
			t.Errorf("%s: status %d, want %d", c.who, got, c.want)
		}
	}
}

// sends makes a request on a connection of its own; 0 means that there was no answer.
func (b *bench) sends(method, url, body string, certificates ...tls.Certificate) (status int) {
	b.t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(wire.HeaderSHA256, strings.Repeat("0", 64))
	res, err := b.web(false, certificates...).Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}
