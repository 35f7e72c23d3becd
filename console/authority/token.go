package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

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
	switch {
	case uses == 0 || uses > MaxTokenUses:
		return wire.Token{}, 0, refuse(http.StatusUnprocessableEntity, titleToken, "A token is good for 1 to %d devices, not for %d.", MaxTokenUses, uses)
	case ttl < time.Second || ttl > MaxTokenTTL:
		return wire.Token{}, 0, refuse(http.StatusUnprocessableEntity, titleToken, "A token is good for one second to one year, not for %v.", ttl)
	}
	j, err := a.attached()
	if err != nil {
		return wire.Token{}, 0, fmt.Errorf("create token: %w", err)
	}
	t := wire.Token{ID: randomHex(8), Secret: randomHex(16), CA: a.CAHash()}
	e := a.event(actor, &event.TokenCreated{Token: t.ID, Hash: sha256.Sum256([]byte(t.Secret)), Uses: uses, Expires: a.now().Add(ttl).UTC()})
	if err := j.Append(ctx, e); err != nil {
		return wire.Token{}, 0, fmt.Errorf("create token: %w", err)
	}
	return t, e.Number, nil
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
	Uses    uint32 // how many devices may join with it
	Used    uint32 // how many did
	Expires time.Time
	Revoked bool
}

// Token returns what is known of the token with the given id.
func (a *Authority) Token(id string) (TokenState, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	t := a.tokens[id]
	if t == nil {
		return TokenState{}, false
	}
	return TokenState{t.uses, t.used, t.expires, t.revoked != 0}, true
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
