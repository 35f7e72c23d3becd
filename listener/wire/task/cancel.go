package task

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// A Cancel tells whoever has a task and has not begun it not to begin it. It is
// signed like the task: a listener can keep one back, and can make none.
type Cancel struct {
	Site      string
	Key       KeyID
	Operation ID
	At        time.Time
}

// MaxCancel is the longest signed cancel in bytes.
const MaxCancel = 256

const cancelContext = "bugle cancel 1\n"

// Sign signs c, whose Key it sets, and returns the bytes that travel.
func (c *Cancel) Sign(key ed25519.PrivateKey) []byte {
	c.Key = KeyIDOf(key.Public().(ed25519.PublicKey))
	body := append([]byte(nil), cancelContext...)
	body = appendField(body, []byte(c.Site))
	body = append(body, c.Key[:]...)
	body = append(body, c.Operation[:]...)
	body = appendTime(body, c.At)
	return seal(body, key)
}

// VerifyCancel reads a cancel and checks its signature.
func VerifyCancel(signed []byte, site string, keys ...ed25519.PublicKey) (Cancel, error) {
	body, _, err := open(signed)
	if err != nil {
		return Cancel{}, fmt.Errorf("read cancel: %w", err)
	}
	var c Cancel
	f := fields{rest: body}
	f.context(cancelContext)
	c.Site = string(f.bytes(MaxSite))
	f.raw(c.Key[:])
	f.raw(c.Operation[:])
	c.At = f.time()
	if err := f.end(); err != nil {
		return Cancel{}, fmt.Errorf("read cancel: %w", err)
	}
	if c.Site != site {
		return Cancel{}, fmt.Errorf("%w: cancel of site %q, this device is of %q", ErrRefused, c.Site, site)
	}
	if err := verify(signed, c.Key, keys); err != nil {
		return Cancel{}, err
	}
	return c, nil
}
