package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A proof holds for the one request, site, device and key that it was made of.
func TestRenewIsProven(t *testing.T) {
	key := newKey(t)
	m := &Renew{CSR: []byte("certificate request")}
	if m.ProvenBy(&key.PublicKey, "P01", 7) {
		t.Error("a request without a proof is proven")
	}
	if err := m.Prove(key, "P01", 7); err != nil {
		t.Fatal(err)
	}
	if !m.ProvenBy(&key.PublicKey, "P01", 7) || len(m.Proof) > MaxRenewProof {
		t.Fatalf("the proof of %d bytes does not hold", len(m.Proof))
	}
	signed := sha256.Sum256([]byte("bugle renew 1\nP01\n7\ncertificate request"))
	if !ecdsa.VerifyASN1(&key.PublicKey, signed[:], m.Proof) {
		t.Error("something else is signed than PROTOCOL.md says")
	}
	other := newKey(t)
	for name, holds := range map[string]bool{
		"another key":     m.ProvenBy(&other.PublicKey, "P01", 7),
		"another site":    m.ProvenBy(&key.PublicKey, "P02", 7),
		"another device":  m.ProvenBy(&key.PublicKey, "P01", 70),
		"another request": (&Renew{CSR: []byte("certificate Request"), Proof: m.Proof}).ProvenBy(&key.PublicKey, "P01", 7),
		"a cut proof":     (&Renew{CSR: m.CSR, Proof: m.Proof[:len(m.Proof)-1]}).ProvenBy(&key.PublicKey, "P01", 7),
		"a longer proof":  (&Renew{CSR: m.CSR, Proof: append(m.Proof[:len(m.Proof):len(m.Proof)], 0)}).ProvenBy(&key.PublicKey, "P01", 7),
	} {
		if holds {
			t.Errorf("%s: the proof holds", name)
		}
	}
}

// A proof that was made once holds for ever.
func TestRenewProofGolden(t *testing.T) {
	spki, _ := hex.DecodeString(goldenKey)
	proof, _ := hex.DecodeString(goldenProof)
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	m := &Renew{CSR: []byte("certificate request"), Proof: proof}
	if !m.ProvenBy(key.(*ecdsa.PublicKey), "P01", 300) {
		t.Error("the proof does not hold")
	}
}

// Made with openssl dgst -sha256 -sign.
const (
	goldenKey   = "3059301306072a8648ce3d020106082a8648ce3d03010703420004795488e439d8c9259186ec9dd7c8dffef2a79ca4874ce5aebbfc70e4e0784cd6811da29128e3458b1128435f114ebb0737abd5c8877ee7e48dc482b05b15a080"
	goldenProof = "3044022021dc4cb7c7f6b8204b1c1cf8ca7d097e62bc1d22a67a9e2999e4a84aa09a6bef022053de3e0c352804782feefb7a987943e07548c9124990e21ea4e3895de1f59280"
)
