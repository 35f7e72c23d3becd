package authority

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// What can be changed of a site's keys.
const (
	KeyTask   = "task"
	KeyPolicy = "policy"
	KeyCA     = "ca"
)

// maxRings is how many rings a site can have; a device that was away takes them
// one after the other.
const maxRings = 1024

// A ring is a signed [task.Keyring].
type ring struct {
	signed []byte
	keys   task.Keyring
}

// ring is the newest one; the caller holds mu. Nobody changes it.
func (a *Authority) ring() *task.Keyring {
	if n := len(a.rings); n > 0 {
		return &a.rings[n-1].keys
	}
	if a.keys == nil {
		return &task.Keyring{}
	}
	return &a.keys.first
}

// numbered is the ring with a number, the newest if there is none such; the
// caller holds mu.
func (a *Authority) numbered(n uint32) *task.Keyring {
	switch {
	case n == 1 && a.keys != nil:
		return &a.keys.first
	case n >= 2 && int(n)-2 < len(a.rings):
		return &a.rings[n-2].keys
	}
	return a.ring()
}

func (a *Authority) applyKeys(p *event.KeysChanged) {
	now := a.ring()
	r, err := task.VerifyKeyring(p.Ring, a.site, now.Number+1, now.Task...)
	if err != nil || p.Number != r.Number || len(a.rings) >= maxRings {
		return // no guard of ours lets such a ring through
	}
	a.rings = append(a.rings, ring{p.Ring, r})
	a.renewPool()
}

// renewPool follows the newest ring; the caller holds mu.
func (a *Authority) renewPool() {
	a.pool, a.everCAs = poolOf(a.ring()), x509.NewCertPool()
	for n := uint32(1); n <= a.ring().Number; n++ {
		addTo(a.everCAs, a.numbered(n))
	}
}

func poolOf(r *task.Keyring) *x509.CertPool {
	pool := x509.NewCertPool()
	addTo(pool, r)
	return pool
}

func addTo(pool *x509.CertPool, r *task.Keyring) {
	for _, der := range r.CA {
		if cert, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(cert)
		}
	}
}

func (a *Authority) signedRings() [][]byte {
	all := make([][]byte, len(a.rings))
	for i := range a.rings {
		all[i] = a.rings[i].signed
	}
	return all
}

// Keyrings returns all signed rings, from number 2 on, in order: what a device
// takes that joined on the first day. Nobody changes them.
func (a *Authority) Keyrings() [][]byte {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.signedRings()
}

// errMissing says that a key that is in use is in no file.
func errMissing(what string, ring uint32) error {
	return fmt.Errorf("the %s key of ring %d is not in the folder of keys: put it back from a backup", what, ring)
}

// Check says whether all keys that are in use are there. Call it once the
// authority knows the journal.
func (a *Authority) Check() error {
	_, terr := a.taskKey()
	_, perr := a.policyKey()
	a.mu.RLock()
	defer a.mu.RUnlock()
	var cerr error
	r := a.ring()
	for _, der := range [][]byte{r.CA[0], r.CA[len(r.CA)-1]} {
		if _, ok := a.keys.cas[string(der)]; !ok {
			cerr = errMissing(KeyCA, r.Number)
		}
	}
	if err := errors.Join(terr, perr, cerr); err != nil {
		return fmt.Errorf("check keys: %w", err)
	}
	return nil
}

// taskKey is the key that signs tasks now.
func (a *Authority) taskKey() (ed25519.PrivateKey, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if k, ok := a.keys.signers[string(a.ring().Task[0])]; ok {
		return k, nil
	}
	return nil, errMissing(KeyTask, a.ring().Number)
}

func (a *Authority) policyKey() (ed25519.PrivateKey, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if k, ok := a.keys.signers[string(a.ring().Policy[0])]; ok {
		return k, nil
	}
	return nil, errMissing(KeyPolicy, a.ring().Number)
}

// deviceIssuer is the authority for certificates of devices that became durable
// under a ring: the one in use then, or now if that has gone.
func (a *Authority) deviceIssuer(number uint32) (issuer, error) {
	return a.issuer(a.issuing(number, func(r *task.Keyring) []byte { return r.CA[0] }))
}

// issuedBy is the authority that was in use when c became durable, nil if it has gone;
// the caller holds mu. What was signed again since, by another one, it does not say.
func (a *Authority) issuedBy(c *certificate) *x509.Certificate {
	der := a.numbered(c.ring).CA[0]
	if !trusts(a.ring(), der) {
		return nil
	}
	return a.keys.cas[string(der)].cert
}

// trusts tells whether r has an authority, whose certificate is der.
func trusts(r *task.Keyring, der []byte) bool {
	return slices.ContainsFunc(r.CA, func(c []byte) bool { return bytes.Equal(c, der) })
}

// serverIssuer is the same for certificates of listeners, which the oldest
// authority signs: all devices know that one.
func (a *Authority) serverIssuer(number uint32) (issuer, error) {
	return a.issuer(a.issuing(number, func(r *task.Keyring) []byte { return r.CA[len(r.CA)-1] }))
}

