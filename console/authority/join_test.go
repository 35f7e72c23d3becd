package authority_test

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func TestJoin(t *testing.T) {
	s := newSite(t)
	s.SetListeners("site.example:10123")
	reply, key := s.join(t, s.token(t, 1, time.Hour))

	cert := parse(t, reply.Certificate)
	id, err := wire.IdentityOf(cert)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Site != "P01" || reply.Device != 1 || id.Site != "P01" || id.Device != 1 || id.ID.String() != reply.ID {
		t.Errorf("reply %s %d %s, certificate %+v", reply.Site, reply.Device, reply.ID, id)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		t.Error("certificate is not for the device's key")
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: s.ClientCAs(), CurrentTime: s.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: s.ClientCAs(), CurrentTime: s.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a device's certificate is good for a server")
	}
	if cert.IsCA || !cert.NotAfter.Equal(reply.Expires) || !cert.NotAfter.Equal(s.clock.Now().Add(authority.Validity)) {
		t.Errorf("good until %v, reply says %v", cert.NotAfter, reply.Expires)
	}
	if len(reply.Listeners) != 1 || reply.Listeners[0] != "site.example:10123" {
		t.Errorf("listeners %v", reply.Listeners)
	}
	if string(reply.CA) != string(s.CACert().Raw) || len(reply.TaskKeys) != 1 || len(reply.PolicyKeys) != 1 {
		t.Error("reply lacks what a device trusts")
	}
	checkResultKey(t, s, reply, key)
	checkJoined(t, s, cert)
}

func checkResultKey(t *testing.T, s *site, reply wire.JoinReply, key *ecdsa.PrivateKey) {
	t.Helper()
	private, err := key.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	public, err := ecdh.P256().NewPublicKey(reply.ResultKey)
	if err != nil {
		t.Fatal(err)
	}
	id, err := task.ParseID(reply.ID)
	if err != nil {
		t.Fatal(err)
	}
	devices, err := task.ResultKey(private, public, reply.Site, id)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // derived, then remembered
		if sites, ok := s.ResultKey(reply.Device); !ok || string(sites) != string(devices) {
			t.Error("device and site do not share a result key")
		}
	}
	if _, ok := s.ResultKey(reply.Device + 1); ok {
		t.Error("there is a result key of nobody")
	}
}

func checkJoined(t *testing.T, s *site, cert *x509.Certificate) {
	t.Helper()
	all := s.events(t)
	e := all[len(all)-1]
	p, ok := e.Payload.(*event.DeviceJoined)
	if !ok {
		t.Fatalf("last event is %s", e.Kind())
	}
	if p.Device != 1 || p.Name != "pc-1" || p.OS != "linux" || p.Arch != "amd64" || p.Agent != "0.1.0" || !p.Expires.Equal(cert.NotAfter) {
		t.Errorf("event says %+v", p)
	}
	if string(p.Serial) != string(cert.SerialNumber.Bytes()) {
		t.Error("event has another serial than the certificate")
	}
	if e.Actor.Issuer != "token" || e.Actor.Subject != p.Token || e.Actor.Address != "10.0.0.1" {
		t.Errorf("actor %+v", e.Actor)
	}
}

