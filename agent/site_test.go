package agent

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// site is a site with one listener, as an agent sees it: keys, a clock of its
// own, and connections that a test serves by hand.
type site struct {
	t      testing.TB
	skew   time.Duration // of the site's clock against ours
	caKey  *ecdsa.PrivateKey
	ca     *x509.Certificate
	tasks  ed25519.PrivateKey
	policy ed25519.PrivateKey
	result *ecdh.PrivateKey
	id     wire.Identity
	born   map[string]*x509.Certificate // by the key of a renewed certificate, the one of the join

	conns chan net.Conn // the listener's ends
	wait  time.Duration // for an agent to come
	port  *tls.Config   // that all connections share, so that sessions can be resumed; nil: each has its own
}

func newSite(t testing.TB, skew time.Duration) *site {
	s := &site{t: t, skew: skew, conns: make(chan net.Conn, 16), wait: time.Hour,
		id: wire.Identity{Site: "P01", Device: 300, ID: task.NewRandomID()}}
	s.caKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	s.ca = s.certify(&x509.Certificate{Subject: pkix.Name{CommonName: "P01 CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, &s.caKey.PublicKey, nil)
	_, s.tasks, _ = ed25519.GenerateKey(rand.Reader)
	_, s.policy, _ = ed25519.GenerateKey(rand.Reader)
	s.result = must(ecdh.P256().GenerateKey(rand.Reader))
	return s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (s *site) now() time.Time { return time.Now().Add(s.skew).UTC() }

// certify signs template with parent's name, valid from a minute ago by the
// site's clock.
func (s *site) certify(c *x509.Certificate, public any, parent *x509.Certificate) *x509.Certificate {
	c.SerialNumber = big.NewInt(int64(time.Now().Nanosecond()) + 1)
	if c.NotBefore.IsZero() {
		c.NotBefore = s.now().Add(-time.Minute)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = s.now().Add(7 * 24 * time.Hour)
	}
	if parent == nil {
		parent = c
	}
	der := must(x509.CreateCertificate(rand.Reader, c, parent, public, s.caKey))
	return must(x509.ParseCertificate(der))
}

// server returns a certificate for a listener, with the CA behind it.
func (s *site) server(change func(*x509.Certificate)) tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "LSN01"}, DNSNames: []string{"listener.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(c)
	}
	leaf := s.certify(c, &key.PublicKey, s.ca)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, s.ca.Raw}, PrivateKey: key}
}

// admit answers a join.
func (s *site) admit(public any, listeners ...string) *wire.JoinReply {
	if len(listeners) == 0 {
		listeners = []string{"listener.test:10123"}
	}
	cert := s.certify(&x509.Certificate{URIs: []*url.URL{s.id.URI()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, public, s.ca)
	return &wire.JoinReply{Site: s.id.Site, Device: s.id.Device, ID: s.id.ID.String(), Certificate: cert.Raw,
		Expires: cert.NotAfter, CA: s.ca.Raw, TaskKeys: [][]byte{s.tasks.Public().(ed25519.PublicKey)},
		PolicyKeys: [][]byte{s.policy.Public().(ed25519.PublicKey)},
		ResultKey:  s.result.PublicKey().Bytes(), Listeners: listeners}
}

func (s *site) token() wire.Token {
	return wire.Token{ID: "0123456789abcdef", Secret: "00112233445566778899aabbccddeeff",
		CA: sha256.Sum256(s.ca.RawSubjectPublicKeyInfo)}
}

// device makes a folder that has joined.
func (s *site) device(listeners ...string) string {
	dir := s.t.TempDir()
	key := must(keyIn(dir))
	if err := storeIdentity(dir, s.admit(&key.PublicKey, listeners...)); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// dial is the [Config.Dial] of agents of this site.
func (s *site) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := buffered()
	select {
	case s.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// eager is an end of a pipe that has a buffer for what it writes, as sockets have:
// a listener writes a ticket while the agent writes its sign-in.
type eager struct {
	net.Conn
	mu      sync.Mutex
	queue   []byte
	writing bool // pump runs
	closed  bool
}

// buffered is a pipe; theirs has the buffer.
func buffered() (ours, theirs net.Conn) {
	ours, far := net.Pipe()
	return ours, &eager{Conn: far}
}

func (e *eager) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0, io.ErrClosedPipe
	}
	e.queue = append(e.queue, p...)
	if !e.writing {
		e.writing = true
		go e.pump()
	}
	return len(p), nil
}

func (e *eager) pump() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 {
		next := e.queue
		e.queue = nil
		e.mu.Unlock()
		_, err := e.Conn.Write(next)
		e.mu.Lock()
		if err != nil {
			e.closed = true
			break
		}
	}
	if e.writing = false; e.closed {
		e.Conn.Close()
	}
}

// Close is at once if the other side has read everything, and soon else.
func (e *eager) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed = true; e.writing {
		return e.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	}
	return e.Conn.Close()
}

