package task

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A Keyring is the keys that a site's agents and listeners are to trust from now
// on. Rings are numbered from 1, the ring of the site's first day; each further
// one is signed by a task key of the ring before it, so that whoever trusts one
// ring can be led to the newest, one after the other. A key that is to go stays
// in the rings until what it signed is no longer of use.
type Keyring struct {
	Site   string
	Number uint32
	Key    KeyID // the task key of ring Number-1 that signed
	At     time.Time
	Task   []ed25519.PublicKey // that sign tasks, cancels, beacons, and the next ring; the one in use first
	Policy []ed25519.PublicKey // that sign policy; the one in use first
	CA     [][]byte            // certificates in DER that vouch for listeners; the one in use first
}

// Bounds of a keyring.
const (
	MaxKeys    = 4       // of each sort
	MaxKeyring = 8 << 10 // bytes, signed
	maxCA      = 1 << 10 // bytes of one certificate
)

const keyringContext = "bugle keyring 1\n"

// Sign signs r, whose Key it sets, and returns the bytes that travel.
func (r *Keyring) Sign(key ed25519.PrivateKey) ([]byte, error) {
	r.Key = KeyIDOf(key.Public().(ed25519.PublicKey))
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("sign keyring: %w", err)
	}
	b := append([]byte(nil), keyringContext...)
	b = appendField(b, []byte(r.Site))
	b = binary.BigEndian.AppendUint32(b, r.Number)
	b = append(b, r.Key[:]...)
	b = appendTime(b, r.At)
	for _, keys := range [][]ed25519.PublicKey{r.Task, r.Policy} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(keys)))
		for _, k := range keys {
			b = append(b, k...)
		}
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.CA)))
	for _, der := range r.CA {
		b = appendField(b, der)
	}
	return seal(b, key), nil
}

// VerifyKeyring reads a keyring and checks its signature by the task keys of the
// ring before it, number-1. Whoever calls it keeps to the order.
func VerifyKeyring(signed []byte, site string, number uint32, keys ...ed25519.PublicKey) (Keyring, error) {
	r, err := ReadKeyring(signed)
	if err != nil {
		return Keyring{}, err
	}
	switch {
	case r.Site != site:
		return Keyring{}, fmt.Errorf("%w: keyring of site %q, this device is of %q", ErrRefused, r.Site, site)
	case r.Number != number:
		return Keyring{}, fmt.Errorf("%w: keyring %d where %d must be", ErrRefused, r.Number, number)
	}
	if err := verify(signed, r.Key, keys); err != nil {
		return Keyring{}, err
	}
	return r, nil
}

// ReadKeyring reads a keyring without checking who signed it.
func ReadKeyring(signed []byte) (Keyring, error) {
	body, _, err := open(signed)
	if err != nil {
		return Keyring{}, fmt.Errorf("read keyring: %w", err)
	}
	var r Keyring
	f := fields{rest: body}
	f.context(keyringContext)
	r.Site = string(f.bytes(MaxSite))
	r.Number = f.uint32()
	f.raw(r.Key[:])
	r.At = f.time()
	r.Task, r.Policy = f.keys(), f.keys()
	for range f.count() {
		r.CA = append(r.CA, f.bytes(maxCA))
	}
	if err = f.end(); err == nil {
		err = r.check()
	}
	if err != nil {
		return Keyring{}, fmt.Errorf("read keyring: %w", err)
	}
	return r, nil
}

func (r *Keyring) check() error {
	switch {
	case r.Site == "" || len(r.Site) > MaxSite:
		return errors.New("no site, or its code is too long")
	case r.Number < 2:
		return fmt.Errorf("number %d: the first ring is not signed", r.Number)
	}
	for _, n := range []int{len(r.Task), len(r.Policy), len(r.CA)} {
		if n == 0 || n > MaxKeys {
			return fmt.Errorf("%d keys of a sort, 1 to %d are taken", n, MaxKeys)
		}
	}
	for _, k := range append(r.Task[:len(r.Task):len(r.Task)], r.Policy...) {
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("key of %d bytes", len(k))
		}
	}
	for _, der := range r.CA {
		if len(der) == 0 || len(der) > maxCA {
			return fmt.Errorf("certificate of %d bytes, 1 to %d are taken", len(der), maxCA)
		}
	}
	return nil
}

func (f *fields) count() int {
	n := f.uint32()
	if f.err == nil && n > MaxKeys {
		f.err = fmt.Errorf("%d keys of a sort, at most %d are taken", n, MaxKeys)
	}
	if f.err != nil {
		return 0
	}
	return int(n)
}

func (f *fields) keys() (keys []ed25519.PublicKey) {
	for range f.count() {
		keys = append(keys, f.take(ed25519.PublicKeySize))
	}
	return keys
}
