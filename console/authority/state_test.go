package authority_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func TestTokens(t *testing.T) {
	s := newSite(t)
	token := s.token(t, 3, time.Hour)
	if back, err := wire.ParseToken(token.String()); err != nil || back != token || back.CA != s.CAHash() {
		t.Errorf("token does not read back: %v", err)
	}
	created := s.events(t)[0].Payload.(*event.TokenCreated)
	if created.Hash == [32]byte{} || string(created.Hash[:]) == token.Secret {
		t.Error("the journal holds the secret")
	}
	if state, ok := s.Token(token.ID); !ok || state.Uses != 3 || state.Used != 0 || state.Revoked || !state.Expires.Equal(s.clock.Now().Add(time.Hour)) {
		t.Errorf("state %+v", state)
	}
	for _, bad := range []struct {
		uses uint32
		ttl  time.Duration
	}{{0, time.Hour}, {authority.MaxTokenUses + 1, time.Hour}, {1, 0}, {1, -time.Hour}, {1, authority.MaxTokenTTL + 1}} {
		_, _, err := s.CreateToken(t.Context(), admin, bad.uses, bad.ttl)
		refused(t, err, 422)
	}
	number, err := s.RevokeToken(t.Context(), admin, token.ID)
	if err != nil || number != 2 {
		t.Fatalf("event %d, %v", number, err)
	}
	if again, err := s.RevokeToken(t.Context(), admin, token.ID); err != nil || again != number {
		t.Errorf("revoked again by event %d, %v", again, err)
	}
	_, err = s.RevokeToken(t.Context(), admin, "nobody")
	refused(t, err, 404)
	if _, ok := s.Token("nobody"); ok {
		t.Error("there is a token that was never made")
	}
}

func TestBlock(t *testing.T) {
	s := newSite(t)
	token := s.token(t, 3, time.Hour)
	for range 3 {
		s.join(t, token)
	}
	if all := s.Devices(); !slices.Equal(all, []uint32{1, 2, 3}) {
		t.Errorf("devices %v", all)
	}
	_, err := s.Unblock(t.Context(), admin, 2, "")
	refused(t, err, 409)
	for _, nobody := range []uint32{0, 4, 1 << 31} {
		_, err := s.Block(t.Context(), admin, nobody, "")
		refused(t, err, 404)
	}
	number, err := s.Block(t.Context(), admin, 2, "stolen")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Block(t.Context(), admin, 2, "stolen"); err != nil || again != number {
		t.Errorf("blocked again by event %d, %v", again, err)
	}
	if !slices.Equal(s.Blocked(), []uint32{2}) {
		t.Errorf("blocked %v", s.Blocked())
	}
	s.restart(t)
	if blocked, ok := s.IsBlocked(2); !blocked || !ok {
		t.Error("a restart unblocked the device")
	}
	if blocked, ok := s.IsBlocked(9); blocked || ok {
		t.Error("there is a device that never joined")
	}
	if _, err := s.Unblock(t.Context(), admin, 2, "found"); err != nil || len(s.Blocked()) != 0 {
		t.Errorf("%v, blocked %v", err, s.Blocked())
	}
	p := s.events(t)[4].Payload.(*event.DeviceBlocked)
	if p.Device != 2 || p.Reason != "stolen" {
		t.Errorf("event says %+v", p)
	}
}

func TestListeners(t *testing.T) {
	s := newSite(t)
	first, _, _ := ed25519.GenerateKey(nil)
	second, _, _ := ed25519.GenerateKey(nil)
	for want, key := range []ed25519.PublicKey{first, second} {
		epoch, err := s.GrantListener(t.Context(), "BGL1", key)
		if err != nil || epoch != uint32(want+1) {
			t.Fatalf("epoch %d, %v", epoch, err)
		}
	}
	if epoch, err := s.GrantListener(t.Context(), "BGL2", first); err != nil || epoch != 1 {
		t.Errorf("another listener has epoch %d, %v", epoch, err)
	}
	s.restart(t)
	for epoch, want := range map[uint32]ed25519.PublicKey{1: first, 2: second} {
		if k, ok := s.ListenerKey("BGL1", epoch); !ok || !k.Equal(want) {
			t.Errorf("epoch %d has another key", epoch)
		}
	}
	if _, ok := s.ListenerKey("BGL1", 3); ok {
		t.Error("there is a key of an epoch that was not granted")
	}
	if _, ok := s.ListenerKey("BGL9", 1); ok {
		t.Error("there is a key of a listener that was not admitted")
	}
	for _, name := range []string{"", "AB", "bgl1", "BGL 1", "../X"} {
		_, err := s.GrantListener(t.Context(), name, first)
		refused(t, err, 422)
	}
	_, err := s.GrantListener(t.Context(), "BGL1", first[:31])
	refused(t, err, 422)
	var wg sync.WaitGroup
	epochs := make([]uint32, 20)
	for i := range epochs {
		wg.Go(func() { epochs[i], _ = s.GrantListener(context.Background(), "BGL3", first) })
	}
	wg.Wait()
	slices.Sort(epochs)
	for i, e := range epochs {
		if e != uint32(i+1) {
			t.Fatalf("epochs of a race are %v", epochs)
		}
	}
}