func (s *site) beacon(nonce [16]byte) []byte {
	b := task.Beacon{Site: s.id.Site, Time: s.now(), Nonce: nonce}
	return b.Sign(s.tasks)
}

// order makes a task of kind for the site's device and its neighbours.
func (s *site) order(kind string, change func(*task.Task)) *wire.Task {
	targets := must(task.NewTargets(slices.Values([]uint32{1, s.id.Device, 4000})))
	t := &task.Task{Site: s.id.Site, Operation: task.NewID(s.now()), Kind: kind, Root: targets.Root(),
		Leaves: targets.Leaves(), NotBefore: s.now(), DeliverBy: s.now().Add(time.Hour),
		RunTimeout: time.Minute, Requested: s.now()}
	if change != nil {
		change(t)
	}
	proof, _ := targets.Prove(s.id.Device)
	return &wire.Task{Signed: must(t.Sign(s.tasks)), Proof: proof.Append(nil)}
}

func operationOf(m *wire.Task) task.ID { return must(m.Signed.Task()).Operation }

// resultKey is the site's side of the derivation.
func (s *site) resultKey(cert *x509.Certificate) []byte {
	public := must(cert.PublicKey.(*ecdsa.PublicKey).ECDH())
	return must(task.ResultKey(s.result, public, s.id.Site, s.id.ID))
}

// peer is the listener's end of one session.
type peer struct {
	s      *site
	conn   *tls.Conn
	in     *bufio.Reader
	SignIn *wire.SignIn
	key    []byte
	shown  *x509.Certificate // the agent's
	renews chan *wire.Renew  // requests for a certificate

	results chan *wire.Result
	alive   chan *wire.KeepAlive // keep-alives without a nonce
	facts   chan *wire.Inventory
	bye     chan struct{}
	done    chan struct{} // closed when the connection has ended
	out     chan wire.Message

	mu      sync.Mutex
	mute    bool                               // answers no keep-alive with a nonce
	acks    bool                               // acknowledges results by itself
	policyF func(*wire.PolicyRequest) [][]byte // chunks, nil: unchanged
	etag    string
	proofs  [][]byte          // of the policy's tasks, sent before it
	people  map[string][]byte // signed policies of people
	away    bool              // the site is: no beacons
}

// accept waits for an agent, proves to be the listener, and reads the sign-in.
func (s *site) accept() *peer {
	s.t.Helper()
	select {
	case c := <-s.conns:
		return s.serve(c, s.server(nil))
	case <-time.After(s.wait):
		s.t.Fatal("no agent came")
		return nil
	}
}

func (s *site) serve(c net.Conn, cert tls.Certificate) *peer {
	s.t.Helper()
	p, err := s.handshake(c, cert)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *site) handshake(c net.Conn, cert tls.Certificate) (*peer, error) {
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	port := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		NextProtos: []string{wire.ALPN}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, Time: s.now}
	if s.port != nil {
		port = s.port
	}
	conn := tls.Server(c, port)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	p := &peer{s: s, conn: conn, in: bufio.NewReader(conn), acks: true,
		out: make(chan wire.Message, 1024), results: make(chan *wire.Result, 8192), alive: make(chan *wire.KeepAlive, 8192),
		facts: make(chan *wire.Inventory, 16), renews: make(chan *wire.Renew, 64), bye: make(chan struct{}), done: make(chan struct{})}
	leaf := conn.ConnectionState().PeerCertificates[0]
	if id, err := wire.IdentityOf(leaf); err != nil || id != s.id {
		return nil, fmt.Errorf("agent is %v: %v", id, err)
	}
	p.shown, p.key = leaf, s.resultKey(leaf)
	if born := s.born[string(leaf.RawSubjectPublicKeyInfo)]; born != nil {
		p.key = s.resultKey(born)
	}
	m, _, err := wire.ReadFrom(p.in, nil)
	if err != nil {
		return nil, err
	}
	var ok bool
	if p.SignIn, ok = m.(*wire.SignIn); !ok {
		return nil, errors.New("first message is no sign-in")
	}
	return p, nil
}