func (a *Authority) issuing(number uint32, of func(*task.Keyring) []byte) []byte {
	a.mu.RLock()
	defer a.mu.RUnlock()
	now := a.ring()
	der := of(a.numbered(number))
	if !trusts(now, der) {
		der = of(now)
	}
	return der
}

func (a *Authority) issuer(der []byte) (issuer, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if i, ok := a.keys.cas[string(der)]; ok {
		return i, nil
	}
	return issuer{}, errMissing(KeyCA, a.ring().Number)
}

// pinned tells whether a token's hash is of an authority that is trusted; the
// caller holds mu.
func (a *Authority) pinned(hash [32]byte) bool {
	_, ok := a.pinnedCA(hash)
	return ok
}

func (a *Authority) pinnedCA(hash [32]byte) (*x509.Certificate, bool) {
	for _, der := range a.ring().CA {
		if i, ok := a.keys.cas[string(der)]; ok && caHash(i.cert) == hash {
			return i.cert, true
		}
	}
	return nil, false
}

// RotateKey makes a key of a sort ([KeyTask], [KeyPolicy], [KeyCA]) that takes
// over at once, and a ring that says so, signed by the task key before. The old
// key stays trusted until [Authority.RetireKeys]. It returns the number of the
// event.
//
// The key is on disk before the ring is in the journal. What a crash between the
// two leaves is used by the next try.
func (a *Authority) RotateKey(ctx context.Context, actor event.Actor, what, reason string) (uint64, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	next, err := a.nextRing(what)
	if err != nil {
		return 0, err
	}
	switch what {
	case KeyCA:
		der, err := a.makeCA(next.Number)
		if err != nil {
			return 0, fmt.Errorf("rotate %s key: %w", what, err)
		}
		next.CA = slices.Concat([][]byte{der}, next.CA)
	default:
		public, err := a.makeSigner(what, next.Number)
		if err != nil {
			return 0, fmt.Errorf("rotate %s key: %w", what, err)
		}
		list := next.list(what)
		*list = slices.Concat([]ed25519.PublicKey{public}, *list)
	}
	return a.changeKeys(ctx, actor, next, what, reason, nil)
}

// A newRing is a ring that is being made.
type newRing struct{ task.Keyring }

// list is the keys of a sort that is not [KeyCA].
func (r *newRing) list(what string) *[]ed25519.PublicKey {
	if what == KeyTask {
		return &r.Task
	}
	return &r.Policy
}

// nextRing begins the ring that follows the newest one.
func (a *Authority) nextRing(what string) (*newRing, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	now := a.ring()
	next := &newRing{task.Keyring{Site: a.site, Number: now.Number + 1, At: a.now().UTC(),
		Task: slices.Clone(now.Task), Policy: slices.Clone(now.Policy), CA: slices.Clone(now.CA)}}
	var count int
	switch what {
	case KeyCA:
		count = len(next.CA)
	case KeyTask, KeyPolicy:
		count = len(*next.list(what))
	default:
		return nil, refuse(http.StatusUnprocessableEntity, titleKeys, "There is no key %q: it is %s, %s or %s.", what, KeyTask, KeyPolicy, KeyCA)
	}
	switch {
	case len(a.rings) >= maxRings:
		return nil, refuse(http.StatusConflict, titleKeys, "The site has changed its keys %d times; that is as often as can be.", maxRings)
	case count >= task.MaxKeys:
		return nil, refuse(http.StatusConflict, titleKeys, "%d %s keys are trusted already; retire the old ones first.", count, what)
	}
	return next, nil
}

// changeKeys signs the ring and appends it; more is checked before.
func (a *Authority) changeKeys(ctx context.Context, actor event.Actor, next *newRing, what, reason string, more func() error) (uint64, error) {
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("change keys: %w", err)
	}
	key, err := a.taskKey() // of the ring before
	if err != nil {
		return 0, fmt.Errorf("change keys: %w", err)
	}
	signed, err := next.Sign(key)
	if err != nil {
		return 0, fmt.Errorf("change keys: %w", err)
	}
	e := a.event(actor, &event.KeysChanged{Number: next.Number, Ring: signed, What: what, Reason: reason})
	guard := func() error {
		a.mu.RLock()
		now := a.ring().Number
		a.mu.RUnlock() // more may ask the authority
		if now+1 != next.Number {
			return refuse(http.StatusConflict, titleKeys, "The keys were changed meanwhile; look at them and decide again.")
		}
		if more != nil {
			return more()
		}
		return nil
	}
	return appended(j.AppendIf(ctx, guard, e), e, "change keys")
}

