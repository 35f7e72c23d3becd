package outpost

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/listener/relay"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An identity is who this listener is, and whom it trusts: its keys, and what the
// site said. What changes is on disk before it counts.
type identity struct {
	dir string
	tls *ecdsa.PrivateKey
	box ed25519.PrivateKey

	mu          sync.Mutex
	known       known
	pool        *x509.CertPool // of known.CAs
	certificate *tls.Certificate
}

// known is what listener.json holds.
type known struct {
	Joined  wire.ListenerJoinReply `json:"joined"`
	Site    relay.Site             `json:"site"`             // zero until the site was asked
	Counted bool                   `json:"counted"`          // files of the epoch may have been written
	BoxKey  []byte                 `json:"boxKey,omitempty"` // the public key that the epoch was granted for

	// The epoch whose counter is behind what the site has, if one is: the files of
	// it, and of those before, get new numbers in the next one.
	Behind     uint32    `json:"behind,omitempty"`
	Renumbered time.Time `json:"renumbered,omitzero"` // when that was done last
}

const identityFile = "listener.json"

// openIdentity loads keys and what is known, or makes keys. It has not joined
// while it has no certificate.
func openIdentity(dir string) (*identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	id := &identity{dir: dir}
	var err error
	if id.tls, err = keyIn(filepath.Join(dir, "tls.key"), func() (*ecdsa.PrivateKey, error) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}); err != nil {
		return nil, err
	}
	if id.box, err = keyIn(filepath.Join(dir, "box.key"), func() (ed25519.PrivateKey, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	var k known
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	if err == nil {
		err = id.take(k)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, identityFile), err)
	}
	return id, nil
}

// keyIn loads a key, PKCS #8 in PEM, or makes it: durable before it is used, and
// nobody's but the owner's.
func keyIn[K any](name string, make func() (K, error)) (k K, err error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if k, err = make(); err != nil {
			return k, fmt.Errorf("make %s: %w", name, err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			return k, fmt.Errorf("make %s: %w", name, err)
		}
		return k, durable.Replace(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return k, err
	}
	p, _ := pem.Decode(b)
	if p == nil {
		return k, fmt.Errorf("read %s: it holds no PEM", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(p.Bytes)
	if err != nil {
		return k, fmt.Errorf("read %s: %w", name, err)
	}
	k, ok := parsed.(K)
	if !ok {
		return k, fmt.Errorf("read %s: it holds a key of another type (%T)", name, parsed)
	}
	return k, nil
}

// request is a certificate request with the listener's key.
func (id *identity) request() ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "bugle listener"}}, id.tls)
}

// boxKey is the public half of the key that signs files.
func (id *identity) boxKey() ed25519.PublicKey { return id.box.Public().(ed25519.PublicKey) }

func (id *identity) joined() bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.certificate != nil
}

// take makes k what is known, if it holds together.
func (id *identity) take(k known) error {
	leaf, err := x509.ParseCertificate(k.Joined.Certificate)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	who, err := wire.ListenerOf(leaf)
	switch {
	case err != nil:
		return err
	case who.Name != k.Joined.Name || who.Site != k.Joined.Site:
		return fmt.Errorf("certificate is of listener %s of %s, not of %s of %s", who.Name, who.Site, k.Joined.Name, k.Joined.Site)
	case !id.tls.PublicKey.Equal(leaf.PublicKey):
		return errors.New("certificate is of another key")
	}
	pool := x509.NewCertPool()
	for _, der := range k.Joined.CAs {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate of an authority: %w", err)
		}
		pool.AddCert(ca)
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.known, id.pool = k, pool
	id.certificate = &tls.Certificate{Certificate: [][]byte{leaf.Raw, k.Joined.Issuer}, PrivateKey: id.tls, Leaf: leaf}
	return nil
}

// change changes what is known, on disk first. One goroutine changes at a time.
func (id *identity) change(change func(*known)) error {
	k := id.get()
	change(&k)
	b, err := json.MarshalIndent(&k, "", "  ")
	if err == nil {
		err = durable.Replace(filepath.Join(id.dir, identityFile), append(b, '\n'))
	}
	if err == nil {
		err = id.take(k)
	}
	if err != nil {
		return fmt.Errorf("keep what the site said: %w", err)
	}
	return nil
}

func (id *identity) get() known {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.known
}

// expired is when the certificate ended; it is zero while it is valid.
func (id *identity) expired(now time.Time) time.Time {
	id.mu.Lock()
	defer id.mu.Unlock()
	if leaf := id.certificate.Leaf; now.After(leaf.NotAfter) {
		return leaf.NotAfter
	}
	return time.Time{}
}

// server is for agents' handshakes.
func (id *identity) server(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.certificate, nil
}

func (id *identity) client(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return id.server(nil)
}

// clientCAs is who may vouch for devices.
func (id *identity) clientCAs() *x509.CertPool {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.pool
}

// trust is for connections to the site.
func (id *identity) trust(host string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: id.clientCAs(), GetClientCertificate: id.client}
}

// renewAt is when the certificate is to be renewed: after two thirds of its time,
// or at once if the authority that signed it is not trusted any more.
func (id *identity) renewAt() time.Time {
	id.mu.Lock()
	defer id.mu.Unlock()
	leaf := id.certificate.Leaf
	if !slices.ContainsFunc(id.known.Joined.CAs, func(ca []byte) bool { return bytes.Equal(ca, id.known.Joined.Issuer) }) {
		return leaf.NotBefore
	}
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2)
}

// renewed takes another certificate, and the authorities that the site named with
// it if the keyring is still the one that was known when it was asked: else they
// may be older than those of the keyring.
func (id *identity) renewed(reply *wire.ListenerRenewReply, ring uint32) error {
	return id.change(func(k *known) {
		k.Joined.Certificate, k.Joined.Issuer = reply.Certificate, reply.Issuer
		if k.Joined.Keyring == ring {
			k.Joined.CAs = reply.CAs
		}
	})
}

// learn takes a keyring if it is the next one, and says whether it did.
func (id *identity) learn(ring []byte) (bool, error) {
	k := id.get()
	number := max(1, k.Joined.Keyring) + 1
	r, err := task.ReadKeyring(ring)
	if err != nil || r.Number < number {
		return false, err
	}
	var keys []ed25519.PublicKey
	for _, raw := range k.Joined.TaskKeys {
		keys = append(keys, raw)
	}
	if r, err = task.VerifyKeyring(ring, k.Joined.Site, number, keys...); err != nil {
		return false, err
	}
	return true, id.change(func(k *known) {
		k.Joined.Keyring, k.Joined.CAs = r.Number, r.CA
		k.Joined.TaskKeys, k.Joined.PolicyKeys = raw(r.Task), raw(r.Policy)
	})
}

func raw(keys []ed25519.PublicKey) (all [][]byte) {
	for _, k := range keys {
		all = append(all, k)
	}
	return all
}

// pinned trusts whoever shows a chain that holds the authority of the token and
// is vouched for by it.
func pinned(ca [32]byte, host string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, InsecureSkipVerify: true, // for what follows
		VerifyConnection: func(c tls.ConnectionState) error {
			pool := x509.NewCertPool()
			for _, cert := range c.PeerCertificates {
				if spki(cert) == ca {
					pool.AddCert(cert)
				}
			}
			if len(c.PeerCertificates) == 0 || pool.Equal(x509.NewCertPool()) {
				return errors.New("this is not the site of the token")
			}
			_, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, DNSName: host})
			return err
		}}
}