// welcome lets the agent in, with a beacon made for it, and serves it.
func (p *peer) welcome() *peer {
	return p.welcomeWith(&wire.Welcome{Version: wire.Version, Listener: "LSN01",
		KeepAlive: 15 * time.Minute, Beacon: p.s.beacon(p.SignIn.Nonce)})
}

func (p *peer) welcomeWith(w *wire.Welcome) *peer {
	go p.write()
	go p.read()
	p.send(w)
	return p
}

func (p *peer) send(m wire.Message) {
	select {
	case p.out <- m:
	case <-p.done:
	}
}

func (p *peer) write() {
	for {
		select {
		case <-p.done:
			return
		case m := <-p.out:
			p.conn.Write(must(wire.Append(nil, m))) // an agent that is gone is found by its absence
		}
	}
}

func (p *peer) read() {
	defer close(p.done)
	for {
		m, _, err := wire.ReadFrom(p.in, nil)
		if err != nil {
			p.conn.NetConn().Close()
			return
		}
		p.take(m)
	}
}

func (p *peer) take(m wire.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m := m.(type) {
	case *wire.Result:
		r := task.Result{Operation: m.Operation, Device: p.s.id.Device, Attempt: m.Attempt,
			State: m.State, Code: m.Code, At: m.At, Detail: m.Detail}
		if !r.Genuine(p.key, m.MAC) {
			p.s.t.Errorf("result of %s in state %s is not genuine", m.Operation, m.State)
		}
		p.results <- m
		if p.acks {
			p.send(ackOf(m))
		}
	case *wire.KeepAlive:
		if m.Nonce == [16]byte{} {
			p.alive <- m
		}
		switch {
		case p.away:
			p.send(&wire.KeepAliveAck{})
		case !p.mute:
			p.send(&wire.KeepAliveAck{Beacon: p.s.beacon(m.Nonce)})
		}
	case *wire.PolicyRequest:
		if m.User != "" {
			p.person(m)
			return
		}
		var chunks [][]byte
		if p.policyF != nil {
			chunks = p.policyF(m)
		}
		if len(chunks) == 1 && chunks[0] == nil { // noAnswer
			return
		}
		if len(chunks) > 0 && p.proofs != nil {
			p.send(&wire.PolicyProofs{ETag: p.etag, Proofs: p.proofs})
		}
		for i, c := range chunks {
			p.send(&wire.Policy{ETag: p.etag, Part: uint32(i + 1), Of: uint32(len(chunks)), Chunk: c})
		}
		if len(chunks) == 0 {
			p.send(&wire.Policy{ETag: m.ETag})
		}
	case *wire.Inventory:
		p.facts <- m
		p.send(&wire.InventoryAck{ID: m.ID})
	case *wire.Bye:
		close(p.bye)
	case *wire.Renew:
		select {
		case p.renews <- m:
		default: // nobody looks
		}
	}
}

// person answers with the policy of a person.
func (p *peer) person(m *wire.PolicyRequest) {
	signed := p.people[m.User]
	if signed == nil {
		p.send(&wire.Policy{})
		return
	}
	doc := must(task.VerifyPolicy(signed, p.s.id.Site, p.s.policy.Public().(ed25519.PublicKey)))
	if doc.ETag() == m.ETag {
		p.send(&wire.Policy{ETag: m.ETag})
		return
	}
	p.send(&wire.Policy{ETag: doc.ETag(), Part: 1, Of: 1, Chunk: signed})
}

func ackOf(m *wire.Result) *wire.ResultAck {
	return &wire.ResultAck{Operation: m.Operation, Attempt: m.Attempt, State: m.State}
}

// result waits for the next result.
func (p *peer) result() *wire.Result {
	p.s.t.Helper()
	select {
	case r := <-p.results:
		return r
	case <-time.After(patience):
		p.s.t.Fatal("no result came")
		return nil
	}
}

