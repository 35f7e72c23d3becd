package agent

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A keyring is the keys of its site that an agent trusts; it is not changed. See
// [task.Keyring].
type keyring struct {
	number   uint32 // 1 is the ring of the site's first day
	tasks    []ed25519.PublicKey
	policies []ed25519.PublicKey
	cas      []*x509.Certificate
}

// firstKeyring is the ring that a joining device was told; pinned is the
// authority that its token named.
func firstKeyring(reply *wire.JoinReply, pinned *x509.Certificate) (*keyring, error) {
	r := &keyring{number: max(reply.Keyring, 1), cas: []*x509.Certificate{pinned}}
	var err error
	if r.tasks, err = publicKeys(reply.TaskKeys); err != nil {
		return nil, fmt.Errorf("task keys: %w", err)
	}
	if r.policies, err = publicKeys(reply.PolicyKeys); err != nil {
		return nil, fmt.Errorf("policy keys: %w", err)
	}
	if len(reply.CAs) > 0 {
		if r.cas, err = authorities(reply.CAs); err != nil {
			return nil, err
		}
	}
	for _, ca := range r.cas {
		if ca.Equal(pinned) {
			return r, nil
		}
	}
	return nil, errors.New("certificates of authorities: that of the token is not among them")
}

func authorities(list [][]byte) ([]*x509.Certificate, error) {
	if len(list) == 0 || len(list) > task.MaxKeys {
		return nil, fmt.Errorf("certificates of authorities: %d, from 1 to %d are taken", len(list), task.MaxKeys)
	}
	cas := make([]*x509.Certificate, len(list))
	for i, der := range list {
		var err error
		if cas[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate of an authority: %w", err)
		}
	}
	return cas, nil
}

// vouches says whether one of the authorities signed cert.
func (r *keyring) vouches(cert *x509.Certificate) error {
	var err error
	for _, ca := range r.cas {
		if err = cert.CheckSignatureFrom(ca); err == nil {
			return nil
		}
	}
	return err
}

// verifyServer checks that certs, leaf first, lead to one of the authorities and
// name host, at now give or take clockSkew.
func (r *keyring) verifyServer(certs []*x509.Certificate, host string, now time.Time) error {
	var err error
	for _, ca := range r.cas {
		if err = verifyServer(certs, ca, host, now); err == nil {
			return nil
		}
	}
	return err
}

// keyringOf turns a ring that was checked into what an agent uses.
func keyringOf(r *task.Keyring) (*keyring, error) {
	cas, err := authorities(r.CA)
	if err != nil {
		return nil, err
	}
	return &keyring{number: r.Number, tasks: r.Task, policies: r.Policy, cas: cas}, nil
}

// loadKeyring reads the ring that was stored last. It was checked before it was
// stored; one that is not newer than what joining brought is of no use.
func (c *credentials) loadKeyring(dir string) error {
	path := filepath.Join(dir, keyringFile)
	signed, err := readBounded(path, task.MaxKeyring)
	if signed == nil || err != nil {
		return err
	}
	r, err := task.ReadKeyring(signed)
	if err == nil && r.Site != c.Site {
		err = fmt.Errorf("keyring of site %q, this device is of %q", r.Site, c.Site)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if r.Number <= c.keys.Load().number {
		return nil
	}
	ring, err := keyringOf(&r)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	c.keys.Store(ring)
	return nil
}

// taskKeys are the keys that sign tasks, cancels and beacons; policyKeys those
// that sign policy.
func (c *credentials) taskKeys() []ed25519.PublicKey   { return c.keys.Load().tasks }
func (c *credentials) policyKeys() []ed25519.PublicKey { return c.keys.Load().policies }

// verifyServer checks the certificate of a listener or of the site.
func (c *credentials) verifyServer(certs []*x509.Certificate, host string, now time.Time) error {
	return c.keys.Load().verifyServer(certs, host, now)
}

// takeKeyring takes the ring that follows the one in force, if a task key of that
// one signed it, and stores it before it is trusted. One that is known already
// changes nothing; one that is out of order or not genuine is an error. While a
// session moves to another carrier, two of them bring rings.
func (c *credentials) takeKeyring(dir string, signed []byte) (taken bool, err error) {
	c.ringing.Lock()
	defer c.ringing.Unlock()
	now := c.keys.Load()
	read, err := task.ReadKeyring(signed)
	if err != nil {
		return false, err
	}
	if read.Site == c.Site && read.Number <= now.number {
		return false, nil
	}
	r, err := task.VerifyKeyring(signed, c.Site, now.number+1, now.tasks...)
	if err != nil {
		return false, err
	}
	ring, err := keyringOf(&r)
	if err != nil {
		return false, err
	}
	if err := writeDurable(filepath.Join(dir, keyringFile), signed); err != nil {
		return false, err
	}
	c.keys.Store(ring)
	return true, nil
}

// takeKeyring is [credentials.takeKeyring] for a session. What is not to be
// trusted ends it.
func (s *session) takeKeyring(m *wire.Keyring) error {
	taken, err := s.a.id.takeKeyring(s.a.dir, m.Signed)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	if taken {
		s.a.keysChanged()
	}
	return nil
}

// keysChanged follows a new ring: a policy whose key is trusted no more is
// fetched anew, for after the next start it could not be read.
func (a *Agent) keysChanged() {
	number := a.id.keys.Load().number
	a.cfg.Log.Info("new keys of the site", "ring", number)
	a.status.update(func(s *Status) { s.Keyring = number })
	if a.policy.distrusted() {
		a.pollPolicy()
	}
	a.tellKeyring()
}

// catchUp takes the site's time from a welcome. Whoever was away while keys
// changed knows its key only after the rings that come right behind the welcome.
func (s *session) catchUp(beacon []byte) error {
	err := s.beacon(beacon)
	for errors.Is(err, task.ErrRefused) {
		m, _, rerr := wire.ReadFrom(s.in, nil)
		if rerr != nil {
			return err
		}
		if _, ok := m.(*wire.Unknown); ok {
			continue
		}
		ring, ok := m.(*wire.Keyring)
		if !ok {
			return err
		}
		if kerr := s.takeKeyring(ring); kerr != nil {
			return kerr
		}
		err = s.beacon(beacon)
	}
	return err
}

// factKeyring is the fact that says which ring of keys a device trusts.
const factKeyring = "agent.keyring"

// tellKeyring tells the site which ring is trusted here, once for each but the
// first. It returns at once.
func (a *Agent) tellKeyring() {
	if a.id.keys.Load().number == 1 || !a.id.telling.TryLock() {
		return
	}
	begun := a.beside(func() {
		defer a.id.telling.Unlock()
		path := filepath.Join(a.dir, toldFile)
		for a.work.Err() == nil {
			number := strconv.FormatUint(uint64(a.id.keys.Load().number), 10)
			if told, err := readBounded(path, 16); err == nil && string(told) == number {
				return
			}
			if (host{a}).SendFacts(a.work, []action.Fact{{Name: factKeyring, Value: number}}) != nil {
				return // it stops; the next start tells
			}
			if err := replace(path, []byte(number), false); err != nil {
				a.cfg.Log.Warn("keyring is told again next time", "err", err)
				return
			}
		}
	})
	if !begun {
		a.id.telling.Unlock()
	}
}
