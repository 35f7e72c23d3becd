package authority_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire"
)

var admin = event.Actor{Issuer: "local", Subject: "admin", Address: "127.0.0.1"}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// site is an authority on a journal in memory.
type site struct {
	*authority.Authority
	dir     string
	clock   *clock
	journal *journaltest.Memory
}

func newSite(t testing.TB, options ...authority.Option) *site {
	t.Helper()
	s := &site{dir: t.TempDir() + "/keys", clock: newClock()}
	s.open(t, options...)
	s.journal = journaltest.NewMemory(journal.Options{Folds: []journal.Fold{s.Authority}, Now: s.clock.Now})
	s.Attach(s.journal)
	t.Cleanup(func() { s.journal.Close() })
	return s
}

func (s *site) open(t testing.TB, options ...authority.Option) {
	t.Helper()
	a, err := authority.Open(s.dir, "P01", append([]authority.Option{authority.WithClock(s.clock.Now)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	s.Authority = a
}

// restart is a crash and a new start on the same folder and journal.
func (s *site) restart(t testing.TB) {
	t.Helper()
	s.open(t)
	j, err := s.journal.Reopen(journal.Options{Folds: []journal.Fold{s.Authority}, Now: s.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	s.journal = j
	s.Attach(j)
	t.Cleanup(func() { j.Close() })
}

func (s *site) token(t testing.TB, uses uint32, ttl time.Duration) wire.Token {
	t.Helper()
	token, number, err := s.CreateToken(t.Context(), admin, uses, ttl)
	if err != nil {
		t.Fatal(err)
	}
	if number != s.journal.Head().Event {
		t.Fatalf("token became event %d, the journal ends with %d", number, s.journal.Head().Event)
	}
	return token
}

// events are all events of the journal.
func (s *site) events(t testing.TB) (all []*event.Event) {
	t.Helper()
	r, err := s.journal.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next(t.Context())
		if err != nil {
			return all
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func request(t testing.TB, token string, key any) wire.JoinRequest {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return wire.JoinRequest{Token: token, CSR: csr, Name: "pc-1", OS: "linux", Arch: "amd64", Agent: "0.1.0"}
}

func (s *site) join(t testing.TB, token wire.Token) (wire.JoinReply, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	reply, err := s.Join(t.Context(), request(t, token.String(), key), "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return reply, key
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused fails the test unless err is a refusal with that status.
func refused(t testing.TB, err error, status int) *authority.Refusal {
	t.Helper()
	r, ok := errors.AsType[*authority.Refusal](err)
	if !ok {
		t.Fatalf("got %v, want a refusal with status %d", err, status)
	}
	if r.Status != status || r.Title == "" || r.Detail == "" {
		t.Fatalf("got %+v, want status %d with title and detail", r, status)
	}
	return r
}

func TestBeforeAttachNothingIsAppended(t *testing.T) {
	s := &site{dir: t.TempDir() + "/keys", clock: newClock()}
	s.open(t)
	ctx := context.Background()
	if _, _, err := s.CreateToken(ctx, admin, 1, time.Hour); err == nil {
		t.Error("made a token without a journal")
	}
	if _, err := s.RevokeToken(ctx, admin, "x"); err == nil {
		t.Error("revoked a token without a journal")
	}
	if _, err := s.Block(ctx, admin, 1, ""); err == nil {
		t.Error("blocked without a journal")
	}
	if _, err := s.GrantListener(ctx, "BGL1", make([]byte, 32)); err == nil {
		t.Error("granted without a journal")
	}
	token := wire.Token{ID: "0123456789abcdef", Secret: "0123456789abcdef0123456789abcdef", CA: s.CAHash()}
	if _, err := s.Join(ctx, request(t, token.String(), newKey(t)), ""); err == nil {
		t.Error("joined without a journal")
	}
}