func TestJoinAgainGivesTheSameCertificate(t *testing.T) {
	s := newSite(t)
	token := s.token(t, 1, time.Hour)
	key := newKey(t)
	first, err := s.Join(t.Context(), request(t, token.String(), key), "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	events := s.journal.Head().Event
	s.clock.Add(2 * time.Hour) // the token has expired since, and was used up
	for _, restart := range []bool{false, true} {
		if restart {
			s.restart(t)
		}
		again, err := s.Join(t.Context(), request(t, token.String(), key), "10.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		a, b := parse(t, first.Certificate), parse(t, again.Certificate)
		if a.SerialNumber.Cmp(b.SerialNumber) != 0 || a.URIs[0].String() != b.URIs[0].String() || !a.NotAfter.Equal(b.NotAfter) || !a.NotBefore.Equal(b.NotBefore) {
			t.Error("another certificate")
		}
		if again.Device != first.Device || again.ID != first.ID {
			t.Errorf("another device %d, %s", again.Device, again.ID)
		}
	}
	if s.journal.Head().Event != events {
		t.Error("a repeated join is an event")
	}
	_, err = s.Join(t.Context(), request(t, token.String(), newKey(t)), "10.0.0.1")
	refused(t, err, 403)
}

func TestJoinAgainIsRefusedOnceItIsOver(t *testing.T) {
	for name, over := range map[string]func(s *site, token wire.Token) error{
		"token revoked": func(s *site, token wire.Token) error {
			_, err := s.RevokeToken(context.Background(), admin, token.ID)
			return err
		},
		"device blocked": func(s *site, _ wire.Token) error { _, err := s.Block(context.Background(), admin, 1, ""); return err },
		"expired":        func(s *site, _ wire.Token) error { s.clock.Add(authority.Validity); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			token := s.token(t, 2, time.Hour)
			key := newKey(t)
			if _, err := s.Join(t.Context(), request(t, token.String(), key), ""); err != nil {
				t.Fatal(err)
			}
			if err := over(s, token); err != nil {
				t.Fatal(err)
			}
			_, err := s.Join(t.Context(), request(t, token.String(), key), "")
			refused(t, err, 403)
		})
	}
}

func TestJoinRefuses(t *testing.T) {
	s := newSite(t)
	good := s.token(t, 100, time.Hour)
	used := s.token(t, 1, time.Hour)
	s.join(t, used)
	revoked := s.token(t, 1, time.Hour)
	if _, err := s.RevokeToken(t.Context(), admin, revoked.ID); err != nil {
		t.Fatal(err)
	}
	short := s.token(t, 1, time.Minute)
	s.clock.Add(time.Minute)

	wrong := good
	wrong.Secret = strings.Repeat("0", 32)
	unknown := good
	unknown.ID = strings.Repeat("0", 16)
	elsewhere := good
	elsewhere.CA[0] ^= 1
	for name, test := range map[string]struct {
		token  string
		status int
		want   string
	}{
		"empty":        {"", 400, "bugle1.ID.SECRET.HASH"},
		"cut":          {good.String()[:90], 400, "cut or mistyped"},
		"another kind": {strings.Replace(good.String(), "bugle1", "bugle2", 1), 400, "not a join token"},
		"wrong secret": {wrong.String(), 403, "unknown or its secret is wrong"},
		"unknown":      {unknown.String(), 403, "unknown or its secret is wrong"},
		"other site":   {elsewhere.String(), 403, "another site"},
		"expired":      {short.String(), 403, "expired at 2026-11-28T12:01:00Z"},
		"used up":      {used.String(), 403, "as often as it may"},
		"revoked":      {revoked.String(), 403, "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			events := s.journal.Head().Event
			_, err := s.Join(t.Context(), request(t, test.token, newKey(t)), "")
			if r := refused(t, err, test.status); !strings.Contains(r.Detail, test.want) {
				t.Errorf("says %q, want %q in it", r.Detail, test.want)
			}
			if strings.Contains(fmt.Sprint(err), good.Secret) {
				t.Error("the error holds the secret")
			}
			if s.journal.Head().Event != events {
				t.Error("a refusal is an event")
			}
		})
	}
}

