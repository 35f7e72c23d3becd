package authority

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// keys are all that is secret of a site.
type keys struct {
	folder *keyFolder
	first  task.Keyring // the ring of the first day, number 1

	signers map[string]ed25519.PrivateKey // of tasks and policy, by public key
	cas     map[string]issuer             // by certificate, in DER
	head    ed25519.PrivateKey
	result  *ecdh.PrivateKey
}

// siteFile is written last: once it is there, every key must be.
const siteFile = "site.json"

type siteMark struct {
	Site string `json:"site"`
}

// A keyFolder makes what is missing until the folder is complete, and from then
// on only reads.
type keyFolder struct {
	dir      string
	site     string
	complete bool
	now      time.Time
}

func openKeys(dir, site string, now time.Time) (*keys, error) {
	f := &keyFolder{dir: dir, site: site, now: now}
	if err := f.prepare(); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	k, err := f.load()
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return k, nil
}

func (f *keyFolder) prepare() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	if err := private(f.dir); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(f.dir, siteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var mark siteMark
	if err := json.Unmarshal(raw, &mark); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(f.dir, siteFile), err)
	}
	if mark.Site != f.site {
		return fmt.Errorf("%s holds the keys of site %q, not of %q: give the site's code or another folder", f.dir, mark.Site, f.site)
	}
	f.complete = true
	return nil
}

func (f *keyFolder) load() (*keys, error) {
	k := &keys{folder: f, signers: map[string]ed25519.PrivateKey{}, cas: map[string]issuer{}}
	if err := k.loadFirst(f); err != nil {
		return nil, err
	}
	var err error
	if k.head, err = keyOf(f, "head.key", newEd25519); err != nil {
		return nil, err
	}
	result, err := keyOf(f, "result.key", newECDSA)
	if err != nil {
		return nil, err
	}
	if k.result, err = result.ECDH(); err != nil {
		return nil, fmt.Errorf("result.key: %w", err)
	}
	if f.complete {
		return k, k.loadLater(f)
	}
	raw, err := json.Marshal(siteMark{f.site})
	if err != nil {
		return nil, err
	}
	if err := f.write(siteFile, append(raw, '\n')); err != nil {
		return nil, err
	}
	f.complete = true
	return k, nil
}

// loadFirst loads the keys of the first ring.
func (k *keys) loadFirst(f *keyFolder) error {
	ca, err := keyOf(f, "ca.key", newECDSA)
	if err != nil {
		return err
	}
	cert, err := f.certificate("ca.crt", ca)
	if err != nil {
		return err
	}
	k.cas[string(cert.Raw)] = issuer{cert, ca}
	task, err := keyOf(f, "task.key", newEd25519)
	if err != nil {
		return err
	}
	policy, err := keyOf(f, "policy.key", newEd25519)
	if err != nil {
		return err
	}
	k.first.Site, k.first.Number = f.site, 1
	k.first.Task = []ed25519.PublicKey{k.keep(task)}
	k.first.Policy = []ed25519.PublicKey{k.keep(policy)}
	k.first.CA = [][]byte{cert.Raw}
	return nil
}

func (k *keys) keep(key ed25519.PrivateKey) ed25519.PublicKey {
	public := key.Public().(ed25519.PublicKey)
	k.signers[string(public)] = key
	return public
}

// laterKey is the name of a key that came with a later ring, and its number.
var laterKey = regexp.MustCompile(`^(task|policy|ca)-([1-9][0-9]{0,8})\.key$`)

// loadLater loads the keys that came with later rings. Which of them are in use
// is the journal's to say; one that a crash left before it was in a ring is used
// by the next change of that number.
func (k *keys) loadLater(f *keyFolder) error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		part := laterKey.FindStringSubmatch(e.Name())
		if part == nil {
			continue
		}
		if part[1] != KeyCA {
			key, err := keyOf(f, e.Name(), newEd25519)
			if err != nil {
				return err
			}
			k.keep(key)
			continue
		}
		key, err := keyOf(f, e.Name(), newECDSA)
		if err != nil {
			return err
		}
		crt := strings.TrimSuffix(e.Name(), ".key") + ".crt"
		if _, err := os.Lstat(filepath.Join(f.dir, crt)); errors.Is(err, fs.ErrNotExist) {
			continue // the crash was between the two files
		}
		cert, err := f.certificate(crt, key)
		if err != nil {
			return err
		}
		k.cas[string(cert.Raw)] = issuer{cert, key}
	}
	return nil
}

