package agent

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Names of files in the agent's folder.
const (
	keyFile      = "agent.key"
	identityFile = "identity.json"
	keyringFile  = "keyring"
	toldFile     = "keyring.told"
	ownFile      = "certificate.pem"
	nextFile     = "certificate.next.pem"
	askedFile    = "certificate.key.pem"
	policyFile   = "policy.bin"
	recordFile   = "record"
	statusFile   = "status.json"
	footingFile  = "carrier.json"
	watchFolder  = "watch"
)

// ErrNotJoined is wrapped by the error of [Open] if the folder holds no
// identity.
var ErrNotJoined = errors.New("this agent has not joined a site")

// stored is identity.json.
type stored struct {
	Version int `json:"version"`
	wire.JoinReply
}

// credentials are what an agent knows itself and its site by, checked. The keys
// to trust and the certificate to show change while the agent runs.
type credentials struct {
	wire.Identity
	joined    proof             // what joining brought; its key is the device's half of resultKey for ever
	ca        *x509.Certificate // what the token named
	resultKey []byte            // of [task.ResultKey]
	listeners []string
	https     []string

	ringing sync.Mutex // held while a ring is taken
	keys    atomic.Pointer[keyring]
	telling sync.Mutex // held while the site is told of a ring
	own     wallet
}

// A proof is a certificate of this device and the key that it is for.
type proof struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// newCredentials checks that reply is complete, is for key, and fits together.
func newCredentials(reply *wire.JoinReply, key *ecdsa.PrivateKey) (*credentials, error) {
	c := &credentials{listeners: reply.Listeners, https: reply.HTTPS}
	var err error
	if c.ca, err = x509.ParseCertificate(reply.CA); err != nil {
		return nil, fmt.Errorf("certificate of the authority: %w", err)
	}
	ring, err := firstKeyring(reply, c.ca)
	if err != nil {
		return nil, err
	}
	c.keys.Store(ring)
	if c.joined, err = newProof(reply.Certificate, key, ring); err != nil {
		return nil, err
	}
	if c.Identity, err = wire.IdentityOf(c.joined.cert); err != nil {
		return nil, err
	}
	if c.Site != reply.Site || c.Device != reply.Device || c.ID.String() != reply.ID {
		return nil, fmt.Errorf("certificate: names %s, not device %d (%s) of site %s", c.URI(), reply.Device, reply.ID, reply.Site)
	}
	c.own.current = c.joined
	if err := c.deriveResultKey(reply.ResultKey); err != nil {
		return nil, err
	}
	return c, checkListeners(reply.Listeners)
}

// newProof checks that a certificate is by one of the site's authorities and for
// key.
func newProof(der []byte, key *ecdsa.PrivateKey, ring *keyring) (proof, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return proof{}, fmt.Errorf("certificate: %w", err)
	}
	if err := ring.vouches(cert); err != nil {
		return proof{}, fmt.Errorf("certificate: not by the site's authority: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return proof{}, errors.New("certificate: not for this agent's key")
	}
	return proof{key, cert}, nil
}

func (c *credentials) deriveResultKey(site []byte) error {
	public, err := ecdh.P256().NewPublicKey(site)
	if err != nil {
		return fmt.Errorf("result key: %w", err)
	}
	private, err := c.joined.key.ECDH()
	if err != nil {
		return fmt.Errorf("result key: %w", err)
	}
	c.resultKey, err = task.ResultKey(private, public, c.Site, c.ID)
	return err
}

func publicKeys(raw [][]byte) ([]ed25519.PublicKey, error) {
	if len(raw) == 0 || len(raw) > 16 {
		return nil, fmt.Errorf("%d keys, from 1 to 16 are taken", len(raw))
	}
	keys := make([]ed25519.PublicKey, len(raw))
	for i, k := range raw {
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key of %d bytes, an Ed25519 key has %d", len(k), ed25519.PublicKeySize)
		}
		keys[i] = k
	}
	return keys, nil
}

func checkListeners(list []string) error {
	if len(list) == 0 || len(list) > 64 {
		return fmt.Errorf("%d listeners, from 1 to 64 are taken", len(list))
	}
	for _, address := range list {
		if _, err := hostOf(address); err != nil {
			return fmt.Errorf("listeners: %w", err)
		}
	}
	return nil
}

// loadCredentials reads what joining left in dir.
func loadCredentials(dir string) (*credentials, error) {
	path := filepath.Join(dir, identityFile)
	b, err := readBounded(path, 2*wire.MaxJoin)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf("open %s: %w", dir, ErrNotJoined)
	}
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if s.Version != 1 {
		return nil, fmt.Errorf("read %s: version %d, this agent reads version 1", path, s.Version)
	}
	key, err := loadKey(dir)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, fmt.Errorf("read %s: the key of this agent is missing; join again with an empty folder", filepath.Join(dir, keyFile))
	}
	c, err := newCredentials(&s.JoinReply, key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	c.own.dir = dir
	return c, errors.Join(c.loadKeyring(dir), c.own.load(c))
}

func (c *credentials) caHash() [32]byte { return sha256.Sum256(c.ca.RawSubjectPublicKeyInfo) }

// loadKey returns the key in dir, nil if there is none.
func loadKey(dir string) (*ecdsa.PrivateKey, error) {
	return readKey(filepath.Join(dir, keyFile))
}

// readKey returns the key in a file, nil if there is no such file.
func readKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := readBounded(path, 16<<10)
	if b == nil || err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read %s: not PEM", path)
	}
	key, err := parseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	any, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not a P-256 key")
	}
	return key, nil
}

// keyIn returns the key in dir, which it makes and stores first if there is
// none: a join that is repeated uses the same one.
func keyIn(dir string) (*ecdsa.PrivateKey, error) {
	key, err := loadKey(dir)
	if key != nil || err != nil {
		return key, err
	}
	return makeKey(filepath.Join(dir, keyFile))
}

// makeKey makes a key and stores it before it is used.
func makeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	b, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return key, writeDurable(path, b)
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func storeIdentity(dir string, reply *wire.JoinReply) error {
	b, err := json.MarshalIndent(stored{1, *reply}, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", identityFile, err)
	}
	return writeDurable(filepath.Join(dir, identityFile), append(b, '\n'))
}

// makeDir makes the agent's folder, readable by nobody else.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make agent folder: %w", err)
	}
	return nil
}
