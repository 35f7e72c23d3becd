package authority_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire"
)

func boxKey(n byte) ed25519.PublicKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
}

func (s *site) listenerToken(t testing.TB, name string, scope *roaring.Bitmap) wire.Token {
	t.Helper()
	token, _, err := s.CreateListenerToken(t.Context(), admin, name, scope, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func listenerRequest(t testing.TB, token wire.Token, key *ecdsa.PrivateKey, box ed25519.PublicKey) wire.ListenerJoinRequest {
	t.Helper()
	return wire.ListenerJoinRequest{Token: token.String(), CSR: csr(t, key), BoxKey: box,
		TCP: []string{"bgl.example:10123", "192.0.2.7:10123"}, HTTPS: []string{"bgl.example:10443"}}
}

func TestJoinListener(t *testing.T) {
	s := newSite(t)
	s.rotate(t, authority.KeyTask)
	key := newKey(t)
	r := listenerRequest(t, s.listenerToken(t, "BGL01", nil), key, boxKey(1))
	reply, err := s.JoinListener(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Name != "BGL01" || reply.Epoch != 1 || reply.Site != "P01" || reply.Keyring != 2 || len(reply.Rings) != 1 || len(reply.TaskKeys) != 2 {
		t.Errorf("joined as %+v", reply)
	}
	cert := parse(t, reply.Certificate)
	for _, host := range []string{"bgl.example", "192.0.2.7"} {
		for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			if _, err := cert.Verify(x509.VerifyOptions{Roots: s.ClientCAs(), DNSName: host, CurrentTime: s.clock.Now(), KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
				t.Error(err)
			}
		}
	}
	if id, err := s.AdmitListener(cert); err != nil || id.Name != "BGL01" {
		t.Errorf("admitted as %v: %v", id, err)
	}
	if k, ok := s.ListenerKey("BGL01", 1); !ok || !k.Equal(boxKey(1)) {
		t.Error("its files are not known by its key")
	}
	if s.ListenerScope("BGL01", 1) != nil {
		t.Error("its scope is not all devices")
	}
	// The answer was lost: the same again, also after a crash.
	s.restart(t)
	again, err := s.JoinListener(t.Context(), r)
	if err != nil || again.Epoch != 1 {
		t.Fatalf("epoch %d, %v", again.Epoch, err)
	}
	sameCertificate(t, cert, parse(t, again.Certificate))
	// Nobody else joins with that token.
	_, err = s.JoinListener(t.Context(), listenerRequest(t, mustToken(t, r.Token), newKey(t), boxKey(1)))
	refused(t, err, 403)
	// A counter that is gone is a new epoch with the same scope; the old files stay good.
	epoch, err := s.GrantEpoch(t.Context(), "BGL01", boxKey(2))
	if err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if _, ok := s.ListenerKey("BGL01", 1); !ok {
		t.Error("files of the epoch before are refused")
	}
	if all := s.Listeners(); len(all) != 1 || all[0].Epoch != 2 || !slices.Equal(all[0].TCP, r.TCP) || all[0].Own {
		t.Errorf("listeners %+v", all)
	}
	if state, _ := s.Token(mustToken(t, r.Token).ID); state.Used != 1 || state.Listener != "BGL01" {
		t.Errorf("token %+v", state)
	}
}

func mustToken(t testing.TB, text string) wire.Token {
	t.Helper()
	token, err := wire.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestListenerRenews(t *testing.T) {
	s := newSite(t)
	key := newKey(t)
	reply, err := s.JoinListener(t.Context(), listenerRequest(t, s.listenerToken(t, "BGL01", nil), key, boxKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	first := parse(t, reply.Certificate)
	s.clock.Add(20 * day)
	renew := func(key *ecdsa.PrivateKey) *x509.Certificate {
		t.Helper()
		der, err := s.RenewListener(t.Context(), "BGL01", csr(t, key))
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, der)
	}
	next := newKey(t)
	second := renew(next)
	sameCertificate(t, second, renew(next))
	for name, cert := range map[string]*x509.Certificate{"the new one": second, "the one before": first} {
		if _, err := s.AdmitListener(cert); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	renew(newKey(t))
	_, err = s.AdmitListener(first)
	refused(t, err, 403)
	// Once the authority of its certificate goes, it gets one of the new one at once,
	// also for the same key.
	s.rotate(t, authority.KeyCA)
	same := newKey(t)
	third := renew(same)
	if _, err := s.RetireKeys(t.Context(), admin, authority.KeyCA, "", true, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AdmitListener(third); err != nil {
		t.Error(err)
	}
	if fourth := renew(same); fourth.CheckSignatureFrom(s.CACert()) != nil {
		t.Error("the certificate is by a retired authority")
	}
	_, err = s.RenewListener(t.Context(), "BGL02", csr(t, next))
	refused(t, err, 404)
}

func TestRevokeListener(t *testing.T) {
	s := newSite(t)
	if _, err := s.GrantListener(t.Context(), "SITE01", boxKey(9)); err != nil {
		t.Fatal(err)
	}
	reply, err := s.JoinListener(t.Context(), listenerRequest(t, s.listenerToken(t, "BGL01", nil), newKey(t), boxKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	token := s.listenerToken(t, "BGL01", nil)
	number, err := s.RevokeListener(t.Context(), admin, "BGL01", "stolen")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.RevokeListener(t.Context(), admin, "BGL01", "again"); err != nil || again != number {
		t.Errorf("revoked again as event %d, %v", again, err)
	}
	s.restart(t)
	if _, ok := s.ListenerKey("BGL01", 1); ok {
		t.Error("files of a revoked listener are taken")
	}
	if scope := s.ListenerScope("BGL01", 1); scope == nil || scope(1) {
		t.Error("a revoked listener speaks for somebody")
	}
	_, admit := s.AdmitListener(parse(t, reply.Certificate))
	_, epoch := s.GrantEpoch(t.Context(), "BGL01", boxKey(2))
	_, renew := s.RenewListener(t.Context(), "BGL01", csr(t, newKey(t)))
	_, join := s.JoinListener(t.Context(), listenerRequest(t, token, newKey(t), boxKey(3)))
	for _, err := range []error{admit, epoch, renew, join} {
		refused(t, err, 403)
	}
	_, _, err = s.CreateListenerToken(t.Context(), admin, "BGL01", nil, time.Hour)
	refused(t, err, 409)
	_, err = s.RevokeListener(t.Context(), admin, "SITE01", "")
	refused(t, err, 409)
	_, err = s.RevokeListener(t.Context(), admin, "BGL09", "")
	refused(t, err, 404)
	_, _, err = s.CreateListenerToken(t.Context(), admin, "SITE01", nil, time.Hour)
	refused(t, err, 409)
}

func TestListenerScope(t *testing.T) {
	s := newSite(t)
	scope := roaring.BitmapOf(3, 70_000)
	if _, err := s.JoinListener(t.Context(), listenerRequest(t, s.listenerToken(t, "BGL01", scope), newKey(t), boxKey(1))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GrantEpoch(t.Context(), "BGL01", boxKey(2)); err != nil {
		t.Fatal(err)
	}
	// Who joins again with a new token has a new scope, from that epoch on.
	if _, err := s.JoinListener(t.Context(), listenerRequest(t, s.listenerToken(t, "BGL01", roaring.BitmapOf(4)), newKey(t), boxKey(3))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.JoinListener(t.Context(), listenerRequest(t, s.listenerToken(t, "BGL02", roaring.New()), newKey(t), boxKey(4))); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	for _, c := range []struct {
		name   string
		epoch  uint32
		device uint32
		may    bool
	}{{"BGL01", 1, 3, true}, {"BGL01", 1, 4, false}, {"BGL01", 2, 70_000, true}, {"BGL01", 3, 3, false}, {"BGL01", 3, 4, true},
		{"BGL01", 4, 4, false}, {"BGL02", 1, 4, false}, {"BGL03", 1, 4, false}} {
		if scope := s.ListenerScope(c.name, c.epoch); scope == nil || scope(c.device) != c.may {
			t.Errorf("%s in epoch %d speaks for device %d: want %v", c.name, c.epoch, c.device, c.may)
		}
	}
}

func TestJoinListenerRefuses(t *testing.T) {
	s := newSite(t)
	token := s.listenerToken(t, "BGL01", nil)
	change := func(f func(*wire.ListenerJoinRequest)) wire.ListenerJoinRequest {
		r := listenerRequest(t, token, newKey(t), boxKey(1))
		f(&r)
		return r
	}
	wrong := token
	wrong.Secret = strings.Repeat("0", 32)
	elsewhere := token
	elsewhere.CA[0] ^= 1
	for name, c := range map[string]struct {
		change func(*wire.ListenerJoinRequest)
		status int
	}{
		"no token":          {func(r *wire.ListenerJoinRequest) { r.Token = "" }, 400},
		"a wrong secret":    {func(r *wire.ListenerJoinRequest) { r.Token = wrong.String() }, 403},
		"another site":      {func(r *wire.ListenerJoinRequest) { r.Token = elsewhere.String() }, 403},
		"a device's token":  {func(r *wire.ListenerJoinRequest) { r.Token = s.token(t, 1, time.Hour).String() }, 403},
		"no request":        {func(r *wire.ListenerJoinRequest) { r.CSR = nil }, 400},
		"a short box key":   {func(r *wire.ListenerJoinRequest) { r.BoxKey = r.BoxKey[:31] }, 400},
		"no address":        {func(r *wire.ListenerJoinRequest) { r.TCP = nil }, 400},
		"an odd address":    {func(r *wire.ListenerJoinRequest) { r.TCP = []string{"host"} }, 400},
		"port 0":            {func(r *wire.ListenerJoinRequest) { r.HTTPS = []string{"host:0"} }, 400},
		"a wildcard":        {func(r *wire.ListenerJoinRequest) { r.TCP = []string{"*.example:1"} }, 400},
		"too many of them":  {func(r *wire.ListenerJoinRequest) { r.TCP = slices.Repeat([]string{"host:1"}, 17) }, 400},
		"a line end in one": {func(r *wire.ListenerJoinRequest) { r.TCP = []string{"a\nb:1"} }, 400},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.JoinListener(t.Context(), change(c.change))
			refused(t, err, c.status)
		})
	}
	_, err := s.Join(t.Context(), request(t, token.String(), newKey(t)), "")
	refused(t, err, 403)
	if len(s.Listeners()) != 0 {
		t.Error("a refused request left a listener")
	}
	s.clock.Add(2 * time.Hour)
	_, err = s.JoinListener(t.Context(), listenerRequest(t, token, newKey(t), boxKey(1)))
	refused(t, err, 403)
	if all := s.Tokens(); len(all) != 2 || all[len(all)-1].Listener != "BGL01" && all[0].Listener != "BGL01" {
		t.Errorf("tokens %+v", all)
	}
}

// Fifty that race for the token of a listener: one gets in.
func TestJoinListenerRace(t *testing.T) {
	s := newSite(t)
	token := s.listenerToken(t, "BGL01", nil)
	requests := make([]wire.ListenerJoinRequest, 50)
	for i := range requests {
		requests[i] = listenerRequest(t, token, newKey(t), boxKey(byte(i)))
	}
	joined := make(chan string, len(requests))
	release := s.journal.Hold()
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() {
			if reply, err := s.JoinListener(context.Background(), requests[i]); err == nil {
				joined <- reply.Name
			} else {
				refused(t, err, 403)
			}
		})
	}
	release()
	wg.Wait()
	if len(joined) != 1 {
		t.Errorf("%d joined with one token", len(joined))
	}
}

// Grant and certificate are durable together or not at all.
func TestJoinListenerAcrossACrash(t *testing.T) {
	for name, fault := range map[string]journaltest.Fault{"not stored": journaltest.NotStored, "lost": journaltest.Lost, "lost but stored": journaltest.LostButStored} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := listenerRequest(t, s.listenerToken(t, "BGL01", nil), newKey(t), boxKey(1))
			s.journal.Inject(fault)
			if _, err := s.JoinListener(t.Context(), r); err == nil {
				t.Fatal("joined although the append failed")
			}
			s.restart(t)
			reply, err := s.JoinListener(t.Context(), r)
			if err != nil || reply.Epoch != 1 {
				t.Fatalf("epoch %d, %v", reply.Epoch, err)
			}
			if _, err := s.AdmitListener(parse(t, reply.Certificate)); err != nil {
				t.Error(err)
			}
			if n := s.journal.Head().Event; n != 3 {
				t.Errorf("journal has %d events, want 3", n)
			}
		})
	}
}

// Who joins with a new token for a name takes the place of the machine before, which
// is let in no more.
func TestListenerIsReplaced(t *testing.T) {
	s := newSite(t)
	join := func(box byte) *x509.Certificate {
		t.Helper()
		reply, err := s.JoinListener(t.Context(), listenerRequest(t, s.listenerToken(t, "BGL01", nil), newKey(t), boxKey(box)))
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, reply.Certificate)
	}
	old := join(1)
	if _, err := s.GrantEpoch(t.Context(), "BGL01", boxKey(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AdmitListener(old); err != nil {
		t.Error(err)
	}
	now := join(3)
	for range 2 {
		_, err := s.AdmitListener(old)
		refused(t, err, 403)
		if _, err := s.AdmitListener(now); err != nil {
			t.Error(err)
		}
		s.restart(t)
	}
	if _, ok := s.ListenerKey("BGL01", 1); !ok {
		t.Error("files of the machine before that are under way are refused")
	}
}
