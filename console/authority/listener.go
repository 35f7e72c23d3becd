package authority

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// MaxEpoch is the last epoch of a listener: names of box files have 8 digits for
// it.
const MaxEpoch = 99_999_999

// listenerValidity is how long the certificate of a listener that runs apart is
// good; it renews it long before.
const listenerValidity = 30 * 24 * time.Hour

// A listener is what is known of a name.
type listener struct {
	newest  uint32
	epochs  map[uint32]*grant
	revoked uint64 // the event, or 0
	token   string // of the newest epoch; empty for the one in the site's own process
	tcp     []string
	https   []string
	cert    certificate // the newest; none for the one in the site's own process
	before  certificate // the one before, whose listener may not have the newest
}

// A grant is an epoch of a listener.
type grant struct {
	key   ed25519.PublicKey
	raw   []byte          // of scope, as it is in the journal
	scope *roaring.Bitmap // nil: all devices
}

// newGrant reads the bitmap of an event. One that cannot be read, which no guard
// of ours lets through, is nobody.
func newGrant(key, scope []byte) *grant {
	g := &grant{key: key, raw: scope}
	if len(scope) > 0 {
		g.scope = roaring.New()
		if g.scope.UnmarshalBinary(scope) != nil {
			g.scope = roaring.New()
		}
	}
	return g
}

func (a *Authority) applyGranted(p *event.ListenerGranted) {
	l := a.listeners[p.Listener]
	if l == nil {
		l = &listener{epochs: map[uint32]*grant{}}
		a.listeners[p.Listener] = l
	}
	l.epochs[p.Epoch] = newGrant(p.PublicKey, p.Scope)
	if p.Epoch < l.newest {
		return
	}
	if l.token != p.Token { // another machine, whose certificate is in the next event
		if t := a.tokens[p.Token]; t != nil {
			t.used++
		}
		l.cert, l.before = certificate{}, certificate{}
	}
	l.newest, l.token, l.tcp, l.https = p.Epoch, p.Token, p.TCP, p.HTTPS
}

func (a *Authority) applyRevoked(p *event.ListenerRevoked, number uint64) {
	if l := a.listeners[p.Listener]; l != nil && l.revoked == 0 {
		l.revoked = number
	}
}

// GrantListener gives the listener in the site's own process the right to sign
// box files with a key, under the next epoch of its name, which has 3 to 16 of
// A-Z and 0-9. Files of earlier epochs that are still under way stay good. A
// name that a listener joined with is refused.
func (a *Authority) GrantListener(ctx context.Context, name string, pub ed25519.PublicKey) (epoch uint32, err error) {
	if err := checkListener(name, pub); err != nil {
		return 0, err
	}
	p := &event.ListenerGranted{Listener: name, PublicKey: bytes.Clone(pub)}
	return a.grant(ctx, event.Actor{Issuer: "local", Subject: name}, p, func(l *listener) error {
		if l != nil && l.token != "" {
			return refuse(http.StatusConflict, titleListener, "%s is the name of a listener that runs apart; take another one.", name)
		}
		return nil
	})
}

// GrantEpoch gives a listener that runs apart the next epoch of its name: the
// counter of its files is gone, or its key is another one. The caller has checked
// who asks ([Authority.AdmitListener]).
func (a *Authority) GrantEpoch(ctx context.Context, name string, pub ed25519.PublicKey) (epoch uint32, err error) {
	if err := checkListener(name, pub); err != nil {
		return 0, err
	}
	p := &event.ListenerGranted{Listener: name, PublicKey: bytes.Clone(pub)}
	return a.grant(ctx, event.Actor{Issuer: "listener", Subject: name}, p, func(l *listener) error {
		if err := l.apart(name); err != nil {
			return err
		}
		p.Token, p.TCP, p.HTTPS = l.token, l.tcp, l.https
		p.Scope = l.epochs[l.newest].raw
		return nil
	})
}

// apart is nil for a listener that runs apart and was not revoked.
func (l *listener) apart(name string) error {
	switch {
	case l == nil || l.token == "":
		return refuse(http.StatusNotFound, titleListener, "There is no listener %s that runs apart.", name)
	case l.revoked != 0:
		return refuse(http.StatusForbidden, titleListener, "The listener %s was revoked.", name)
	}
	return nil
}

