package tlsrecord

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for go:linkname
)

// What crypto/tls offers and prefers, which nobody can set otherwise.
var (
	//go:linkname withAES crypto/tls.defaultCipherSuitesTLS13
	withAES []uint16
	//go:linkname withoutAES crypto/tls.defaultCipherSuitesTLS13NoAES
	withoutAES []uint16
)

// onlySuite lets crypto/tls use one suite. No test of this package runs beside others.
func onlySuite(t testing.TB, id uint16) {
	t.Helper()
	a, b := withAES, withoutAES
	t.Cleanup(func() { withAES, withoutAES = a, b })
	withAES, withoutAES = []uint16{id}, []uint16{id}
}

// A site has a CA that vouches for the server and for a client.
type site struct {
	pool           *x509.CertPool
	server, client tls.Certificate
}

// theSite is made once: its keys take long.
var theSite = sync.OnceValue(func() *site {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	now := time.Now()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"server.test"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	s := &site{pool: x509.NewCertPool()}
	issue := func(tmpl *x509.Certificate) []byte {
		der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &key.PublicKey, key)
		if err != nil {
			panic(err)
		}
		return der
	}
	root, err := x509.ParseCertificate(issue(ca))
	if err != nil {
		panic(err)
	}
	s.pool.AddCert(root)
	s.server = tls.Certificate{Certificate: [][]byte{issue(leaf)}, PrivateKey: key}
	s.client = s.server
	return s
})

func serverConfig() *tls.Config {
	s := theSite()
	return &tls.Config{Certificates: []tls.Certificate{s.server}, ClientCAs: s.pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

// clientConfig is of a client that has no ticket yet, and takes one.
func clientConfig() *tls.Config {
	s := theSite()
	return &tls.Config{RootCAs: s.pool, ServerName: "server.test", Certificates: []tls.Certificate{s.client},
		ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

// errWait is as that of a parked connection.
type errWait struct{}

func (errWait) Error() string   { return "nothing yet" }
func (errWait) Timeout() bool   { return true }
func (errWait) Temporary() bool { return true }

// A duct takes what is written and holds any amount of it.
type duct struct {
	mu    sync.Mutex
	more  sync.Cond
	bytes []byte
	held  bool // nothing is let out
	ended bool
}

func newDuct() *duct {
	d := new(duct)
	d.more.L = &d.mu
	return d
}

func (d *duct) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	d.more.Broadcast()
}

func (d *duct) hold(on bool) { d.change(func() { d.held = on }) }
func (d *duct) end()         { d.change(func() { d.ended = true }) }

// An end is one of two of a connection in memory.
type end struct {
	in, out *duct
	most    func() int // that one Read returns
	parked  bool       // Read does not wait

	mu     sync.Mutex
	broken error // of Write
}

func pipe() (a, b *end) {
	x, y := newDuct(), newDuct()
	return &end{in: x, out: y}, &end{in: y, out: x}
}

func (e *end) Read(p []byte) (int, error) {
	if e.most != nil {
		p = p[:min(len(p), max(e.most(), 1))]
	}
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	for e.in.held || len(e.in.bytes) == 0 {
		switch {
		case e.in.ended && !e.in.held:
			return 0, io.EOF
		case e.parked:
			return 0, errWait{}
		}
		e.in.more.Wait()
	}
	n := copy(p, e.in.bytes)
	e.in.bytes = e.in.bytes[n:]
	return n, nil
}

func (e *end) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken != nil {
		return 0, e.broken
	}
	e.out.change(func() { e.out.bytes = append(e.out.bytes, p...) })
	return len(p), nil
}

func (e *end) Close() error                     { e.out.end(); e.in.end(); return nil }
func (e *end) LocalAddr() net.Addr              { return nil }
func (e *end) RemoteAddr() net.Addr             { return nil }
func (e *end) SetDeadline(time.Time) error      { return nil }
func (e *end) SetReadDeadline(time.Time) error  { return nil }
func (e *end) SetWriteDeadline(time.Time) error { return nil }

// taken are bytes that wait in a duct, which has none afterwards.
func (d *duct) taken() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.bytes
	d.bytes = nil
	return b
}

// A meeting is a connection that has shaken hands, with ours taken over.
type meeting struct {
	ours       *Conn
	theirs     *tls.Conn
	near, far  *end // below them
	first      *tls.Conn
	handshake  *Handshake
	takeFailed error
}

// meet shakes hands. Early is what the client sends so soon that it comes together
// with its last words of the handshake.
func meet(t failer, server, client *tls.Config, most func() int, early ...[]byte) *meeting {
	t.Helper()
	m := new(meeting)
	m.near, m.far = pipe()
	m.near.most = most
	client = client.Clone()
	client.VerifyConnection = func(state tls.ConnectionState) error {
		m.far.out.hold(state.Version == tls.VersionTLS13) // before, the server has the last word
		return nil
	}
	m.theirs = tls.Client(m.far, client)
	shaken := make(chan error, 1)
	go func() {
		err := m.theirs.Handshake()
		for _, b := range early {
			if err == nil {
				_, err = m.theirs.Write(b)
			}
		}
		m.far.out.hold(false)
		if err != nil {
			m.far.Close()
		}
		shaken <- err
	}()
	m.handshake = NewHandshake(m.near)
	m.first = tls.Server(m.handshake, m.handshake.Config(server))
	if err := m.first.Handshake(); err != nil {
		m.near.Close()
		t.Fatalf("server: %v, client: %v", err, <-shaken)
	}
	if err := <-shaken; err != nil {
		t.Fatalf("client: %v", err)
	}
	m.ours, m.takeFailed = m.handshake.TakeOver(m.first)
	m.near.parked = true
	return m
}

// mustMeet fails the test if the connection is not taken over.
func mustMeet(t failer, server, client *tls.Config, most func() int, early ...[]byte) *meeting {
	t.Helper()
	m := meet(t, server, client, most, early...)
	if m.takeFailed != nil {
		t.Fatalf("%v", m.takeFailed)
	}
	return m
}

// A failer is a test, of testing or of rapid.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// expect reads exactly want from r, in pieces of at most size.
func expect(t failer, r io.Reader, want []byte, size int) {
	t.Helper()
	var got []byte
	p := make([]byte, max(size, 1))
	for len(got) < len(want) {
		n, err := r.Read(p[:min(len(p), len(want)-len(got))])
		got = append(got, p[:n]...)
		if err != nil {
			t.Fatalf("read %d bytes of %d: %v", len(got), len(want), err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d other bytes came than were sent", len(got))
	}
}

// forge returns what seals records as the client of m would.
func (m *meeting) forge(t failer) func(typ byte, data []byte) []byte {
	h := m.ours.in
	return func(typ byte, data []byte) []byte {
		a, err := h.aead(&suites[m.ours.suite])
		if err != nil {
			t.Fatalf("%v", err)
		}
		return slices.Clone(h.seal(a, new(scratch), typ, data))
	}
}

// receive lets bytes come to us as if the client had sent them.
func (m *meeting) receive(b []byte) {
	m.near.in.change(func() { m.near.in.bytes = append(m.near.in.bytes, b...) })
}
