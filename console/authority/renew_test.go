package authority_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const day = 24 * time.Hour

func csr(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// ask is a request for a certificate for key that another key of the device proves.
func ask(t testing.TB, device uint32, by, key *ecdsa.PrivateKey) wire.Renew {
	t.Helper()
	m := wire.Renew{CSR: csr(t, key)}
	if err := m.Prove(by, "P01", device); err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *site) renew(t testing.TB, device uint32, by, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := s.Renew(t.Context(), device, ask(t, device, by, key))
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, der)
	if _, err := c.Verify(x509.VerifyOptions{Roots: s.ClientCAs(), CurrentTime: s.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Fatal(err)
	}
	return c
}

// sameCertificate fails unless both are the same certificate but for the
// randomness of their signatures.
func sameCertificate(t testing.TB, a, b *x509.Certificate) {
	t.Helper()
	if a.SerialNumber.Cmp(b.SerialNumber) != 0 || !a.NotBefore.Equal(b.NotBefore) || !a.NotAfter.Equal(b.NotAfter) ||
		!bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo) || a.URIs[0].String() != b.URIs[0].String() {
		t.Errorf("%v from %s to %s is another certificate than %v from %s to %s", a.SerialNumber, a.NotBefore, a.NotAfter, b.SerialNumber, b.NotBefore, b.NotAfter)
	}
}

func TestRenew(t *testing.T) {
	s := newSite(t)
	reply, old := s.join(t, s.token(t, 1, time.Hour))
	first := parse(t, reply.Certificate)
	if life := first.NotAfter.Sub(s.clock.Now()); life != 7*day {
		t.Errorf("a certificate is good for %v", life)
	}
	s.clock.Add(5 * day)
	key := newKey(t)
	second := s.renew(t, reply.Device, old, key)
	id, err := wire.IdentityOf(second)
	if err != nil || id.Device != reply.Device || id.ID.String() != reply.ID {
		t.Errorf("renewed as %v, %v", id, err)
	}
	if second.NotAfter.Sub(s.clock.Now()) != 7*day || second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Errorf("serial %v until %s", second.SerialNumber, second.NotAfter)
	}
	issued := s.events(t)[2].Payload.(*event.CertificateIssued)
	if issued.Device != reply.Device || !bytes.Equal(issued.Serial, second.SerialNumber.Bytes()) {
		t.Errorf("on record is %+v", issued)
	}
	// The answer was lost: the same key gets the same one, also after a crash.
	s.restart(t)
	sameCertificate(t, second, s.renew(t, reply.Device, old, key))
	if n := s.journal.Head().Event; n != 3 {
		t.Errorf("journal has %d events, want 3", n)
	}
	// The result key is that of the join, whatever certificates came since.
	before, ok := s.ResultKey(reply.Device)
	if !ok || len(before) == 0 {
		t.Fatal("no result key")
	}
	// The old key may be used again, and so may the new one once it is half over.
	third := s.renew(t, reply.Device, key, old)
	s.clock.Add(4 * day)
	fourth := s.renew(t, reply.Device, key, old)
	if fourth.SerialNumber.Cmp(third.SerialNumber) == 0 {
		t.Error("a certificate that is half over is not renewed")
	}
}

