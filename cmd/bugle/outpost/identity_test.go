package outpost

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// sign makes a certificate of key, by itself if by is nil.
func sign(t *testing.T, key *ecdsa.PrivateKey, uri *url.URL, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	if uri != nil {
		c.URIs = []*url.URL{uri}
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// The authorities that come with a renewed certificate count, but not against a
// keyring that came while the site was asked.
func TestRenewedBesideAKeyring(t *testing.T) {
	id, err := openIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var cas [3][]byte
	var keys [3]*ecdsa.PrivateKey
	for i := range cas {
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		cas[i] = sign(t, keys[i], nil, nil)
	}
	uri := wire.ListenerIdentity{Site: "P01", Name: "EAST01"}.URI()
	if err := id.change(func(k *known) {
		k.Joined = wire.ListenerJoinReply{Site: "P01", Name: "EAST01", Certificate: sign(t, id.tls, uri, keys[0]), Issuer: cas[0], CAs: cas[:1], Keyring: 2}
	}); err != nil {
		t.Fatal(err)
	}
	reply := &wire.ListenerRenewReply{Certificate: sign(t, id.tls, uri, keys[0]), Issuer: cas[0], CAs: cas[:2]}
	trusts := func(when string, want ...[]byte) {
		t.Helper()
		k := id.get().Joined
		if !bytes.Equal(bytes.Join(k.CAs, nil), bytes.Join(want, nil)) || !bytes.Equal(k.Certificate, reply.Certificate) {
			t.Errorf("%s: %d authorities, want %d", when, len(k.CAs), len(want))
		}
	}
	if err := id.renewed(reply, 2); err != nil {
		t.Fatal(err)
	}
	trusts("no other keyring", cas[:2]...)
	if err := id.change(func(k *known) { k.Joined.Keyring, k.Joined.CAs = 3, cas[:] }); err != nil { // learnt meanwhile
		t.Fatal(err)
	}
	reply.Certificate = sign(t, id.tls, uri, keys[0])
	if err := id.renewed(reply, 2); err != nil {
		t.Fatal(err)
	}
	trusts("a keyring came meanwhile", cas[:]...)
}