// makeSigner makes the key that comes with a ring, durable when it returns, or
// takes the one that an earlier try left.
func (a *Authority) makeSigner(what string, ring uint32) (ed25519.PublicKey, error) {
	f := a.keys.folder.making(a.now())
	key, err := keyOf(f, fmt.Sprintf("%s-%d.key", what, ring), newEd25519)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keys.keep(key), nil
}

// makeCA is makeSigner for an authority, and returns its certificate.
func (a *Authority) makeCA(ring uint32) ([]byte, error) {
	f := a.keys.folder.making(a.now())
	name := fmt.Sprintf("%s-%d", KeyCA, ring)
	key, err := keyOf(f, name+".key", newECDSA)
	if err != nil {
		return nil, err
	}
	cert, err := f.certificate(name+".crt", key)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys.cas[string(cert.Raw)] = issuer{cert, key}
	return cert.Raw, nil
}

// making is the folder for who may make what is missing.
func (f *keyFolder) making(now time.Time) *keyFolder {
	return &keyFolder{dir: f.dir, site: f.site, now: now}
}

func newECDSA() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newEd25519() (ed25519.PrivateKey, error) {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return k, err
}

// keyOf reads the key in the named file, or makes it if it may.
func keyOf[K any](f *keyFolder, name string, make func() (K, error)) (K, error) {
	var none K
	der, err := f.read(name, "PRIVATE KEY")
	if errors.Is(err, fs.ErrNotExist) && !f.complete {
		return createKey(f, name, make)
	}
	if err != nil {
		return none, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return none, fmt.Errorf("%s: %w", filepath.Join(f.dir, name), err)
	}
	k, ok := parsed.(K)
	if !ok {
		return none, fmt.Errorf("%s: holds a key of another type (%T)", filepath.Join(f.dir, name), parsed)
	}
	if e, ok := any(k).(*ecdsa.PrivateKey); ok && e.Curve != elliptic.P256() {
		return none, fmt.Errorf("%s: key is not of the curve P-256", filepath.Join(f.dir, name))
	}
	return k, nil
}

func createKey[K any](f *keyFolder, name string, make func() (K, error)) (K, error) {
	k, err := make()
	if err != nil {
		return k, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return k, err
	}
	return k, f.write(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (f *keyFolder) certificate(name string, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := f.read(name, "CERTIFICATE")
	switch {
	case errors.Is(err, fs.ErrNotExist) && !f.complete:
		if der, err = selfSigned(f.site, key, f.now); err != nil {
			return nil, err
		}
		if err := f.write(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(f.dir, name), err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the certificate of %s beside it", filepath.Join(f.dir, name), strings.TrimSuffix(name, ".crt")+".key")
	}
	return cert, nil
}

func (f *keyFolder) read(name, block string) ([]byte, error) {
	path := filepath.Join(f.dir, name)
	raw, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && f.complete {
			return nil, fmt.Errorf("%w: put it back from a backup, for a new one would lock out every device", err)
		}
		return nil, err
	}
	if err := private(path); err != nil {
		return nil, err
	}
	p, rest := pem.Decode(raw)
	if p == nil || p.Type != block || len(rest) != 0 {
		return nil, fmt.Errorf("%s: not one PEM block %q", path, block)
	}
	return p.Bytes, nil
}

// private refuses what others than the owner can reach.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %#o, others can reach it: chmod go-rwx it", path, mode)
	}
	return nil
}

// write puts a file in place durably: file and name are on disk when it returns,
// and a reader sees the old one or the new one.
func (f *keyFolder) write(name string, data []byte) error {
	return durable.Replace(filepath.Join(f.dir, name), data)
}
