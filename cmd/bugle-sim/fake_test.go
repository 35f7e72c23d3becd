package main

import (
	"bufio"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const adminToken = "test-token"

// A fakeSite is as much of a site as a fleet needs: it certifies, signs in, hands
// out tasks, takes results, and answers about operations.
type fakeSite struct {
	t          *testing.T
	data       string // as a site on this machine has it
	join, api  string // addresses
	listener   string
	ca         *x509.Certificate
	caKey      *ecdsa.PrivateKey
	chain      tls.Certificate
	taskKey    ed25519.PrivateKey
	resultKey  *ecdh.PrivateKey
	token      wire.Token
	deaf       uint32 // the device that is not sent tasks
	busyJoins  int    // joins that are told to come later, from the first on
	silentJoin bool   // joins fail for good
	full       bool   // nobody may sign in

	mu         sync.Mutex
	devices    uint32
	revoked    int
	sessions   map[uint32]*fakeSession
	operations map[string]*fakeOperation
	event      uint64
}

type fakeSession struct {
	conn *tls.Conn
	mu   sync.Mutex
}

type fakeOperation struct {
	requested time.Time
	first     uint64
	targets   []uint32
	states    map[uint32]task.State
	events    map[uint32]uint64
}

func newFakeSite(t *testing.T) *fakeSite {
	t.Helper()
	f := &fakeSite{t: t, data: t.TempDir(), sessions: map[uint32]*fakeSession{}, operations: map[string]*fakeOperation{}}
	f.makeKeys()
	f.listener = f.serveTCP()
	f.join = f.serveHTTPS(f.joinHandler())
	f.api = f.serveHTTPS(f.apiHandler())
	f.writeFolder()
	return f
}

func (f *fakeSite) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakeSite) makeKeys() {
	var err error
	f.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.must(err)
	f.ca = f.certify(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		Subject: pkix.Name{CommonName: "test CA"}}, &f.caKey.PublicKey)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.must(err)
	leaf := f.certify(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, &key.PublicKey)
	f.chain = tls.Certificate{Certificate: [][]byte{leaf.Raw, f.ca.Raw}, PrivateKey: key}
	_, f.taskKey, err = ed25519.GenerateKey(rand.Reader)
	f.must(err)
	f.resultKey, err = ecdh.P256().GenerateKey(rand.Reader)
	f.must(err)
	f.token = wire.Token{ID: "0123456789abcdef", Secret: "0123456789abcdef0123456789abcdef", CA: sha256.Sum256(f.ca.RawSubjectPublicKeyInfo)}
}

// certify signs a certificate; the first one is the CA's own.
func (f *fakeSite) certify(template *x509.Certificate, public *ecdsa.PublicKey) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	f.must(err)
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := f.ca
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, f.caKey)
	f.must(err)
	c, err := x509.ParseCertificate(der)
	f.must(err)
	return c
}

func (f *fakeSite) writeFolder() {
	for _, dir := range []string{"run", "keys"} {
		f.must(os.MkdirAll(filepath.Join(f.data, dir), 0o700))
	}
	write := func(name, content string) { f.must(os.WriteFile(filepath.Join(f.data, name), []byte(content), 0o600)) }
	write("run/addresses.json", `{"tcp":"`+f.listener+`","http":"`+f.join+`","console":"`+f.api+`"}`)
	write("keys/admin.token", adminToken+"\n")
	write("keys/ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.ca.Raw})))
}

func (f *fakeSite) serveHTTPS(h http.Handler) string {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{f.chain}})
	f.must(err)
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	served := make(chan struct{})
	go func() { s.Serve(l); close(served) }()
	f.t.Cleanup(func() { s.Close(); <-served })
	return l.Addr().String()
}

func (f *fakeSite) serveTCP() string {
	roots := x509.NewCertPool()
	roots.AddCert(f.ca)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{f.chain}, MinVersion: tls.VersionTLS13,
		NextProtos: []string{wire.ALPN}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots})
	f.must(err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.session(c.(*tls.Conn)) })
		}
	})
	f.t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for _, s := range f.sessions {
			s.conn.Close()
		}
		f.mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// session is one agent's connection.
func (f *fakeSite) session(c *tls.Conn) {
	defer c.Close()
	if err := c.Handshake(); err != nil {
		f.t.Errorf("handshake: %v", err)
		return
	}
	id, err := wire.IdentityOf(c.ConnectionState().PeerCertificates[0])
	if err != nil {
		f.t.Error(err)
		return
	}
	s := &fakeSession{conn: c}
	in := bufio.NewReader(c)
	for {
		m, _, err := wire.ReadFrom(in, nil)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				f.t.Logf("device %d: %v", id.Device, err)
			}
			return
		}
		if f.answer(s, id, m) {
			return
		}
	}
}

// answer answers one message; bye is true after the last.
func (f *fakeSite) answer(s *fakeSession, id wire.Identity, m wire.Message) (bye bool) {
	switch m := m.(type) {
	case *wire.SignIn:
		if f.full {
			s.send(f.t, &wire.Close{Code: wire.Overloaded, Reason: "the fake site is full"})
			return true
		}
		f.mu.Lock() // a push finds this session, and only once it has been welcomed
		defer f.mu.Unlock()
		f.sessions[id.Device] = s
		s.send(f.t, &wire.Welcome{Version: 1, Listener: "FAKE", KeepAlive: time.Hour, Beacon: f.beacon(m.Nonce)})
	case *wire.KeepAlive:
		s.send(f.t, &wire.KeepAliveAck{Beacon: f.beacon(m.Nonce)})
	case *wire.PolicyRequest:
		s.send(f.t, &wire.Policy{})
	case *wire.Result:
		f.take(id.Device, m)
		s.send(f.t, &wire.ResultAck{Operation: m.Operation, Attempt: m.Attempt, State: m.State})
	case *wire.Bye:
		return true
	}
	return false
}

func (s *fakeSession) send(t *testing.T, m wire.Message) {
	b, err := wire.Append(nil, m)
	if err != nil {
		t.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.Write(b) // an agent that is gone does not read it
}

func (f *fakeSite) beacon(nonce [16]byte) []byte {
	b := task.Beacon{Site: "P01", Time: time.Now(), Nonce: nonce}
	return b.Sign(f.taskKey)
}

func (f *fakeSite) take(device uint32, r *wire.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := f.operations[r.Operation.String()]
	if op == nil {
		f.t.Errorf("device %d has a result for operation %s, which nobody asked for", device, r.Operation)
		return
	}
	f.event++
	op.states[device], op.events[device] = r.State, f.event
}

// identity is the URI of a device's certificate.
func identity(device uint32, id task.ID) []*url.URL {
	return []*url.URL{wire.Identity{Site: "P01", Device: device, ID: id}.URI()}
}
