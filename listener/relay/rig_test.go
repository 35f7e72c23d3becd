package relay

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// long bounds every wait of the tests.
const long = 30 * time.Second

// A site is a relay server behind TLS, with an inbox in a folder.
type site struct {
	t      testing.TB
	server *Server
	http   *httptest.Server
	inbox  string
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	pool   *x509.CertPool

	mu       sync.Mutex
	admitted []string
	broken   error // of the inbox
	logs     []string
	asked    []string
	policies map[uint32]listener.Policy
}

// boxKey signs the files of a listener.
func boxKey(name string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte((name + strings.Repeat(".", 32))[:32]))
}

func newSite(t testing.TB) *site {
	s := makeSite(t)
	s.http = httptest.NewUnstartedServer(s.server)
	s.http.TLS = s.tls()
	s.http.EnableHTTP2 = true
	s.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.http.StartTLS()
	t.Cleanup(s.http.Close)
	return s
}

// tls is for the site's port.
func (s *site) tls() *tls.Config {
	key, cert := certificate(s.t, s.ca, s.key, &x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert, // the handler checks by itself
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw, s.ca.Raw}, PrivateKey: key}}}
}

// makeSite is a site without a port.
func makeSite(t testing.TB) *site {
	s := &site{t: t, inbox: filepath.Join(t.TempDir(), "box"), admitted: []string{"EAST01", "WEST01"}, policies: map[uint32]listener.Policy{}}
	b, err := box.Open(s.inbox)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	s.key, s.ca = certificate(t, nil, nil, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	s.pool = x509.NewCertPool()
	s.pool.AddCert(s.ca)
	s.server, err = NewServer(ServerConfig{
		Site: "P01", ClientCAs: func() *x509.CertPool { return s.pool }, Admit: s.admit,
		SpeaksFor: func(name string, device uint32) bool { return device < 1000 },
		Key: func(name string, epoch uint32) (ed25519.PublicKey, bool) {
			return boxKey(name).Public().(ed25519.PublicKey), epoch <= 3
		},
		Describe: func() Site { return Site{Site: "P01", History: make([]byte, 16), Feed: ":1", KeepAlive: time.Minute} },
		Deliver:  s.deliver,
		Beacon: func(nonce [16]byte) ([]byte, error) {
			s.note("beacon")
			return append([]byte("beacon for "), nonce[:]...), nil
		},
		StoreLog: s.storeLog,
		Policy:   s.policy, KeepAlive: func(uint32) time.Duration { return 7 * time.Minute },
		Join: func(_ context.Context, q wire.JoinRequest, address string) (wire.JoinReply, error) {
			if q.Token == "bad" {
				return wire.JoinReply{}, &listener.JoinRefused{Status: 403, Title: "No", Detail: "the token is bad"}
			}
			return wire.JoinReply{Site: "P01", ID: address}, nil
		},
		Renew: func(_ context.Context, device uint32, r wire.Renew) ([]byte, error) {
			return append(r.CSR, r.Proof...), nil
		},
		JoinListener: func(_ context.Context, q wire.ListenerJoinRequest) (wire.ListenerJoinReply, error) {
			return wire.ListenerJoinReply{Name: q.Token}, nil
		},
		RenewListener: func(_ context.Context, name string, csr []byte) (wire.ListenerRenewReply, error) {
			return wire.ListenerRenewReply{Certificate: []byte(name)}, nil
		},
		NextEpoch: func(_ context.Context, name string, key []byte) (uint32, error) { return 3, nil },
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func certificate(t testing.TB, ca *x509.Certificate, by *ecdsa.PrivateKey, c *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if ca == nil {
		ca, by = c, key
	}
	c.SerialNumber, c.Subject, c.NotBefore = big.NewInt(1), pkix.Name{CommonName: "test"}, time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(24 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func (s *site) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, what)
}

// times is how often the site was asked for something.
func (s *site) times(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		if a == what {
			n++
		}
	}
	return n
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

func (s *site) deliver(files []box.Raw) (int, error) {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken != nil {
		return 0, broken
	}
	return box.Deliver(s.inbox, files)
}

func (s *site) storeLog(_ context.Context, device uint32, op task.ID, sum [32]byte, size int64, body io.Reader) error {
	b, err := io.ReadAll(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case s.broken != nil:
		return s.broken
	case int64(len(b)) != size || sha256.Sum256(b) != sum:
		return &listener.JoinRefused{Status: 400, Title: "No", Detail: "another body"}
	}
	s.logs = append(s.logs, string(b))
	return nil
}

func (s *site) policy(device uint32, user string) (listener.Policy, error) {
	s.note("policy")
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.policies[device]
	if !ok {
		return p, errors.New("no such device")
	}
	return p, nil
}

// client makes a client that shows a certificate, of a listener unless uri says
// otherwise.
func (s *site) client(uri *url.URL, until time.Time) *Client {
	s.t.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.pool, ServerName: "localhost"}
	if uri != nil {
		key, cert := certificate(s.t, s.ca, s.key, &x509.Certificate{URIs: []*url.URL{uri}, NotAfter: until,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	}
	url := "https://localhost"
	if s.http != nil {
		url = s.http.URL
	}
	c := NewClient(url, config, slog.New(slog.DiscardHandler))
	s.t.Cleanup(func() { c.http.Load().CloseIdleConnections() })
	return c
}

func (s *site) listener(name string) *Client {
	return s.client(wire.ListenerIdentity{Site: "P01", Name: name}.URI(), time.Time{})
}

// file makes a box file.
func file(t testing.TB, name string, epoch uint32, number uint64, key ed25519.PrivateKey) box.Raw {
	t.Helper()
	f := box.File{Name: box.Name{Listener: name, Epoch: epoch, Number: number, Kind: box.BTS}, Site: "P01",
		From: time.Unix(1, 0), To: time.Unix(2, 0), Contents: results(int(number))}
	b, err := f.Append(nil, key)
	if err != nil {
		t.Fatal(err)
	}
	return box.Raw{Name: f.Name, Data: b}
}

func results(n int) *box.Results {
	return &box.Results{Rows: []box.ResultRow{{Result: task.Result{Operation: task.ID{1}, Device: uint32(n%999 + 1), State: task.Sent, At: time.Unix(1, 0)}}}}
}

// inboxNames are the files that wait at the site, in order.
func (s *site) inboxNames() (names []string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.inbox)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}
