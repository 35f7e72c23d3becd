package authority

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of what is kept to save work.
const (
	maxResultKeys = 1 << 17
	maxPolicies   = 256
	beaconAge     = 10 * time.Second
)

// SignTask signs t, whose Site and Key it sets.
func (a *Authority) SignTask(t *task.Task) (task.Signed, error) {
	t.Site = a.site
	key, err := a.taskKey()
	if err != nil {
		return nil, fmt.Errorf("sign task: %w", err)
	}
	return t.Sign(key)
}

// SignCancel signs c, the word that whoever has not begun an operation must not.
// It sets Site and Key.
func (a *Authority) SignCancel(c *task.Cancel) ([]byte, error) {
	key, err := a.taskKey()
	if err != nil {
		return nil, fmt.Errorf("sign cancel: %w", err)
	}
	c.Site = a.site
	return c.Sign(key), nil
}

// TaskPublicKeys are the keys that sign tasks, cancels and beacons and are
// trusted, the one in use first.
func (a *Authority) TaskPublicKeys() []ed25519.PublicKey {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.ring().Task)
}

// PolicyPublicKeys are the keys that sign policy and are trusted, the one in use
// first.
func (a *Authority) PolicyPublicKeys() []ed25519.PublicKey {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.ring().Policy)
}

// HeadKey is the key that signs checkpoints of the journal, for whoever keeps
// the tree.
func (a *Authority) HeadKey() ed25519.PrivateKey { return a.keys.head }

// HeadPublicKey is the key that signs checkpoints of the journal.
func (a *Authority) HeadPublicKey() ed25519.PublicKey {
	return a.keys.head.Public().(ed25519.PublicKey)
}

// policyCache keeps signed bodies; a site has few.
type policyCache struct {
	mu     sync.Mutex
	key    task.KeyID // that signed them
	signed map[[32]byte]signedPolicy
}

type signedPolicy struct {
	etag   string
	signed []byte
}

// SignPolicy signs a policy body, each distinct one once as long as the key is
// the same, and returns its ETag and the bytes that travel, which nobody changes.
func (a *Authority) SignPolicy(body []byte) (etag string, signed []byte, err error) {
	key, err := a.policyKey()
	if err != nil {
		return "", nil, fmt.Errorf("sign policy: %w", err)
	}
	sum, id := sha256.Sum256(body), task.KeyIDOf(key.Public().(ed25519.PublicKey))
	c := &a.policies
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key != id {
		c.key, c.signed = id, nil
	}
	if p, ok := c.signed[sum]; ok {
		return p.etag, p.signed, nil
	}
	p := task.Policy{Site: a.site, Body: body}
	if signed, err = p.Sign(key); err != nil {
		return "", nil, err
	}
	if c.signed == nil || len(c.signed) >= maxPolicies {
		c.signed = map[[32]byte]signedPolicy{}
	}
	c.signed[sum] = signedPolicy{p.ETag(), signed}
	return p.ETag(), signed, nil
}

// beaconCache keeps the newest beacon that was made for nobody in particular.
type beaconCache struct {
	mu     sync.Mutex
	at     time.Time
	key    task.KeyID // that signed
	signed []byte
}

// Beacon signs the site's time. One with the zero nonce may be up to ten seconds
// old; one for a nonce is made anew. Nobody changes the bytes.
func (a *Authority) Beacon(nonce [16]byte) ([]byte, error) {
	now := a.now().UTC()
	b := task.Beacon{Site: a.site, Time: now, Nonce: nonce}
	key, err := a.taskKey()
	if err != nil {
		return nil, fmt.Errorf("sign beacon: %w", err)
	}
	if nonce != [16]byte{} {
		return b.Sign(key), nil
	}
	id := task.KeyIDOf(key.Public().(ed25519.PublicKey))
	c := &a.beacons
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.at); c.key != id || age < 0 || age >= beaconAge {
		c.at, c.key, c.signed = now, id, b.Sign(key)
	}
	return c.signed, nil
}

// resultKeys keeps keys that cost an ECDH each.
type resultKeys struct {
	mu   sync.RWMutex
	keys map[uint32][]byte
}

// ResultKey returns the key that the site shares with a device, for
// [task.Result.Genuine]; ok is false if there is no such device. Nobody changes
// the key.
func (a *Authority) ResultKey(device uint32) (key []byte, ok bool) {
	c := &a.results
	c.mu.RLock()
	key, ok = c.keys[device]
	c.mu.RUnlock()
	if ok {
		return key, true
	}
	key, err := a.deriveResultKey(device)
	if err != nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys = map[uint32][]byte{}
	}
	if len(c.keys) >= maxResultKeys {
		for other := range c.keys { // whichever comes first makes room
			delete(c.keys, other)
			break
		}
	}
	c.keys[device] = key
	return key, true
}

// A result key costs some 50 us. So many are derived ahead of need at a time, so
// often: 2 % of a processor, until there are all; new devices are looked for every
// second.
const (
	deriveAtOnce = 8
	derivePause  = 20 * time.Millisecond
	deriveNew    = time.Second
)

// DeriveResultKeys derives the keys of all devices at leisure, until ctx ends: so the
// first answers after a start, which may be those of a whole fleet, need not wait for
// them.
func (a *Authority) DeriveResultKeys(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for next := uint32(1); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		until := min(next+deriveAtOnce, a.endOfDevices(), maxResultKeys)
		for ; next < until; next++ {
			a.ResultKey(next) // there is none of a number that nobody has
		}
		if next < a.endOfDevices() && next < maxResultKeys {
			pause.Reset(derivePause)
		} else {
			pause.Reset(deriveNew)
		}
	}
}

// endOfDevices is the first number that no device has had.
func (a *Authority) endOfDevices() uint32 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return max(uint32(len(a.devices)), 1)
}

func (a *Authority) deriveResultKey(number uint32) ([]byte, error) {
	a.mu.RLock()
	known := a.device(number)
	if known == nil {
		a.mu.RUnlock()
		return nil, fmt.Errorf("derive result key: no device %d", number)
	}
	d := *known
	a.mu.RUnlock()
	public, err := ecdh.P256().NewPublicKey(d.first.public)
	if err != nil {
		return nil, fmt.Errorf("derive result key of device %d: %w", number, err)
	}
	return task.ResultKey(a.keys.result, public, a.site, d.id)
}
