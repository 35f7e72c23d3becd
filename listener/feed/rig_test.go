package feed

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// long bounds every wait of the tests.
const long = 30 * time.Second

// A ca signs certificates of a test.
type ca struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t testing.TB) *ca {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &ca{t, cert, key, pool}
}

// issue makes a certificate for both ends; uri may be nil.
func (c *ca) issue(uri *url.URL, until time.Time) tls.Certificate {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	if uri != nil {
		template.URIs = []*url.URL{uri}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &key.PublicKey, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key}
}

func (c *ca) listener(name string) tls.Certificate {
	return c.issue(wire.ListenerIdentity{Site: "P01", Name: name}.URI(), time.Now().Add(time.Hour))
}

// A script is a source that a test writes.
type script struct {
	mu      sync.Mutex
	updates []listener.Update
	fail    error
	more    chan struct{}
}

func newScript(updates ...listener.Update) *script {
	return &script{updates: updates, more: make(chan struct{})}
}

func (s *script) tell(updates ...listener.Update) {
	s.change(func() { s.updates = append(s.updates, updates...) })
}

// breaks ends every reading that is under way.
func (s *script) breaks(err error) { s.change(func() { s.fail = err }) }

func (s *script) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.more)
	s.more = make(chan struct{})
}

// open is PublisherConfig.Source: a reading begins with what was told so far.
func (s *script) open() (Source, error) {
	s.change(func() { s.fail = nil })
	return &scriptReading{script: s}, nil
}

type scriptReading struct {
	*script
	at int
}

func (r *scriptReading) Next(ctx context.Context) (listener.Update, error) {
	for {
		r.mu.Lock()
		more, fail := r.more, r.fail
		if fail == nil && r.at < len(r.updates) {
			r.at++
			defer r.mu.Unlock()
			return r.updates[r.at-1], nil
		}
		r.mu.Unlock()
		if fail != nil {
			return nil, fail
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *scriptReading) Close() error { return nil }

// fewChanges make a new state due.
const fewChanges = 100

// A site is a publisher that runs.
type site struct {
	*Publisher
	t      *testing.T
	ca     *ca
	script *script

	mu       sync.Mutex
	admitted []string
	answered map[task.ID]*task.Targets
}

func newSite(t *testing.T, updates ...listener.Update) *site {
	s := &site{t: t, ca: newCA(t), script: newScript(updates...), admitted: []string{"EAST01", "WEST01"}}
	server := s.ca.issue(nil, time.Now().Add(time.Hour))
	p, err := NewPublisher(PublisherConfig{
		Dir: filepath.Join(t.TempDir(), "feed"), Address: "127.0.0.1:0",
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &server, nil },
		ClientCAs:   func() *x509.CertPool { return s.ca.pool },
		Admit:       s.admit, Source: s.script.open,
		Answered: func([]task.ID) (map[task.ID]*task.Targets, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.answered, nil
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Publisher = p
	p.changes = fewChanges
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		p.Close()
	})
	return s
}

func (s *site) admit(cert *x509.Certificate) (wire.ListenerIdentity, error) {
	id, err := wire.ListenerOf(cert)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && (id.Site != "P01" || !slices.Contains(s.admitted, id.Name)) {
		err = errors.New("not admitted")
	}
	return id, err
}

func (s *site) clientTLS(cert ...tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.ca.pool, ServerName: "localhost", Certificates: cert}
}

func (s *site) client(name string, cert ...tls.Certificate) *Client {
	c := NewClient(ClientConfig{Name: name, Address: s.Address, TLS: func() (*tls.Config, error) { return s.clientTLS(cert...), nil }})
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s *site) listener(name string) *Client { return s.client(name, s.ca.listener(name)) }

// next returns the next update, over any errors on the way to it.
func next(t *testing.T, c *Client) listener.Update {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	for {
		u, err := c.Next(ctx)
		if err == nil {
			return u
		}
		if !sleep(ctx, 10*time.Millisecond) {
			t.Fatalf("no update: %v", err)
		}
	}
}

// stateOf reads up to Whole.
func stateOf(t *testing.T, c *Client) (all []listener.Update) {
	t.Helper()
	for {
		u := next(t, c)
		if _, ok := u.(listener.Whole); ok {
			return all
		}
		all = append(all, u)
	}
}

var taskKey = ed25519.NewKeyFromSeed(make([]byte, 32))

// open makes an operation for some devices.
func open(t testing.TB, n byte, devices ...uint32) listener.OpenOperation {
	t.Helper()
	return openUntil(t, time.Now().Add(time.Hour), n, devices...)
}

func openUntil(t testing.TB, deliverBy time.Time, n byte, devices ...uint32) listener.OpenOperation {
	t.Helper()
	targets := set(t, devices...)
	signed, err := (&task.Task{Site: "P01", Operation: task.ID{15: n}, Kind: "scan.quick", Root: targets.Root(), Leaves: targets.Leaves(),
		Requested: moment, DeliverBy: deliverBy, RunTimeout: time.Minute}).Sign(taskKey)
	if err != nil {
		t.Fatal(err)
	}
	return listener.OpenOperation{Signed: signed, Targets: targets}
}

var moment = time.Date(2026, 5, 6, 7, 8, 9, 10, time.UTC)

func set(t testing.TB, devices ...uint32) *task.Targets {
	t.Helper()
	s, err := task.NewTargets(slices.Values(devices))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