func checkListener(name string, pub []byte) error {
	switch {
	case !validCode(name):
		return refuse(http.StatusUnprocessableEntity, titleListener, "The name %q does not have 3 to 16 of A-Z and 0-9.", name)
	case len(pub) != ed25519.PublicKeySize:
		return refuse(http.StatusUnprocessableEntity, titleListener, "The key of %s is not an Ed25519 public key of 32 bytes.", name)
	}
	return nil
}

// grant appends p, and what else belongs to it, with the next epoch. may says
// whether it may be, given what is known of the name.
func (a *Authority) grant(ctx context.Context, actor event.Actor, p *event.ListenerGranted, may func(*listener) error, more ...event.Payload) (uint32, error) {
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("grant listener %s: %w", p.Listener, err)
	}
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		l := a.listeners[p.Listener]
		if l != nil && l.revoked != 0 {
			return refuse(http.StatusForbidden, titleListener, "The listener %s was revoked; its name is not given again.", p.Listener)
		}
		if err := may(l); err != nil {
			return err
		}
		p.Epoch = 1
		if l != nil {
			p.Epoch = l.newest + 1
		}
		if p.Epoch > MaxEpoch {
			return refuse(http.StatusConflict, titleListener, "%s has used all its epochs; give it another name.", p.Listener)
		}
		return nil
	}
	e := a.event(actor, p)
	events := []*event.Event{e}
	for _, payload := range more {
		events = append(events, a.event(actor, payload))
	}
	if _, err := appended(j.AppendIf(ctx, guard, events...), e, "grant listener "+p.Listener); err != nil {
		return 0, err
	}
	return p.Epoch, nil
}

// JoinListener lets a listener in that runs apart: it shows a token that was made
// for its name. Epoch and certificate become durable together; who repeats a join
// with the same keys, because the answer was lost, gets the same once more. What
// is refused is a [*Refusal].
func (a *Authority) JoinListener(ctx context.Context, r wire.ListenerJoinRequest) (wire.ListenerJoinReply, error) {
	var none wire.ListenerJoinReply
	t, public, err := checkListenerJoin(r)
	if err != nil {
		return none, err
	}
	name, err := a.listenerAdmissible(t, r, public)
	if _, again := errors.AsType[joinedBefore](err); again {
		return a.listenerReply(name)
	}
	if err != nil {
		return none, err
	}
	p := &event.ListenerGranted{Listener: name, PublicKey: bytes.Clone(r.BoxKey), Token: t.ID, TCP: r.TCP, HTTPS: r.HTTPS}
	issued := a.newCertificate(public, listenerValidity)
	issued.Listener = name
	_, err = a.grant(ctx, event.Actor{Issuer: "token", Subject: t.ID}, p, func(l *listener) error {
		if _, err := a.listenerAllowed(t, r, public); err != nil {
			return err
		}
		p.Scope = a.tokens[t.ID].scope
		return nil
	}, issued)
	if _, again := errors.AsType[joinedBefore](err); err != nil && !again {
		return none, err
	}
	return a.listenerReply(name)
}

// checkListenerJoin checks what can be checked without knowing the site.
func checkListenerJoin(r wire.ListenerJoinRequest) (wire.Token, []byte, error) {
	t, err := wire.ParseToken(r.Token)
	if err != nil {
		return t, nil, refuseListener(http.StatusBadRequest, "This is %s.", err)
	}
	public, err := requestedKey(r.CSR)
	if err != nil {
		return t, nil, refuseListener(http.StatusBadRequest, "The certificate request cannot be taken: %v.", err)
	}
	if len(r.BoxKey) != ed25519.PublicKeySize {
		return t, nil, refuseListener(http.StatusBadRequest, "The key for its files is not an Ed25519 public key of 32 bytes.")
	}
	if len(r.TCP) == 0 {
		return t, nil, refuseListener(http.StatusBadRequest, "It names no address under which agents reach it.")
	}
	for _, list := range [][]string{r.TCP, r.HTTPS} {
		if len(list) > event.MaxAddresses {
			return t, nil, refuseListener(http.StatusBadRequest, "It names %d addresses, at most %d are taken.", len(list), event.MaxAddresses)
		}
		for _, address := range list {
			if !validAddress(address) {
				return t, nil, refuseListener(http.StatusBadRequest, "The address %q is not HOST:PORT.", address)
			}
		}
	}
	return t, public, nil
}

func validAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	return err == nil && perr == nil && n > 0 && host != "" && printable(address) && !strings.ContainsAny(host, " *")
}

// joinedBefore is the error of a join that is in the journal.
type joinedBefore struct{}

func (joinedBefore) Error() string { return "joined already" }

func (a *Authority) listenerAdmissible(t wire.Token, r wire.ListenerJoinRequest, public []byte) (string, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.listenerAllowed(t, r, public)
}

// listenerAllowed returns the name that the token is for, and joinedBefore if
// the listener with these keys has joined with it; the caller holds mu.
func (a *Authority) listenerAllowed(t wire.Token, r wire.ListenerJoinRequest, public []byte) (string, error) {
	if !a.pinned(t.CA) {
		return "", refuseListener(http.StatusForbidden, "The token is of another site, or of another time of this one; ask for a new one.")
	}
	known := a.genuine(t)
	switch {
	case known == nil:
		return "", errTokenWrong
	case known.listener == "":
		return "", refuseListener(http.StatusForbidden, "The token is for devices; ask for one that is for a listener.")
	}
	l := a.listeners[known.listener]
	switch {
	case known.revoked != 0:
		return "", errTokenRevoked
	case l != nil && l.revoked != 0:
		return "", refuseListener(http.StatusForbidden, "The listener %s was revoked; its name is not given again.", known.listener)
	case l != nil && l.token == t.ID && bytes.Equal(l.epochs[l.newest].key, r.BoxKey) && bytes.Equal(l.cert.public, public):
		return known.listener, joinedBefore{}
	}
	return known.listener, known.usable(a.now())
}

func (a *Authority) listenerReply(name string) (wire.ListenerJoinReply, error) {
	a.mu.RLock()
	l, ring := *a.listeners[name], a.ring()
	rings := a.signedRings()
	a.mu.RUnlock()
	der, issuer, err := a.issueListener(name, l)
	if err != nil {
		return wire.ListenerJoinReply{}, fmt.Errorf("join listener %s: %w", name, err)
	}
	return wire.ListenerJoinReply{Site: a.site, Name: name, Epoch: l.newest, Certificate: der, Expires: l.cert.expires,
		Issuer: issuer.Raw, CAs: ring.CA, Keyring: ring.Number, TaskKeys: rawKeys(ring.Task), PolicyKeys: rawKeys(ring.Policy), Rings: rings}, nil
}

// RenewListener gives a listener that runs apart a new certificate, and returns
// it with the one of the authority that signed it. The caller has checked who
// asks ([Authority.AdmitListener]). Who asks again with the same key, because the
// answer was lost, gets the same once more.
func (a *Authority) RenewListener(ctx context.Context, name string, csr []byte) (certificate []byte, err error) {
	public, err := requestedKey(csr)
	if err != nil {
		return nil, refuseListener(http.StatusBadRequest, "The certificate request cannot be taken: %v.", err)
	}
	j, err := a.attached()
	if err != nil {
		return nil, fmt.Errorf("renew listener %s: %w", name, err)
	}
	p := a.newCertificate(public, listenerValidity)
	p.Listener = name
	e := a.event(event.Actor{Issuer: "listener", Subject: name}, p)
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		l := a.listeners[name]
		if err := l.apart(name); err != nil {
			return err
		}
		if l.cert.answers(public, a.now()) && a.sameServer(l.cert.ring) {
			return alreadyDone(l.cert.event)
		}
		return nil
	}
	if _, err := appended(j.AppendIf(ctx, guard, e), e, "renew listener "+name); err != nil {
		return nil, err
	}
	a.mu.RLock()
	l := *a.listeners[name]
	a.mu.RUnlock()
	der, _, err := a.issueListener(name, l)
	return der, err
}

