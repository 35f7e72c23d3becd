package console

import (
	"context"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

const (
	defaultTokenTTL  = time.Hour
	defaultTokenUses = 1
)

// TokenList is all tokens, the newest first.
type TokenList struct {
	Items []TokenEntry `json:"items"`
}

// TokenEntry is what is known of a token; its secret is not.
type TokenEntry struct {
	ID       string    `json:"id"`
	Device   uint32    `json:"device,omitempty" doc:"the imported record that who joins with it becomes"`
	Listener string    `json:"listener,omitempty" doc:"the listener that may join with it; without it devices"`
	Uses     uint32    `json:"uses" doc:"how many may join with it"`
	Used     uint32    `json:"used" doc:"how many did"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Revoked  bool      `json:"revoked"`
	Usable   bool      `json:"usable" doc:"somebody can still join with it"`
}

func (c *Console) listTokens(_ context.Context, _ *struct{}) (*out[TokenList], error) {
	list, now := TokenList{Items: []TokenEntry{}}, c.cfg.Now()
	for _, t := range c.cfg.Authority.Tokens() {
		list.Items = append(list.Items, TokenEntry{t.ID, t.Device, t.Listener, t.Uses, t.Used, t.Created, t.Expires, t.Revoked,
			!t.Revoked && t.Used < t.Uses && now.Before(t.Expires) && (t.Device == 0 || c.cfg.Authority.CanBecome(t.Device))})
	}
	return answerAt(list, c.cfg.Journal.Head().Event)
}

type tokenInput struct{ Body TokenRequest }

func (c *Console) createToken(ctx context.Context, in *tokenInput) (*out[TokenReply], error) {
	reply, err := c.makeToken(ctx, &in.Body)
	if err != nil {
		return nil, c.failView(ctx, "make a token", err)
	}
	state, _ := c.cfg.Authority.Token(reply.ID)
	reply.Uses, reply.Device, reply.Listener, reply.Expires = state.Uses, state.Device, state.Listener, state.Expires
	return answerAt(*reply, reply.Event)
}

func (c *Console) makeToken(ctx context.Context, r *TokenRequest) (*TokenReply, error) {
	ttl := time.Duration(r.TTLSeconds) * time.Second
	if ttl == 0 {
		ttl = defaultTokenTTL
	}
	switch {
	case r.Listener == "" && len(r.Scope) > 0:
		return nil, badRequest("The request contradicts itself", "Only a listener has a scope; name the listener.")
	case r.Listener != "" && r.Uses > 1:
		return nil, badRequest("The request contradicts itself", "A token for a listener is good for one use.")
	case r.Device != "":
		return c.makeDeviceToken(ctx, r, ttl)
	case r.Listener == "":
		uses := r.Uses
		if uses == 0 {
			uses = defaultTokenUses
		}
		t, number, err := c.cfg.Authority.CreateToken(ctx, actorOf(ctx), uses, ttl)
		return &TokenReply{Token: t.String(), ID: t.ID, Event: number}, err
	}
	var scope *roaring.Bitmap // all devices
	if len(r.Scope) > 0 {
		var err error
		if scope, err = c.resolveNames(ctx, r.Scope); err != nil {
			return nil, err
		}
	}
	t, number, err := c.cfg.Authority.CreateListenerToken(ctx, actorOf(ctx), r.Listener, scope, ttl)
	return &TokenReply{Token: t.String(), ID: t.ID, Event: number}, err
}

func (c *Console) makeDeviceToken(ctx context.Context, r *TokenRequest, ttl time.Duration) (*TokenReply, error) {
	switch {
	case r.Listener != "":
		return nil, badRequest("The request contradicts itself", "A token is for a device or for a listener, not for both.")
	case r.Uses > 1:
		return nil, badRequest("The request contradicts itself", "A token that names a device is good for one use.")
	}
	d, err := c.findDeviceNow(ctx, r.Device)
	if err != nil {
		return nil, err
	}
	t, number, err := c.cfg.Authority.CreateDeviceToken(ctx, actorOf(ctx), d.Number, ttl)
	return &TokenReply{Token: t.String(), ID: t.ID, Event: number}, err
}

type tokenIDInput struct {
	ID string `path:"id" maxLength:"64"`
}

func (c *Console) revokeToken(ctx context.Context, in *tokenIDInput) (*out[Written], error) {
	number, err := c.cfg.Authority.RevokeToken(ctx, actorOf(ctx), in.ID)
	if err != nil {
		return nil, c.fail(ctx, "revoke the token", err)
	}
	return answerAt(Written{number}, number)
}
