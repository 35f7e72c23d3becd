package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/inbox/box"
	lsn "github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// post is a real listener of a site, on real sockets, and what it reports.
type post struct {
	*site
	listener   *lsn.Listener
	tcp, https string // host:port
	feed       chan lsn.Update

	mu      sync.Mutex
	files   []box.Contents
	changed chan struct{}
}

func newPost(t testing.TB) *post {
	t.Helper()
	p := &post{site: newSite(t, 0), feed: make(chan lsn.Update), changed: make(chan struct{})}
	cert, pool := p.server(nil), x509.NewCertPool()
	pool.AddCert(p.ca)
	l, err := lsn.New(lsn.Config{Site: p.id.Site, Name: "LSN01", Epoch: 1, Version: "test",
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		ClientCAs:   func() *x509.CertPool { return pool },
		Drop:        p.drop, Feed: p, Log: slog.New(slog.DiscardHandler),
		Beacon: func(nonce [16]byte) ([]byte, error) { return p.beacon(nonce), nil },
		Policy: func(uint32, string) (lsn.Policy, error) { return lsn.Policy{}, nil },
		Join:   p.join})
	if err != nil {
		t.Fatal(err)
	}
	tcp, https := must(net.Listen("tcp", "127.0.0.1:0")), must(net.Listen("tcp", "127.0.0.1:0"))
	p.listener, p.tcp, p.https = l, tcp.Addr().String(), https.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, tcp, https) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	p.feed <- lsn.Whole{}
	return p
}

func (p *post) Next(ctx context.Context) (lsn.Update, error) {
	select {
	case u := <-p.feed:
		return u, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *post) join(_ context.Context, req wire.JoinRequest, _ string) (wire.JoinReply, error) {
	csr, err := x509.ParseCertificateRequest(req.CSR)
	if err != nil {
		return wire.JoinReply{}, err
	}
	return *p.admit(csr.PublicKey, p.tcp), nil
}

func (p *post) drop(c box.Contents, _, _ time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files = append(p.files, c)
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// await waits until ok holds of what the listener has reported.
func (p *post) await(what string, ok func(files []box.Contents) bool) {
	p.t.Helper()
	limit := time.After(patience)
	for {
		p.mu.Lock()
		done, changed := ok(p.files), p.changed
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit:
			p.t.Fatalf("no file says: %s", what)
		}
	}
}

// presence is every report of the device, in order.
func presence(files []box.Contents) (all []box.PresenceEntry) {
	for _, c := range files {
		if p, ok := c.(*box.Presence); ok && !p.Full {
			all = append(all, p.Entries...)
		}
	}
	return all
}

// awaitCarrier waits until the device is online by a carrier.
func (p *post) awaitCarrier(carrier uint8) {
	p.t.Helper()
	p.await("online by the carrier", func(files []box.Contents) bool {
		all := presence(files)
		return len(all) > 0 && all[len(all)-1].Online && all[len(all)-1].Carrier == carrier
	})
}

// awaitFact waits for what the agent says of its connection.
func (p *post) awaitFact(name, value string) {
	p.t.Helper()
	p.await(name+" is "+value, func(files []box.Contents) bool {
		last := ""
		for _, c := range files {
			d, _ := c.(*box.Discovery)
			if d == nil {
				continue
			}
			for _, r := range d.Records {
				for _, f := range r.Facts {
					if f.Name == name {
						last = f.Value
					}
				}
			}
		}
		return last == value
	})
}

// push sends a task of test.count and waits until it has succeeded.
func (p *post) push() {
	p.t.Helper()
	m := p.order("test.count", nil)
	targets := must(task.NewTargets(slices.Values([]uint32{1, p.id.Device, 4000})))
	p.feed <- lsn.OpenOperation{Signed: m.Signed, Targets: targets, Priority: 2}
	id := operationOf(m)
	p.await("the task has succeeded", func(files []box.Contents) bool {
		for _, c := range files {
			if r, ok := c.(*box.Results); ok {
				for _, row := range r.Rows {
					if row.Operation == id && row.State == task.Succeeded {
						return true
					}
				}
			}
		}
		return false
	})
}

// device makes a folder that has joined and knows the HTTPS ports.
func (p *post) device(https ...string) string {
	dir := p.t.TempDir()
	key := must(keyIn(dir))
	reply := p.admit(&key.PublicKey, p.tcp)
	reply.HTTPS = https
	if err := storeIdentity(dir, reply); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

// wires are an agent's way to the network. TCP is what becomes of packets to the
// listener's own port.
type wires struct {
	tcp     string      // the port
	dropped atomic.Bool // as by a firewall
	closed  atomic.Bool // nobody listens
	tried   atomic.Int32
}

func (w *wires) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == w.tcp {
		w.tried.Add(1)
		if w.closed.Load() {
			return nil, errNobody
		}
		if w.dropped.Load() {
			<-ctx.Done() // as if every packet were dropped
			return nil, ctx.Err()
		}
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// setup is an agent's configuration on these wires; ran counts its tasks.
func (p *post) setup(w *wires, ran *atomic.Int32) Config {
	w.tcp = p.tcp
	return Config{Version: "test", Dial: w.dial, Scanner: "builtin",
		Actions: []action.Description{{Kind: "test.count", Action: action.Func(func(context.Context, action.Request) action.Outcome {
			ran.Add(1)
			return action.Outcome{State: task.Succeeded}
		})}}}
}

// A proxy lets CONNECT through and nothing else, for one user.
type proxy struct {
	*http.Server
	url       *url.URL
	connected atomic.Int32
	refused   atomic.Int32
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	p := &proxy{url: must(url.Parse("http://ann:secret@" + ln.Addr().String()))}
	var open sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	p.Server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Done()
		p.serve(ctx, w, r)
	})}
	go p.Server.Serve(ln)
	t.Cleanup(func() {
		cancel()
		p.Server.Close()
		open.Wait()
	})
	return p
}

