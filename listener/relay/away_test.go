package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// pipes is a port without a network, for a bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, errors.New("connection refused")
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 10443} }

// A port is the site's, which can be away.
type port struct {
	site *site
	tls  *tls.Config

	mu     sync.Mutex
	server *http.Server
	at     *pipes
	ended  chan error
	silent []net.Conn // that nobody answers
	refuse bool
}

func (p *port) open() {
	p.at = newPipes()
	p.server = &http.Server{Handler: p.site.server, TLSConfig: p.tls, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	p.ended = make(chan error, 1)
	server, at, ended := p.server, p.at, p.ended
	go func() { ended <- server.ServeTLS(at, "", "") }()
}

func (p *port) close(refuse bool) {
	p.mu.Lock()
	server, ended := p.server, p.ended
	p.server, p.refuse = nil, refuse
	for _, c := range p.silent {
		c.Close()
	}
	p.silent = nil
	p.mu.Unlock()
	if server != nil {
		server.Close()
		<-ended
	}
}

func (p *port) back() {
	p.close(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open()
}

func (p *port) dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.server != nil:
		return p.at.dial()
	case p.refuse:
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe() // packets are lost on the way
	p.silent = append(p.silent, far)
	return near, nil
}

// A wholeFeed has no operations.
type wholeFeed struct{ told bool }

func (f *wholeFeed) Next(ctx context.Context) (listener.Update, error) {
	if !f.told {
		f.told = true
		return listener.Whole{}, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// An apart is a listener with its box and its client, as it runs apart from a site.
type apart struct {
	t         *testing.T
	site      *site
	port      *port
	dir       string
	client    *Client
	forwarder *Forwarder
	tcp       *pipes
	stop      func()
}

func newApart(t *testing.T) *apart {
	s := makeSite(t)
	a := &apart{t: t, site: s, port: &port{site: s, tls: s.tls()}, dir: filepath.Join(t.TempDir(), "listener"), tcp: newPipes()}
	a.port.open()
	a.client = s.listener("EAST01")
	a.client.http.Load().Transport.(*http.Transport).DialContext = a.port.dial
	var err error
	a.forwarder, err = OpenForwarder(ForwarderConfig{Dir: a.dir, Site: "P01", Listener: "EAST01", Epoch: 1, Key: boxKey("EAST01"),
		Send: a.client.Send, Log: slog.New(slog.DiscardHandler)}, true)
	if err != nil {
		t.Fatal(err)
	}
	serving := s.tls().Certificates[0]
	l, err := listener.New(listener.Config{Site: "P01", Name: "EAST01", Epoch: 1,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &serving, nil },
		ClientCAs:   func() *x509.CertPool { return s.pool },
		Drop:        a.forwarder.Drop, Feed: &wholeFeed{}, Beacon: a.client.Beacon, Policy: a.client.Policy,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- l.Serve(ctx, a.tcp, nil) }()
	forwarding, end := context.WithCancel(t.Context())
	go func() { ended <- a.forwarder.Run(forwarding) }()
	a.stop = func() {
		cancel()
		err := <-ended
		end()
		if err := errors.Join(err, <-ended, a.forwarder.Close()); err != nil {
			t.Error(err)
		}
		a.client.http.Load().CloseIdleConnections()
		a.port.close(true)
		synctest.Wait() // a request may still be served, and write into the inbox
	}
	return a
}

// An agent is a device's session.
type agent struct {
	t    *testing.T
	conn *tls.Conn
	r    *bufio.Reader
}

func (a *apart) signIn(device uint32) *agent {
	a.t.Helper()
	id := wire.Identity{Site: "P01", Device: device, ID: task.NewRandomID()}
	key, cert := certificate(a.t, a.site.ca, a.site.key, &x509.Certificate{URIs: []*url.URL{id.URI()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: time.Now().Add(1000 * time.Hour)})
	raw, err := a.tcp.dial()
	if err != nil {
		a.t.Fatal(err)
	}
	g := &agent{t: a.t, conn: tls.Client(raw, &tls.Config{RootCAs: a.site.pool, ServerName: "localhost", NextProtos: []string{wire.ALPN},
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}})}
	g.r = bufio.NewReader(g.conn)
	g.send(&wire.SignIn{Version: wire.Version, Agent: "fake"})
	if m, ok := g.next().(*wire.Welcome); !ok {
		a.t.Fatalf("got %T", m)
	}
	return g
}

func (g *agent) send(m wire.Message) {
	g.t.Helper()
	b, err := wire.Append(nil, m)
	if err == nil {
		_, err = g.conn.Write(b)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *agent) next() wire.Message {
	g.t.Helper()
	m, _, err := wire.ReadFrom(g.r, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return m
}

func (g *agent) end() {
	g.send(&wire.Bye{})
	io.Copy(io.Discard, g.r)
	g.conn.Close()
}

// What agents were told is safe: results by their operation, inventories by device
// and time.
type told struct {
	results map[task.ID]uint32
	facts   map[time.Time]uint32
}

// report says something, and takes the acknowledgement, which comes at once.
func (g *agent) report(device uint32, to *told) {
	g.t.Helper()
	began := time.Now()
	op := task.NewRandomID()
	g.send(&wire.Result{Operation: op, Attempt: 1, State: task.Succeeded, At: began})
	if m, ok := g.next().(*wire.ResultAck); !ok || m.Operation != op {
		g.t.Fatalf("got %+v", m)
	}
	to.results[op] = device
	g.send(&wire.Inventory{ID: uint64(began.UnixNano()), At: began, Facts: []wire.Fact{{Name: "os", Value: "linux"}}})
	if m, ok := g.next().(*wire.InventoryAck); !ok {
		g.t.Fatalf("got %+v", m)
	}
	to.facts[began.UTC()] = device
	if d := time.Since(began); d > time.Second {
		g.t.Errorf("acknowledged after %s", d)
	}
}

// arrived takes what is in the site's inbox out of what agents were told is safe, and
// returns the files of each kind, which must have come without a gap.
func (s *site) arrived(to *told) map[box.Kind]int {
	s.t.Helper()
	left := told{map[task.ID]uint32{}, map[time.Time]uint32{}}
	count := map[box.Kind]int{}
	for _, entry := range s.inboxNames() {
		n, err := box.ParseName(entry)
		if err != nil {
			s.t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(s.inbox, entry))
		if err != nil {
			s.t.Fatal(err)
		}
		if count[n.Kind]++; n.Number != uint64(count[n.Kind]) {
			s.t.Errorf("%s comes after number %d", entry, count[n.Kind]-1)
		}
		switch c := decode(s.t, &box.Raw{Name: n, Data: b}).Contents.(type) {
		case *box.Results:
			for _, row := range c.Rows {
				left.results[row.Operation] = row.Device
			}
		case *box.Discovery:
			for _, r := range c.Records {
				left.facts[r.At] = r.Device
			}
		}
	}
	for op, device := range left.results {
		if to.results[op] == device {
			delete(to.results, op)
		}
	}
	for at, device := range left.facts {
		if to.facts[at] == device {
			delete(to.facts, at)
		}
	}
	return count
}

// The site is away for an hour, at first without an answer and then refusing:
// agents come and go and are acknowledged what they say; and all of it is at the
// site shortly after its return, in few files.
func TestSiteIsAwayForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApart(t)
		all := &told{map[task.ID]uint32{}, map[time.Time]uint32{}}
		agents := make([]*agent, 10)
		for i := range agents {
			agents[i] = a.signIn(uint32(i + 1))
			agents[i].report(uint32(i+1), all)
		}
		time.Sleep(time.Minute)
		if files, _ := a.forwarder.Waiting(); files != 0 {
			t.Fatalf("%d files wait while the site is there", files)
		}
		a.port.close(false)
		const every = 5 * time.Second
		for i := range int(time.Hour / every) {
			if i == int(time.Hour/every)/2 {
				a.port.close(true)
			}
			n := i % len(agents)
			if i%50 == 49 { // switched off and on
				agents[n].end()
				agents[n] = a.signIn(uint32(n + 1))
			}
			agents[n].report(uint32(n+1), all)
			time.Sleep(every)
		}
		kept := len(all.results)
		a.port.back()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if files, bytes := a.forwarder.Waiting(); files != 0 || bytes != 0 {
			t.Errorf("%d files of %d bytes wait still", files, bytes)
		}
		count := a.site.arrived(all)
		if len(all.results) > 0 || len(all.facts) > 0 {
			t.Errorf("%d results and %d inventories are lost, of %d", len(all.results), len(all.facts), kept)
		}
		if count[box.BTS] > kept/2 || count[box.DDR] > kept/2 {
			t.Errorf("%v files for %d results", count, kept)
		}
		for _, g := range slices.Backward(agents) {
			g.end()
		}
		a.stop()
	})
}
