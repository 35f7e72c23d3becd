package listener

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// patience is how long a test waits for what must happen. Inside a bubble it is
// fake and never passes.
const patience = 30 * time.Second

// patient is for tests on a real network, where a busy machine must not change
// what happens.
var patient = times{handshake: patience, signIn: patience, whole: patience, write: patience, close: patience, slow: patience}

// A pki is a site's CA and keys, made for one test.
type pki struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	task ed25519.PrivateKey
	ops  time.Duration

	server tls.Certificate
	pool   *x509.CertPool
	device *ecdsa.PrivateKey // the key of all devices of the test: making one each would take long
	fixed  *tls.Certificate  // if set, what all devices show
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return pkiOf(t, ecKey(t), key)
}

// pkiOf is a site with these keys.
func pkiOf(t testing.TB, key *ecdsa.PrivateKey, taskKey ed25519.PrivateKey) *pki {
	t.Helper()
	p := &pki{t: t, pool: x509.NewCertPool(), key: key, task: taskKey, device: ecKey(t)}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "P01 CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	p.cert = p.issue(ca, ca, &p.key.PublicKey)
	p.pool.AddCert(p.cert)
	leaf := p.issue(&x509.Certificate{DNSNames: []string{"listener.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		p.cert, &p.key.PublicKey)
	p.server = tls.Certificate{Certificate: [][]byte{leaf.Raw, p.cert.Raw}, PrivateKey: p.key}
	return p
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (p *pki) issue(tmpl, parent *x509.Certificate, pub any) *x509.Certificate {
	p.t.Helper()
	if tmpl.SerialNumber == nil {
		tmpl.SerialNumber = big.NewInt(time.Now().UnixNano())
	}
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = time.Now().Add(1000 * time.Hour)
	}
	tmpl.NotBefore = tmpl.NotAfter.Add(-10_000 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// certificate is a device's, changed by edit.
func (p *pki) certificate(device uint32, edit ...func(*x509.Certificate)) tls.Certificate {
	if p.fixed != nil {
		return *p.fixed
	}
	id := wire.Identity{Site: "P01", Device: device, ID: task.NewRandomID()}
	tmpl := &x509.Certificate{URIs: []*url.URL{id.URI()}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, f := range edit {
		f(tmpl)
	}
	return tls.Certificate{Certificate: [][]byte{p.issue(tmpl, p.cert, &p.device.PublicKey).Raw}, PrivateKey: p.device}
}

func (p *pki) client(device uint32, edit ...func(*x509.Certificate)) *tls.Config {
	return &tls.Config{RootCAs: p.pool, ServerName: "listener.test", NextProtos: []string{wire.ALPN},
		Certificates: []tls.Certificate{p.certificate(device, edit...)}}
}

// operation signs a task that is valid for the given time from now, for devices.
func (p *pki) operation(valid time.Duration, devices ...uint32) OpenOperation {
	return p.operationAt(time.Now(), time.Now().Add(valid), devices...)
}

func (p *pki) operationAt(notBefore, deliverBy time.Time, devices ...uint32) OpenOperation {
	p.t.Helper()
	targets := targetsOf(p.t, devices...)
	p.ops++ // so that ids rise within a millisecond
	tk := task.Task{Site: "P01", Operation: task.NewID(time.Now().Add(p.ops * time.Millisecond)), Kind: "scan.quick", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: notBefore, DeliverBy: deliverBy, RunTimeout: time.Hour, Requested: time.Now()}
	signed, err := tk.Sign(p.task)
	if err != nil {
		p.t.Fatal(err)
	}
	return OpenOperation{Signed: signed, Targets: targets}
}

func targetsOf(t testing.TB, devices ...uint32) *task.Targets {
	t.Helper()
	targets, err := task.NewTargets(slices.Values(devices))
	if err != nil {
		t.Fatal(err)
	}
	return targets
}

func (u OpenOperation) id(t testing.TB) task.ID {
	t.Helper()
	tk, err := u.Signed.Task()
	if err != nil {
		t.Fatal(err)
	}
	return tk.Operation
}

// A script is a feed that a test writes: an Update, or an error.
type script chan any

func (s script) Next(ctx context.Context) (Update, error) {
	select {
	case next := <-s:
		if err, ok := next.(error); ok {
			return nil, err
		}
		return next.(Update), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A spoolFolder keeps what a listener drops, and fails on demand.
type spoolFolder struct {
	mu      sync.Mutex
	files   []box.Contents
	at      []time.Time // when each came
	broken  error
	tried   int
	changed chan struct{} // closed at the next change
}

func (f *spoolFolder) drop(c box.Contents, from, to time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried++
	close(f.changed)
	f.changed = make(chan struct{})
	if f.broken != nil {
		return f.broken
	}
	if to.Before(from) {
		return errors.New("file ends before it begins")
	}
	f.files, f.at = append(f.files, c), append(f.at, time.Now())
	return nil
}

func (f *spoolFolder) breaks(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

// await waits until ok holds of the files and of how often a drop was tried.
func (f *spoolFolder) await(t testing.TB, what string, ok func(files []box.Contents, tried int) bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		f.mu.Lock()
		done, changed := ok(f.files, f.tried), f.changed
		f.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no file says: %s", what)
		}
	}
}

func (f *spoolFolder) all() []box.Contents {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.files)
}

// presenceOf is every entry of a device in order, full reports left out.
func presenceOf(files []box.Contents, device uint32) (entries []box.PresenceEntry) {
	for _, c := range files {
		p, ok := c.(*box.Presence)
		if !ok || p.Full {
			continue
		}
		for _, e := range p.Entries {
			if e.Device == device {
				entries = append(entries, e)
			}
		}
	}
	return entries
}

func rowsOf(files []box.Contents, device uint32) (states []task.State) {
	for _, c := range files {
		if r, ok := c.(*box.Results); ok {
			for _, row := range r.Rows {
				if row.Device == device {
					states = append(states, row.State)
				}
			}
		}
	}
	return states
}

func statusOf(files []box.Contents) (records []box.StatusRecord) {
	for _, c := range files {
		if s, ok := c.(*box.Status); ok {
			records = append(records, s.Records...)
		}
	}
	return records
}

func (f *spoolFolder) awaitPresence(t testing.TB, device uint32, online bool, reason uint8) {
	t.Helper()
	f.await(t, "presence changed", func(files []box.Contents, _ int) bool {
		e := presenceOf(files, device)
		return len(e) > 0 && e[len(e)-1].Online == online && e[len(e)-1].Reason == reason
	})
}

// A bench is a listener under test and all that is around it.
type bench struct {
	t    testing.TB
	pki  *pki
	l    *Listener
	feed script
	box  *spoolFolder
	dial func() (net.Conn, error)
	stop func() error // once; later calls return the same
}

// awaitStats waits until ok holds of the figures, some of which follow what they count.
func (b *bench) awaitStats(ok func(Stats) bool) {
	b.t.Helper()
	for limit := time.Now().Add(patience); !ok(b.l.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			b.t.Fatalf("%+v", b.l.Stats())
		}
	}
}

// quick lets a bench on a real network gather for a shorter time than a listener does.
func quick(edit func(*Config)) func(*Config) {
	return func(c *Config) {
		c.Flush = 10 * time.Millisecond
		if edit != nil {
			edit(c)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newBench serves over TCP on loopback, and tells the listener that its feed is
// whole behind the given updates.
func newBench(t testing.TB, edit func(*Config), updates ...Update) *bench {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (net.Conn, error) { return net.Dial("tcp", tcp.Addr().String()) }
	b := newBenchOn(t, tcp, nil, dial, patient, quick(edit))
	b.tell(updates...)
	b.tell(Whole{})
	return b
}

func newBenchOn(t testing.TB, tcp, https net.Listener, dial func() (net.Conn, error), wait times, edit func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, pki: newPKI(t), feed: make(script), box: &spoolFolder{changed: make(chan struct{})}, dial: dial}
	cfg := Config{Site: "P01", Name: "BENCH", Epoch: 1, Version: "test", Certificate: always(b.pki.server), ClientCAs: b.pki.clientCAs,
		Drop: b.box.drop, Feed: b.feed, Log: quiet(), Park: benchPark,
		Beacon: func(nonce [16]byte) ([]byte, error) {
			return (&task.Beacon{Site: "P01", Time: time.Now(), Nonce: nonce}).Sign(b.pki.task), nil
		},
		Policy: func(uint32, string) (Policy, error) { return Policy{}, nil },
	}
	if edit != nil {
		edit(&cfg)
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.l = l
	l.times = wait
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, tcp, https) }()
	b.stop = sync.OnceValue(func() error { cancel(); return <-served })
	t.Cleanup(func() { b.stop() })
	return b
}

func (b *bench) tell(updates ...Update) {
	for _, u := range updates {
		b.feed <- u
	}
}

// An agent is one connection of a fake device. Its messages are read as they
// come; received is closed at the end of the connection, and end says why.
type agent struct {
	t        testing.TB
	conn     connection
	received chan wire.Message
	end      error
}

func (b *bench) connect(config *tls.Config) (*agent, error) {
	raw, err := b.dial()
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	return b.agent(conn, raw), nil
}

func (b *bench) agent(conn connection, raw io.Closer) *agent {
	a := &agent{t: b.t, conn: conn, received: make(chan wire.Message, 4096)}
	go a.read()
	b.t.Cleanup(func() { raw.Close() })
	return a
}

func (a *agent) read() {
	defer close(a.received)
	r := bufio.NewReader(a.conn)
	var buf []byte
	for {
		m, b, err := wire.ReadFrom(r, buf)
		if err != nil {
			a.end = err
			a.conn.Close() // as agents do; the listener waits a little for it
			return
		}
		buf = b
		a.received <- m
	}
}

func (b *bench) mustConnect(device uint32) *agent {
	b.t.Helper()
	a, err := b.connect(b.pki.client(device))
	if err != nil {
		b.t.Fatalf("connect: %v", err)
	}
	return a
}

// signIn connects a device and takes its welcome.
func (b *bench) signIn(device uint32) *agent {
	b.t.Helper()
	a := b.mustConnect(device)
	a.send(&wire.SignIn{Version: wire.Version, Agent: "fake"})
	expect[*wire.Welcome](a)
	return a
}

func (a *agent) send(m wire.Message) {
	a.t.Helper()
	f, err := wire.Append(nil, m)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.conn.Write(f); err != nil {
		a.t.Fatalf("send %s: %v", m.Type(), err)
	}
}

// next returns the next message, nil at the end of the connection.
func (a *agent) next() wire.Message {
	a.t.Helper()
	select {
	case m := <-a.received:
		return m
	case <-time.After(patience):
		a.t.Fatal("nothing came from the listener")
		return nil
	}
}

func expect[M wire.Message](a *agent) M {
	a.t.Helper()
	m := a.next()
	want, ok := m.(M)
	if !ok {
		a.t.Fatalf("got %T %+v (connection: %v), want %T", m, m, a.end, want)
	}
	return want
}

func (a *agent) expectClose(code wire.CloseCode) *wire.Close {
	a.t.Helper()
	c := expect[*wire.Close](a)
	if c.Code != code {
		a.t.Fatalf("close with %s (%s), want %s", c.Code, c.Reason, code)
	}
	if m := a.next(); m != nil {
		a.t.Fatalf("got %T after close", m)
	}
	return c
}

// expectTask takes a task, checks it as an agent does, and returns its id.
func (a *agent) expectTask(p *pki, device uint32) task.ID {
	a.t.Helper()
	m := expect[*wire.Task](a)
	tk, err := m.Signed.Verify("P01", p.task.Public().(ed25519.PublicKey))
	if err != nil {
		a.t.Fatal(err)
	}
	proof, err := task.ParseProof(m.Proof)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := proof.Verify(&tk, device); err != nil {
		a.t.Fatal(err)
	}
	return tk.Operation
}

// alone fails if anything came that nobody asked for: whatever was sent before
// the answer to a keep-alive has been received by then.
func (a *agent) alone() {
	a.t.Helper()
	a.send(&wire.KeepAlive{})
	expect[*wire.KeepAliveAck](a)
}

func report(id task.ID, s task.State) *wire.Result {
	return &wire.Result{Operation: id, Attempt: 1, State: s, At: time.Now().UTC().Truncate(time.Microsecond)}
}

func ack(id task.ID, s task.State) wire.ResultAck {
	return wire.ResultAck{Operation: id, Attempt: 1, State: s}
}

// pipes is a listening socket without a network, for a bubble.
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
		return nil, io.EOF
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

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 10123} }

func (p *pki) clientCAs() *x509.CertPool { return p.pool }

// always is a certificate that is never renewed.
func always(c tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c, nil }
}