func (p *proxy) use(*http.Request) (*url.URL, error) { return p.url, nil }

func (p *proxy) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:secret"))
	if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != want {
		p.refused.Add(1)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	far, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	p.connected.Add(1)
	io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
	splice(ctx, near, rw, far)
}

// splice carries bytes both ways until one side or ctx ends.
func splice(ctx context.Context, near net.Conn, from io.Reader, far net.Conn) {
	hangUp := func() { near.Close(); far.Close() }
	defer context.AfterFunc(ctx, hangUp)()
	var both sync.WaitGroup
	both.Go(func() { io.Copy(far, from); hangUp() })
	both.Go(func() { io.Copy(near, far); hangUp() })
	both.Wait()
}

// onlyHTTP2 is a front that lets through who speaks HTTP/2: it reads no more than
// the names in the first record of TLS, as devices that sort connections do.
func onlyHTTP2(t testing.TB, to string) (address string) {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	ctx, cancel := context.WithCancel(context.Background())
	var open sync.WaitGroup
	open.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer near.Close()
				defer context.AfterFunc(ctx, func() { near.Close() })()
				var first bytes.Buffer
				names := namesOf(io.TeeReader(near, &first), near)
				if !slices.Contains(names, "h2") {
					return
				}
				far, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer far.Close()
				splice(ctx, near, io.MultiReader(&first, near), far)
			})
		}
	})
	t.Cleanup(func() { cancel(); ln.Close(); open.Wait() })
	return ln.Addr().String()
}

var errSeen = errors.New("names have been seen")

// namesOf reads a ClientHello and returns the protocols that it names.
func namesOf(r io.Reader, c net.Conn) (names []string) {
	tls.Server(readOnly{c, r}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		names = h.SupportedProtos
		return nil, errSeen
	}}).Handshake()
	return names
}

type readOnly struct {
	net.Conn
	r io.Reader
}

func (c readOnly) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c readOnly) Write(p []byte) (int, error) { return len(p), nil }

// noUpgrade is a front of the site's own, with its certificate, that passes
// requests on and knows nothing of WebSockets.
func (p *post) noUpgrade(status int) (address string) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	next := p.listener.Handler()
	pool := x509.NewCertPool()
	pool.AddCert(p.ca)
	srv := &http.Server{ErrorLog: quiet,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.server(nil)},
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") != "" {
				w.WriteHeader(status)
				return
			}
			next.ServeHTTP(w, r)
		})}
	go srv.ServeTLS(ln, "", "")
	p.t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}