// RetireKeys makes a ring without the old keys of a sort: what they signed is
// trusted no more. inUse, which may be nil, is asked just before with the ids of
// the keys that go, and refuses by an error; for [KeyCA] the ids are none, and
// the authority itself refuses while a device has no certificate of the new one,
// unless force is set.
func (a *Authority) RetireKeys(ctx context.Context, actor event.Actor, what, reason string, force bool, inUse func([]task.KeyID) error) (uint64, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	next, old, err := a.withoutOld(what)
	if err != nil {
		return 0, err
	}
	guard := func() error {
		if force {
			return nil
		}
		if what == KeyCA {
			a.mu.RLock()
			n := a.vouchedByOld()
			a.mu.RUnlock()
			if n > 0 {
				return refuse(http.StatusConflict, titleKeys, "%d devices have a certificate of the old authority and could not connect any more; wait until they have renewed it, or force it.", n)
			}
		}
		if inUse != nil {
			return inUse(old)
		}
		return nil
	}
	return a.changeKeys(ctx, actor, next, what, reason, guard)
}

// withoutOld begins the ring without the old keys of a sort, and says which go.
func (a *Authority) withoutOld(what string) (*newRing, []task.KeyID, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	now := a.ring()
	next := &newRing{task.Keyring{Site: a.site, Number: now.Number + 1, At: a.now().UTC(),
		Task: slices.Clone(now.Task), Policy: slices.Clone(now.Policy), CA: slices.Clone(now.CA)}}
	var old []task.KeyID
	switch what {
	case KeyCA:
		next.CA = next.CA[:1]
	case KeyTask, KeyPolicy:
		list := next.list(what)
		for _, k := range (*list)[1:] {
			old = append(old, task.KeyIDOf(k))
		}
		*list = (*list)[:1]
	default:
		return nil, nil, refuse(http.StatusUnprocessableEntity, titleKeys, "There is no key %q: it is %s, %s or %s.", what, KeyTask, KeyPolicy, KeyCA)
	}
	switch {
	case len(a.rings) >= maxRings:
		return nil, nil, refuse(http.StatusConflict, titleKeys, "The site has changed its keys %d times; that is as often as can be.", maxRings)
	case what == KeyCA && len(now.CA) == 1, what != KeyCA && len(old) == 0:
		return nil, nil, refuse(http.StatusConflict, titleKeys, "Only one %s key is trusted; there is nothing to retire.", what)
	}
	return next, old, nil
}

// vouchedByOld counts the devices that may come and whose certificate is not by
// the authority in use; the caller holds mu.
func (a *Authority) vouchedByOld() (n int) {
	use, now := a.ring().CA[0], a.now()
	for i := range a.devices {
		d := a.device(uint32(i))
		if d == nil || d.blocked {
			continue
		}
		c := d.certificate()
		if now.Before(c.expires.Add(RenewGrace)) && !bytes.Equal(a.numbered(c.ring).CA[0], use) {
			n++
		}
	}
	return n
}

// sameServer tells whether the server authority of a ring is the one of now; the
// caller holds mu.
func (a *Authority) sameServer(number uint32) bool {
	of := func(r *task.Keyring) []byte { return r.CA[len(r.CA)-1] }
	return bytes.Equal(of(a.numbered(number)), of(a.ring()))
}

// KeyState is one key that is trusted.
type KeyState struct {
	What  string // [KeyTask], [KeyPolicy], [KeyCA]
	ID    string // hexadecimal
	Since uint32 // the ring that brought it
	InUse bool   // it signs; the others are only trusted
}

// Ring is what is known of one ring.
type Ring struct {
	Number uint32
	At     time.Time // zero for the first
	Keys   []KeyState
}

// Ring returns the newest ring, and the number of devices whose certificate is
// by an authority that is not in use any more.
func (a *Authority) Ring() (r Ring, old int) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	now := a.ring()
	r.Number, r.At = now.Number, now.At
	for i, k := range now.Task {
		r.Keys = append(r.Keys, KeyState{KeyTask, task.KeyIDOf(k).String(), a.since(k), i == 0})
	}
	for i, k := range now.Policy {
		r.Keys = append(r.Keys, KeyState{KeyPolicy, task.KeyIDOf(k).String(), a.since(k), i == 0})
	}
	for i, c := range now.CA {
		r.Keys = append(r.Keys, KeyState{KeyCA, fingerprint(c), a.since(c), i == 0})
	}
	return r, a.vouchedByOld()
}

// since is the number of the first ring that holds a key or certificate; the
// caller holds mu.
func (a *Authority) since(key []byte) uint32 {
	has := func(r *task.Keyring) bool {
		return slices.ContainsFunc(slices.Concat(r.Task, r.Policy), func(k ed25519.PublicKey) bool { return bytes.Equal(k, key) }) ||
			slices.ContainsFunc(r.CA, func(c []byte) bool { return bytes.Equal(c, key) })
	}
	for n := uint32(1); n <= a.ring().Number; n++ {
		if has(a.numbered(n)) {
			return n
		}
	}
	return 0
}

// ListenerCAs is the pool for certificates of listeners that run apart: all
// authorities that ever were. A listener cannot renew its certificate before the
// authority that signed it is retired, only after. That a retired one may have
// been stolen does not matter here: whoever uses this pool asks
// [Authority.AdmitListener] too, which takes no key that is not on record.
func (a *Authority) ListenerCAs() *x509.CertPool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.everCAs
}