// RevokeListener ends a listener that runs apart, for ever: its files are refused
// from now on, whatever their epoch, and so is its certificate. It returns the
// number of the event that did; that is the earlier one if it is revoked already.
func (a *Authority) RevokeListener(ctx context.Context, actor event.Actor, name, reason string) (uint64, error) {
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("revoke listener %s: %w", name, err)
	}
	e := a.event(actor, &event.ListenerRevoked{Listener: name, Reason: reason})
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		l := a.listeners[name]
		switch {
		case l == nil:
			return refuse(http.StatusNotFound, titleListener, "There is no listener %q.", name)
		case l.token == "":
			return refuse(http.StatusConflict, titleListener, "%s is the site's own; it cannot be revoked.", name)
		}
		return done(l.revoked)
	}
	return appended(j.AppendIf(ctx, guard, e), e, "revoke listener "+name)
}

// AdmitListener tells which listener shows a certificate, whose key the caller
// knows it to have (as after a handshake). It is refused if the listener was
// revoked, or if the key is neither that of its newest certificate nor of the one
// before. A certificate that has expired is taken for [RenewGrace]: a listener
// that was off comes back by itself, and one that must not come back is revoked.
func (a *Authority) AdmitListener(cert *x509.Certificate) (wire.ListenerIdentity, error) {
	id, err := wire.ListenerOf(cert)
	if err != nil {
		return id, err
	}
	public, err := publicPoint(cert)
	if err != nil {
		return id, refuseListener(http.StatusForbidden, "The certificate of %s holds no key that this site gave one for.", id.Name)
	}
	now := a.now()
	a.mu.RLock()
	defer a.mu.RUnlock()
	l := a.listeners[id.Name]
	if id.Site != a.site {
		return id, refuseListener(http.StatusForbidden, "%s is a listener of site %s, this is %s.", id.Name, id.Site, a.site)
	}
	if err := l.apart(id.Name); err != nil {
		return id, err
	}
	if !bytes.Equal(public, l.cert.public) && !bytes.Equal(public, l.before.public) {
		return id, refuseListener(http.StatusForbidden, "The certificate of %s is not its newest, nor the one before; let it join again.", id.Name)
	}
	if now.After(cert.NotAfter.Add(RenewGrace)) {
		return id, refuseListener(http.StatusForbidden, "The certificate of %s expired at %s; let it join again.", id.Name, cert.NotAfter.Format(time.RFC3339))
	}
	return id, nil
}

// ListenerKey returns the key with which the files of a listener's epoch are
// signed; ok is false once the listener was revoked.
func (a *Authority) ListenerKey(name string, epoch uint32) (ed25519.PublicKey, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if g := a.granted(name, epoch); g != nil {
		return g.key, true
	}
	return nil, false
}

// ListenerScope returns what tells which devices the files of a listener's epoch
// may speak for; nil means all.
func (a *Authority) ListenerScope(name string, epoch uint32) func(device uint32) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	g := a.granted(name, epoch)
	switch {
	case g == nil:
		return func(uint32) bool { return false }
	case g.scope == nil:
		return nil
	}
	return g.scope.Contains // nobody changes it
}

// granted returns an epoch of a listener that was not revoked, or nil; the
// caller holds mu.
func (a *Authority) granted(name string, epoch uint32) *grant {
	l := a.listeners[name]
	if l == nil || l.revoked != 0 {
		return nil
	}
	return l.epochs[epoch]
}

// ListenerState is what is known of a listener.
type ListenerState struct {
	Name    string
	Epoch   uint32
	Own     bool     // it runs in the site's own process
	TCP     []string // host:port, the best first; nobody changes them
	HTTPS   []string
	Scope   *roaring.Bitmap // the devices that it may speak for; nil means all; nobody changes it
	Expires time.Time       // of its certificate; zero if it is the site's own
	Revoked bool
}

// Listeners returns all listeners, by name.
func (a *Authority) Listeners() []ListenerState {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := make([]ListenerState, 0, len(a.listeners))
	for _, name := range slices.Sorted(maps.Keys(a.listeners)) {
		l := a.listeners[name]
		s := ListenerState{Name: name, Epoch: l.newest, Own: l.token == "", TCP: l.tcp, HTTPS: l.https,
			Expires: l.cert.expires, Revoked: l.revoked != 0}
		if s.Own {
			s.TCP, s.HTTPS = a.addresses, a.https
		}
		if g := l.epochs[l.newest]; g != nil {
			s.Scope = g.scope
		}
		all = append(all, s)
	}
	return all
}

// fingerprint names a key for people.
func fingerprint(key []byte) string {
	sum := sha256.Sum256(key)
	return fmt.Sprintf("%x", sum[:8])
}