func TestServerCertificate(t *testing.T) {
	s := newSite(t)
	if _, err := s.ServerCertificate(nil); err == nil {
		t.Error("made a certificate for no host")
	}
	cert, err := s.ServerCertificate([]string{"localhost", "127.0.0.1", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.Certificate) != 2 || string(cert.Certificate[1]) != string(s.CACert().Raw) {
		t.Error("the chain does not end with the CA")
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: s.ClientCAs(), DNSName: host, CurrentTime: s.clock.Now()}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: s.ClientCAs(), DNSName: "example.org", CurrentTime: s.clock.Now()}); err == nil {
		t.Error("good for any host")
	}
}

func TestServerCertificatesAreRenewed(t *testing.T) {
	s := newSite(t)
	get, err := s.ServerCertificates([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		c, err := get(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.SerialNumber.String()
	}
	first := serial()
	s.clock.Add(59 * 24 * time.Hour)
	if serial() != first {
		t.Error("renewed too early")
	}
	s.clock.Add(2 * 24 * time.Hour)
	if serial() == first {
		t.Error("not renewed at two thirds")
	}
}

func TestSignTask(t *testing.T) {
	s := newSite(t)
	targets, err := task.NewTargets(slices.Values([]uint32{1, 2, 300}))
	if err != nil {
		t.Fatal(err)
	}
	now := s.clock.Now()
	unsigned := task.Task{Operation: task.NewID(now), Kind: "scan.quick", Root: targets.Root(), Leaves: targets.Leaves(), NotBefore: now, DeliverBy: now.Add(time.Hour), Requested: now}
	signed, err := s.SignTask(&unsigned)
	if err != nil {
		t.Fatal(err)
	}
	got, err := signed.Verify("P01", s.TaskPublicKeys()...)
	if err != nil || got.Kind != "scan.quick" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := signed.Verify("P01", s.PolicyPublicKeys()...); err == nil {
		t.Error("the policy key signs tasks")
	}
	if _, err := s.SignTask(&task.Task{}); err == nil {
		t.Error("signed a task without anything")
	}
}

func TestSignPolicy(t *testing.T) {
	s := newSite(t)
	etag, signed, err := s.SignPolicy([]byte(`{"keepAliveSeconds":60}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := task.VerifyPolicy(signed, "P01", s.PolicyPublicKeys()...)
	if err != nil || p.ETag() != etag {
		t.Errorf("%v, ETag %s", err, etag)
	}
	if _, again, _ := s.SignPolicy([]byte(`{"keepAliveSeconds":60}`)); &again[0] != &signed[0] {
		t.Error("the same body was signed twice")
	}
	if other, _, _ := s.SignPolicy([]byte(`{}`)); other == etag {
		t.Error("another body has the same ETag")
	}
	if _, _, err := s.SignPolicy(make([]byte, task.MaxPolicy+1)); err == nil {
		t.Error("signed a body that is too long")
	}
	for i := range 1000 {
		if _, _, err := s.SignPolicy([]byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBeacon(t *testing.T) {
	s := newSite(t)
	read := func(nonce [16]byte) time.Time {
		t.Helper()
		signed, err := s.Beacon(nonce)
		if err != nil {
			t.Fatal(err)
		}
		b, err := task.VerifyBeacon(signed, "P01", s.TaskPublicKeys()...)
		if err != nil || b.Nonce != nonce {
			t.Fatalf("nonce %x, %v", b.Nonce, err)
		}
		return b.Time
	}
	start := s.clock.Now()
	if !read([16]byte{}).Equal(start) {
		t.Error("another time than the site's")
	}
	s.clock.Add(9 * time.Second)
	if !read([16]byte{}).Equal(start) {
		t.Error("a beacon for nobody was made anew within ten seconds")
	}
	if !read([16]byte{1}).Equal(s.clock.Now()) {
		t.Error("a beacon for a nonce is old")
	}
	s.clock.Add(2 * time.Second)
	if !read([16]byte{}).Equal(s.clock.Now()) {
		t.Error("a beacon for nobody is older than ten seconds")
	}
	s.clock.Add(-time.Hour)
	if !read([16]byte{}).Equal(s.clock.Now()) {
		t.Error("a beacon of the future after a step of the clock")
	}
}
