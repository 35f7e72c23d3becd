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
	"runtime"
	"time"

	"github.com/bugle-fleet/bugle/journal/durable"
)

// keys are all that is secret of a site.
type keys struct {
	ca     *ecdsa.PrivateKey
	cert   *x509.Certificate
	task   ed25519.PrivateKey
	policy ed25519.PrivateKey
	head   ed25519.PrivateKey
	result *ecdh.PrivateKey
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
	k := new(keys)
	var err error
	if k.ca, err = keyOf(f, "ca.key", newECDSA); err != nil {
		return nil, err
	}
	if k.cert, err = f.certificate(k.ca); err != nil {
		return nil, err
	}
	if k.task, err = keyOf(f, "task.key", newEd25519); err != nil {
		return nil, err
	}
	if k.policy, err = keyOf(f, "policy.key", newEd25519); err != nil {
		return nil, err
	}
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
		return k, nil
	}
	raw, err := json.Marshal(siteMark{f.site})
	if err != nil {
		return nil, err
	}
	return k, f.write(siteFile, append(raw, '\n'))
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

func (f *keyFolder) certificate(key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := f.read("ca.crt", "CERTIFICATE")
	switch {
	case errors.Is(err, fs.ErrNotExist) && !f.complete:
		if der, err = selfSigned(f.site, key, f.now); err != nil {
			return nil, err
		}
		if err := f.write("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(f.dir, "ca.crt"), err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the certificate of ca.key beside it", filepath.Join(f.dir, "ca.crt"))
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