// expect waits for results of one operation in these states, and nothing else.
func (p *peer) expect(id task.ID, states ...task.State) *wire.Result {
	p.s.t.Helper()
	var r *wire.Result
	for _, want := range states {
		if r = p.result(); r.Operation != id || r.State != want {
			p.s.t.Fatalf("result of %s is %s %q, want %s of %s", r.Operation, r.State, r.Detail, want, id)
		}
	}
	return r
}

// drop cuts the connection.
func (p *peer) drop() { p.conn.NetConn().Close() }

// running is an agent under test.
type running struct {
	*Agent
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

func (s *site) config() Config {
	return Config{Version: "test", Dial: s.dial, Scanner: "builtin", Users: alone}
}

// alone is a machine under test: nobody is signed in.
func alone() ([]string, error) { return nil, nil }

// start opens the agent in dir and runs it until the test ends or halt.
func (s *site) start(dir string, cfg Config) *running {
	s.t.Helper()
	a, err := Open(dir, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.run(a)
}

func (s *site) run(a *Agent) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{a, s.t, cancel, make(chan error, 1)}
	go func() { r.done <- a.Run(ctx) }()
	s.t.Cleanup(r.halt)
	return r
}

// halt stops the agent in good order; it may be called twice.
func (r *running) halt() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	if err := <-r.done; err != nil {
		r.t.Errorf("run: %v", err)
	}
	if err := r.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		r.t.Errorf("close: %v", err)
	}
}

// taskMessage and ackBeacon save tests an import.
type (
	taskMessage = wire.Task
	ackBeacon   = wire.KeepAliveAck
)

func welcomeOf(beacon []byte) *wire.Welcome {
	return &wire.Welcome{Version: wire.Version, Listener: "LSN01", KeepAlive: 15 * time.Minute, Beacon: beacon}
}

// orderFor makes a task for another device than the site's.
func (s *site) orderFor(kind string, device uint32) *wire.Task {
	targets := must(task.NewTargets(slices.Values([]uint32{device})))
	m := s.order(kind, func(t *task.Task) { t.Root, t.Leaves = targets.Root(), targets.Leaves() })
	proof, _ := targets.Prove(device)
	m.Proof = proof.Append(nil)
	return m
}

// expectLater is expect for what comes within d of the site's time.
func (p *peer) expectLater(d time.Duration, id task.ID, states ...task.State) *wire.Result {
	p.s.t.Helper()
	select {
	case r := <-p.results:
		if r.Operation != id || r.State != states[0] {
			p.s.t.Fatalf("result of %s is %s %q, want %s of %s", r.Operation, r.State, r.Detail, states[0], id)
		}
		if len(states) == 1 {
			return r
		}
		return p.expect(id, states[1:]...)
	case <-time.After(d + time.Second):
		p.s.t.Fatalf("no result within %s", d)
		return nil
	}
}

// memoryRecord is a record that a test can make fail.
type memoryRecord struct {
	mu      sync.Mutex
	entries []Entry
	step    func(append bool) fault // asked before each change; nil: all is well
}

type fault uint8

const (
	noFault     fault = iota
	failsEmpty        // fails, and nothing is stored
	failsStored       // fails, but is stored
	failsHalf         // fails, and the first entry is stored
)

var errInjected = errors.New("injected fault")

func (r *memoryRecord) Load() ([]Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.entries), nil
}

func (r *memoryRecord) Append(_ bool, entries ...Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.fault(true) {
	case failsEmpty:
		return errInjected
	case failsStored:
		r.entries = append(r.entries, entries...)
		return errInjected
	case failsHalf:
		r.entries = append(r.entries, entries[0])
		return errInjected
	}
	r.entries = append(r.entries, entries...)
	return nil
}

func (r *memoryRecord) Rewrite(entries []Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.fault(false) {
	case failsEmpty, failsHalf:
		return errInjected
	case failsStored:
		r.entries = slices.Clone(entries)
		return errInjected
	}
	r.entries = slices.Clone(entries)
	return nil
}

func (r *memoryRecord) fault(append bool) fault {
	if r.step == nil {
		return noFault
	}
	return r.step(append)
}

func (r *memoryRecord) Close() error { return nil }

// noAnswer is what a policyF returns that cannot answer.
var noAnswer = [][]byte{nil}
