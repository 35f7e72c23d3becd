package task

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// MaxPolicy is the longest policy body in bytes.
const MaxPolicy = 1 << 20

// A Policy is a document of settings, signed by the site's policy key once per
// distinct body, however many devices it is for. Its body is JSON.
type Policy struct {
	Site string
	Key  KeyID
	Body []byte
}

const policyContext = "bugle policy 1\n"

// ETag names a body: the first 16 bytes of its SHA-256, in hexadecimal.
func (p *Policy) ETag() string {
	sum := sha256.Sum256(p.Body)
	return hex.EncodeToString(sum[:16])
}

// Sign signs p, whose Key it sets, and returns the bytes that travel.
func (p *Policy) Sign(key ed25519.PrivateKey) ([]byte, error) {
	if len(p.Body) > MaxPolicy {
		return nil, fmt.Errorf("sign policy: %d bytes, at most %d are taken", len(p.Body), MaxPolicy)
	}
	p.Key = KeyIDOf(key.Public().(ed25519.PublicKey))
	b := append([]byte(nil), policyContext...)
	b = appendField(b, []byte(p.Site))
	b = append(b, p.Key[:]...)
	b = appendField(b, p.Body)
	return seal(b, key), nil
}

// VerifyPolicy reads a policy and checks its signature.
func VerifyPolicy(signed []byte, site string, keys ...ed25519.PublicKey) (Policy, error) {
	n := len(signed) - ed25519.SignatureSize
	if n <= 0 || n > MaxPolicy+256 {
		return Policy{}, fmt.Errorf("read policy: %d bytes", len(signed))
	}
	var p Policy
	f := fields{rest: signed[:n]}
	f.context(policyContext)
	p.Site = string(f.bytes(MaxSite))
	f.raw(p.Key[:])
	p.Body = f.bytes(MaxPolicy)
	if err := f.end(); err != nil {
		return Policy{}, fmt.Errorf("read policy: %w", err)
	}
	if p.Site != site {
		return Policy{}, fmt.Errorf("%w: policy of site %q, this device is of %q", ErrRefused, p.Site, site)
	}
	return p, verifySplit(signed[:n], signed[n:], p.Key, keys)
}