// TestIssued asks for what was issued, and for what differs from it in one thing.
func TestIssued(t *testing.T) {
	s := newSite(t)
	reply, key := s.join(t, s.token(t, 2, 30*day))
	first, ca := parse(t, reply.Certificate), s.CACert()
	want := func(what string, cert, by *x509.Certificate) {
		t.Helper()
		if got := s.Issued(cert); (got == nil) != (by == nil) || got != nil && !got.Equal(by) {
			t.Errorf("%s: issued by %v, want %v", what, got, by)
		}
	}
	want("joined", first, ca)
	other := newKey(t)
	for what, change := range map[string]func(c *x509.Certificate){
		"of another key":      func(c *x509.Certificate) { c.PublicKey = &other.PublicKey },
		"of no such key":      func(c *x509.Certificate) { c.PublicKey = reply.ResultKey },
		"with another serial": func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Add(c.SerialNumber, big.NewInt(1)) },
		"good for longer":     func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) },
		"good for earlier":    func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Second) },
		"of another device": func(c *x509.Certificate) {
			c.URIs = []*url.URL{wire.Identity{Site: "P01", Device: reply.Device + 1, ID: task.NewRandomID()}.URI()}
		},
		"of an earlier device": func(c *x509.Certificate) {
			c.URIs = []*url.URL{wire.Identity{Site: "P01", Device: reply.Device, ID: task.NewRandomID()}.URI()}
		},
		"of another site": func(c *x509.Certificate) {
			id, _ := wire.IdentityOf(first)
			id.Site = "P02"
			c.URIs = []*url.URL{id.URI()}
		},
		"of nobody": func(c *x509.Certificate) { c.URIs = nil },
	} {
		c := parse(t, reply.Certificate)
		change(c)
		want(what, c, nil)
	}
	s.clock.Add(5 * day)
	next := newKey(t)
	second := s.renew(t, reply.Device, key, next)
	want("renewed", second, ca)
	want("of the join, after a renewal", first, ca)
	s.restart(t)
	want("renewed, after a restart", second, ca)
	s.renew(t, reply.Device, next, newKey(t))
	want("the one before, with its own key", second, ca)
	s.renew(t, reply.Device, next, newKey(t))
	want("the one before that: its signature counts", second, nil)

	token := s.token(t, 1, 30*day)
	s.rotate(t, authority.KeyCA)
	want("of the older authority", first, ca)
	joined, _ := s.join(t, token)
	fresh, newer := parse(t, joined.Certificate), parse(t, joined.CAs[0])
	want("of the newer authority", fresh, newer)
	if _, err := s.RetireKeys(t.Context(), admin, authority.KeyCA, "test", true, nil); err != nil {
		t.Fatal(err)
	}
	want("of an authority that was retired", first, nil)
	want("of the one that is left", fresh, newer)
}

func TestRenewRefuses(t *testing.T) {
	s := newSite(t)
	reply, key := s.join(t, s.token(t, 2, time.Hour))
	refuses := func(device uint32, request wire.Renew, status int) {
		t.Helper()
		_, err := s.Renew(t.Context(), device, request)
		refused(t, err, status)
	}
	good := ask(t, 1, key, newKey(t))
	refuses(2, good, 404)
	refuses(0, good, 404)
	refuses(1, wire.Renew{CSR: good.CSR[:20], Proof: good.Proof}, 400)
	flipped := wire.Renew{CSR: bytes.Clone(good.CSR), Proof: good.Proof}
	flipped.CSR[len(flipped.CSR)-1] ^= 1
	refuses(1, flipped, 400)
	if _, err := s.Block(t.Context(), admin, reply.Device, "stolen"); err != nil {
		t.Fatal(err)
	}
	refuses(1, good, 403)
	if _, err := s.Unblock(t.Context(), admin, reply.Device, "found"); err != nil {
		t.Fatal(err)
	}
	s.clock.Add(7*day + authority.RenewGrace)
	s.renew(t, 1, key, newKey(t)) // that long ago it may have ended
	s.clock.Add(7*day + authority.RenewGrace + time.Second)
	refuses(1, good, 403)
	if n := s.journal.Head().Event; n != 5 {
		t.Errorf("journal has %d events, want 5: a refusal is no event", n)
	}
}

// Whoever hands in a request, without a proof by the device it gets nothing.
func TestRenewIsProven(t *testing.T) {
	s := newSite(t)
	token := s.token(t, 2, time.Hour)
	mine, key := s.join(t, token)
	other, otherKey := s.join(t, token)
	wanted := newKey(t)
	good := ask(t, mine.Device, key, wanted)
	foreign := wire.Renew{CSR: good.CSR}
	if err := foreign.Prove(key, "P02", mine.Device); err != nil {
		t.Fatal(err)
	}
	before := s.journal.Head().Event
	for name, m := range map[string]wire.Renew{
		"no proof":                  {CSR: good.CSR},
		"another request's proof":   {CSR: csr(t, newKey(t)), Proof: good.Proof},
		"another device's key":      ask(t, mine.Device, otherKey, wanted),
		"a proof for another":       ask(t, other.Device, key, wanted),
		"a proof for another site":  foreign,
		"the key that is asked for": ask(t, mine.Device, wanted, wanted),
		"no signature":              {CSR: good.CSR, Proof: []byte("trust me")},
		"too long":                  {CSR: good.CSR, Proof: append(bytes.Clone(good.Proof), make([]byte, wire.MaxRenewProof)...)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Renew(t.Context(), mine.Device, m)
			refused(t, err, 403)
		})
	}
	if n := s.journal.Head().Event; n != before {
		t.Errorf("%d events of refusals", n-before)
	}
	if _, err := s.Renew(t.Context(), mine.Device, good); err != nil {
		t.Error(err)
	}
	// What is on record already is not handed to a stranger either.
	_, err := s.Renew(t.Context(), mine.Device, ask(t, mine.Device, otherKey, wanted))
	refused(t, err, 403)
}

