package authority

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// Bounds of a token.
const (
	MaxTokenUses = 1_000_000
	MaxTokenTTL  = 365 * 24 * time.Hour
)

// CreateToken makes a token with which uses devices may join within ttl, and
// returns it with the number of its event. Only a hash of the secret is kept.
func (a *Authority) CreateToken(ctx context.Context, actor event.Actor, uses uint32, ttl time.Duration) (wire.Token, uint64, error) {
	if uses == 0 || uses > MaxTokenUses {
		return wire.Token{}, 0, refuse(http.StatusUnprocessableEntity, titleToken, "A token is good for 1 to %d devices, not for %d.", MaxTokenUses, uses)
	}
	return a.createToken(ctx, actor, &event.TokenCreated{Uses: uses}, ttl, func() error { return nil })
}

// CreateDeviceToken makes a token with which one device may join within ttl, and
// becomes the imported record of that number.
func (a *Authority) CreateDeviceToken(ctx context.Context, actor event.Actor, device uint32, ttl time.Duration) (wire.Token, uint64, error) {
	return a.createToken(ctx, actor, &event.TokenCreated{Uses: 1, Device: device}, ttl, func() error {
		if why := a.notToBecome(device); why != "" {
			return refuse(http.StatusConflict, titleToken, "%s; the token has to name an imported record that has no agent.", why)
		}
		return nil
	})
}

// CreateListenerToken makes a token with which the listener of that name may join
// once within ttl, and speak for the devices of scope; nil means all.
func (a *Authority) CreateListenerToken(ctx context.Context, actor event.Actor, name string, scope *roaring.Bitmap, ttl time.Duration) (wire.Token, uint64, error) {
	if !validCode(name) {
		return wire.Token{}, 0, refuse(http.StatusUnprocessableEntity, titleToken, "The name %q does not have 3 to 16 of A-Z and 0-9.", name)
	}
	p := &event.TokenCreated{Uses: 1, Listener: name}
	if scope != nil {
		var err error
		if p.Scope, err = scope.ToBytes(); err != nil {
			return wire.Token{}, 0, fmt.Errorf("create token: %w", err)
		}
		if len(p.Scope) > event.MaxBitmap {
			return wire.Token{}, 0, refuse(http.StatusUnprocessableEntity, titleToken, "The scope of %d devices is too large.", scope.GetCardinality())
		}
	}
	return a.createToken(ctx, actor, p, ttl, func() error {
		switch l := a.listeners[name]; {
		case l != nil && l.token == "":
			return refuse(http.StatusConflict, titleToken, "%s is the site's own listener; take another name.", name)
		case l != nil && l.revoked != 0:
			return refuse(http.StatusConflict, titleToken, "The listener %s was revoked; its name is not given again.", name)
		}
		return nil
	})
}

// createToken completes p and appends it; may is asked under mu.
func (a *Authority) createToken(ctx context.Context, actor event.Actor, p *event.TokenCreated, ttl time.Duration, may func() error) (wire.Token, uint64, error) {
	if ttl < time.Second || ttl > MaxTokenTTL {
		return wire.Token{}, 0, refuse(http.StatusUnprocessableEntity, titleToken, "A token is good for one second to one year, not for %v.", ttl)
	}
	j, err := a.attached()
	if err != nil {
		return wire.Token{}, 0, fmt.Errorf("create token: %w", err)
	}
	t := wire.Token{ID: randomHex(8), Secret: randomHex(16), CA: a.CAHash()}
	p.Token, p.Hash, p.Expires = t.ID, sha256.Sum256([]byte(t.Secret)), a.now().Add(ttl).UTC()
	e := a.event(actor, p)
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		return may()
	}
	number, err := appended(j.AppendIf(ctx, guard, e), e, "create token")
	if err != nil {
		return wire.Token{}, 0, err
	}
	return t, number, nil
}

// RevokeToken ends a token before its time and returns the number of the event
// that did; that is the earlier one if it is revoked already.
func (a *Authority) RevokeToken(ctx context.Context, actor event.Actor, id string) (uint64, error) {
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("revoke token: %w", err)
	}
	e := a.event(actor, &event.TokenRevoked{Token: id})
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		t := a.tokens[id]
		if t == nil {
			return refuse(http.StatusNotFound, titleToken, "There is no token %q.", id)
		}
		return done(t.revoked)
	}
	return appended(j.AppendIf(ctx, guard, e), e, "revoke token")
}

// TokenState is what is known of a token.
type TokenState struct {
	ID       string
	Listener string // that may join with it; empty: devices
	Device   uint32 // the imported record that who joins with it becomes, or 0
	Uses     uint32 // how many may join with it
	Used     uint32 // how many did
	Created  time.Time
	Expires  time.Time
	Revoked  bool
}

// Token returns what is known of the token with the given id.
func (a *Authority) Token(id string) (TokenState, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	t := a.tokens[id]
	if t == nil {
		return TokenState{}, false
	}
	return t.state(id), true
}

func (t *token) state(id string) TokenState {
	return TokenState{id, t.listener, t.device, t.uses, t.used, t.created, t.expires, t.revoked != 0}
}

// Tokens returns what is known of all tokens, the newest first.
func (a *Authority) Tokens() []TokenState {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := make([]TokenState, 0, len(a.tokens))
	for id, t := range a.tokens {
		all = append(all, t.state(id))
	}
	slices.SortFunc(all, func(x, y TokenState) int {
		return cmp.Or(y.Created.Compare(x.Created), cmp.Compare(x.ID, y.ID))
	})
	return all
}

// genuine returns the token whose id and secret t has, or nil; the caller holds
// mu. It takes as long for an unknown id as for a wrong secret.
func (a *Authority) genuine(t wire.Token) *token {
	known := a.tokens[t.ID]
	var want [32]byte
	if known != nil {
		want = known.hash
	}
	got := sha256.Sum256([]byte(t.Secret))
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return nil
	}
	return known
}

// usable says why nobody can join with t, or nil.
func (t *token) usable(now time.Time) error {
	switch {
	case t.revoked != 0:
		return errTokenRevoked
	case !now.Before(t.expires):
		return refuseJoin(http.StatusForbidden, "The token expired at %s; ask for a new one.", t.expires.Format(time.RFC3339))
	case t.used >= t.uses:
		return errTokenUsedUp
	}
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func (a *Authority) event(actor event.Actor, p event.Payload) *event.Event {
	return &event.Event{Observed: a.now(), Actor: actor, Payload: p}
}

// alreadyDone is the error of a guard that found the state asked for.
type alreadyDone uint64

func (d alreadyDone) Error() string { return fmt.Sprintf("event %d did it already", uint64(d)) }

// done is nil unless an event did it already.
func done(number uint64) error {
	if number == 0 {
		return nil
	}
	return alreadyDone(number)
}

// appended turns the outcome of an append into the number of the event that did
// what was asked.
func appended(err error, e *event.Event, verb string) (uint64, error) {
	if d, ok := errors.AsType[alreadyDone](err); ok {
		return uint64(d), nil
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		return 0, r
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", verb, err)
	}
	return e.Number, nil
}