func TestJoinRefusesRequests(t *testing.T) {
	s := newSite(t)
	token := s.token(t, 100, time.Hour).String()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	flipped := request(t, token, newKey(t))
	flipped.CSR[len(flipped.CSR)-1] ^= 1
	cut := request(t, token, newKey(t))
	cut.CSR = cut.CSR[:len(cut.CSR)/2]
	none := request(t, token, newKey(t))
	none.CSR = nil
	trailing := request(t, token, newKey(t))
	trailing.CSR = append(trailing.CSR, 0)
	named := func(name string) wire.JoinRequest {
		r := request(t, token, newKey(t))
		r.Name = name
		return r
	}
	for name, r := range map[string]wire.JoinRequest{
		"P-384": request(t, token, p384), "RSA": request(t, token, rsaKey), "Ed25519": request(t, token, edKey),
		"flipped bit": flipped, "cut": cut, "no CSR": none, "bytes behind it": trailing,
		"no name": named(""), "long name": named(strings.Repeat("x", 300)), "line end": named("a\nb"), "not UTF-8": named("\xff"), "spaces": named(" pc"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Join(t.Context(), r, "")
			refused(t, err, 400)
		})
	}
	if len(s.Blocked()) != 0 || s.journal.Head().Event != 1 {
		t.Error("a refused request left something")
	}
}

// Fifty devices race for a token: as many as it has uses get in, each with a
// number of its own, whatever the order.
func TestTokenRace(t *testing.T) {
	for _, uses := range []uint32{1, 7} {
		t.Run(fmt.Sprint(uses), func(t *testing.T) {
			s := newSite(t)
			token := s.token(t, uses, time.Hour)
			requests := make([]wire.JoinRequest, 50)
			for i := range requests {
				requests[i] = request(t, token.String(), newKey(t))
			}
			// All wait in the journal's queue, behind a page that is held up.
			release := s.journal.Hold()
			numbers := make([]uint32, len(requests))
			var wg sync.WaitGroup
			for i := range requests {
				wg.Go(func() {
					reply, err := s.Join(context.Background(), requests[i], "")
					if err == nil {
						numbers[i] = reply.Device
					} else {
						refused(t, err, 403)
					}
				})
			}
			release()
			wg.Wait()
			seen := map[uint32]bool{}
			for _, n := range numbers {
				if n != 0 && seen[n] {
					t.Errorf("device %d was given twice", n)
				}
				seen[n] = n != 0
			}
			delete(seen, 0)
			if len(seen) != int(uses) {
				t.Errorf("%d devices joined with %d uses", len(seen), uses)
			}
			for n := range uses {
				if !seen[n+1] {
					t.Errorf("numbers are not dense: %d is missing", n+1)
				}
			}
			if state, _ := s.Token(token.ID); state.Used != uses {
				t.Errorf("token was used %d times", state.Used)
			}
		})
	}
}

// The same device that asks fifty times at once is one device.
func TestJoinRaceOfOneDevice(t *testing.T) {
	s := newSite(t)
	r := request(t, s.token(t, 50, time.Hour).String(), newKey(t))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if reply, err := s.Join(context.Background(), r, ""); err != nil || reply.Device != 1 {
				t.Errorf("device %d, %v", reply.Device, err)
			}
		})
	}
	wg.Wait()
	if s.journal.Head().Event != 2 {
		t.Errorf("journal has %d events, want a token and a join", s.journal.Head().Event)
	}
}

// A crash between the event and the answer: whichever way the page went, the
// device that asks again has one certificate, and a one-use token has one use.
func TestJoinAcrossACrash(t *testing.T) {
	for name, fault := range map[string]journaltest.Fault{
		"not stored": journaltest.NotStored, "lost": journaltest.Lost, "lost but stored": journaltest.LostButStored,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			token := s.token(t, 1, time.Hour)
			key := newKey(t)
			s.journal.Inject(fault)
			if _, err := s.Join(t.Context(), request(t, token.String(), key), ""); err == nil {
				t.Fatal("joined although the journal failed")
			}
			s.restart(t)
			reply, err := s.Join(t.Context(), request(t, token.String(), key), "")
			if err != nil || reply.Device != 1 {
				t.Fatalf("device %d, %v", reply.Device, err)
			}
			_, err = s.Join(t.Context(), request(t, token.String(), newKey(t)), "")
			refused(t, err, 403)
			if n := s.journal.Head().Event; n != 2 {
				t.Errorf("journal has %d events", n)
			}
		})
	}
}
