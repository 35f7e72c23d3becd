package console

import (
	"context"
	"time"
)

const (
	defaultTokenTTL  = time.Hour
	defaultTokenUses = 1
)

type tokenInput struct{ Body TokenRequest }

func (c *Console) createToken(ctx context.Context, in *tokenInput) (*out[TokenReply], error) {
	ttl := time.Duration(in.Body.TTLSeconds) * time.Second
	if ttl == 0 {
		ttl = defaultTokenTTL
	}
	uses := in.Body.Uses
	if uses == 0 {
		uses = defaultTokenUses
	}
	token, number, err := c.cfg.Authority.CreateToken(ctx, actorOf(ctx), uses, ttl)
	if err != nil {
		return nil, c.fail(ctx, "make a token", err)
	}
	state, _ := c.cfg.Authority.Token(token.ID)
	return answerAt(TokenReply{Token: token.String(), ID: token.ID, Uses: state.Uses, Expires: state.Expires, Event: number}, number)
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