// The keys that prove: that of the newest certificate, that of the one before, for
// its answer may have been lost, and that of the join, also after a restart.
func TestRenewProvenByOlderKeys(t *testing.T) {
	s := newSite(t)
	reply, first := s.join(t, s.token(t, 1, time.Hour))
	second, third, fourth, fifth := newKey(t), newKey(t), newKey(t), newKey(t)
	s.renew(t, reply.Device, first, second)
	s.clock.Add(5 * day)
	s.renew(t, reply.Device, second, third)
	s.clock.Add(5 * day)
	lost := s.renew(t, reply.Device, third, fourth) // the answer is lost, and again
	sameCertificate(t, lost, s.renew(t, reply.Device, third, fourth))
	s.restart(t)
	sameCertificate(t, lost, s.renew(t, reply.Device, third, fourth))
	s.clock.Add(5 * day)
	s.renew(t, reply.Device, third, fourth) // too old to be the answer, and still the same key
	_, err := s.Renew(t.Context(), reply.Device, ask(t, reply.Device, second, fifth))
	refused(t, err, 403)
	s.renew(t, reply.Device, third, fifth)
	s.renew(t, reply.Device, fifth, fourth)
	s.renew(t, reply.Device, first, fifth)

	// The one before proves as long as a certificate serves after its end.
	s.clock.Add(2 * day)
	s.renew(t, reply.Device, fifth, second)
	s.clock.Add(5*day + authority.RenewGrace)
	s.renew(t, reply.Device, fifth, third)
	s.clock.Add(authority.RenewGrace)
	_, err = s.Renew(t.Context(), reply.Device, ask(t, reply.Device, second, fourth))
	refused(t, err, 403)
	s.renew(t, reply.Device, first, fourth)
}

// Fifty requests for one key at the same time are one certificate.
func TestRenewRace(t *testing.T) {
	s := newSite(t)
	reply, old := s.join(t, s.token(t, 1, time.Hour))
	key := newKey(t)
	requests := make([]wire.Renew, 50)
	for i := range requests {
		requests[i] = ask(t, reply.Device, old, key)
	}
	certificates := make([][]byte, len(requests))
	release := s.journal.Hold()
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() { certificates[i], _ = s.Renew(context.Background(), reply.Device, requests[i]) })
	}
	release()
	wg.Wait()
	for _, der := range certificates {
		sameCertificate(t, parse(t, certificates[0]), parse(t, der))
	}
	if n := s.journal.Head().Event; n != 3 {
		t.Errorf("journal has %d events, want 3", n)
	}
}

// A block that is in the journal before the renewal wins, whatever was seen when
// the request came.
func TestBlockBeatsRenewal(t *testing.T) {
	s := newSite(t)
	reply, key := s.join(t, s.token(t, 1, time.Hour))
	request := ask(t, reply.Device, key, newKey(t))
	release := s.journal.Hold()
	blocked := make(chan error, 1)
	go func() {
		_, err := s.Block(context.Background(), admin, reply.Device, "stolen")
		blocked <- err
	}()
	renewed := make(chan error, 1)
	go func() {
		_, err := s.Renew(context.Background(), reply.Device, request)
		renewed <- err
	}()
	release()
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	if err := <-renewed; err != nil {
		refused(t, err, 403) // it came second; if it came first, that was before the block
	}
	_, err := s.Renew(t.Context(), reply.Device, request)
	refused(t, err, 403)
}

// However the append ends, who asks again has one new certificate.
func TestRenewAcrossACrash(t *testing.T) {
	for name, fault := range map[string]journaltest.Fault{"not stored": journaltest.NotStored, "lost": journaltest.Lost, "lost but stored": journaltest.LostButStored} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			reply, old := s.join(t, s.token(t, 1, time.Hour))
			key := newKey(t)
			s.journal.Inject(fault)
			if _, err := s.Renew(t.Context(), reply.Device, ask(t, reply.Device, old, key)); err == nil {
				t.Fatal("renewed although the append failed")
			}
			s.restart(t)
			sameCertificate(t, s.renew(t, reply.Device, old, key), s.renew(t, reply.Device, old, key))
			if n := s.journal.Head().Event; n != 3 {
				t.Errorf("journal has %d events, want 3", n)
			}
		})
	}
}
