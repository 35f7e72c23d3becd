package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/bugle-fleet/bugle/journal/event"
)

// A versioned is an answer that names the version of a policy, for If-Match.
type versioned[T any] struct {
	Event string `header:"Bugle-Event" doc:"the event that the answer is as of, or that the write became"`
	ETag  string `header:"ETag" doc:"the version of the policy, for If-Match"`
	Body  T
}

func answerVersion[T any](body T, version, number uint64) *versioned[T] {
	return &versioned[T]{Event: fmt.Sprint(number), ETag: strconv.Quote(fmt.Sprint(version)), Body: body}
}

// getPolicy reads no view, so there is nothing to wait for.
func (c *Console) getPolicy(ctx context.Context, in *readInput) (*versioned[PolicyReply], error) {
	const doing = "read the policy"
	l, as, err := c.policyLine(ctx, "", in.At)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	reply, err := c.policyReply(&l)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	return answerVersion(reply, l.version, as), nil
}

func (c *Console) policyReply(l *policyLine) (reply PolicyReply, err error) {
	reply.Event, reply.Version = l.event, l.version
	if err := json.Unmarshal(l.body, &reply.Policy); err != nil {
		return reply, err
	}
	reply.ETag, _, err = c.cfg.Authority.SignPolicy(l.body)
	return reply, err
}

// policyLine returns the policy of the machines or of a person, and the event that
// this is as of: that of now or, from the journal, as it was.
func (c *Console) policyLine(ctx context.Context, user, at string) (l policyLine, as uint64, err error) {
	l, as = c.cfg.Policies.line(user), c.cfg.Journal.Head().Event
	if at == "" {
		return l, as, nil
	}
	if as, err = c.asOf(ctx, at); err != nil {
		return l, 0, err
	}
	l, err = c.policyAsOf(ctx, user, as)
	return l, as, err
}

// policyAsOf returns the policy that held after an event.
func (c *Console) policyAsOf(ctx context.Context, user string, number uint64) (policyLine, error) {
	l := c.cfg.Policies.line(user)
	setBy, ok := l.before(number)
	switch {
	case !ok:
		return policyLine{}, notFound("The policy after event %d is more than %d policies ago; look for policy.changed in the journal.", number, len(l.events))
	case setBy == 0 && user == "":
		return policyLine{body: []byte(DefaultPolicy)}, nil
	case setBy == 0:
		return policyLine{}, nil
	}
	e, err := c.event(ctx, setBy)
	if err != nil {
		return policyLine{}, err
	}
	p, ok := e.Payload.(*event.PolicyChanged)
	if !ok {
		return policyLine{}, fmt.Errorf("event %d sets no policy", setBy)
	}
	behind := uint64(0) // policies that were set since
	for i := len(l.events) - 1; l.events[i] > setBy; i-- {
		behind++
	}
	return policyLine{body: p.Body, event: setBy, version: l.version - behind}, nil
}

// An ifMatch is the precondition of a change: the header If-Match.
type ifMatch string

// check tells whether the policy of user is still the one that was meant.
func (m ifMatch) check(p *Policies, user string) error {
	if m == "" || m == "*" {
		return nil
	}
	l := p.line(user)
	if strings.Trim(string(m), `"`) == fmt.Sprint(l.version) {
		return nil
	}
	return problem(412, "The policy was changed meanwhile",
		"It is version %d now, set by event %d, and not the one that was to be changed; read it again.", l.version, l.event)
}

type policyInput struct {
	IfMatch string `header:"If-Match" maxLength:"128" doc:"change the policy only if it still is this version, as ETag named it; \"0\" is one that was never set"`
	Key     string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body    PolicyRequest
}

func (c *Console) putPolicy(ctx context.Context, in *policyInput) (*versioned[PolicyReply], error) {
	body, err := encodePolicy(in.Body.Policy)
	if err != nil {
		return nil, err
	}
	key, err := newOnceKey(actorOf(ctx), in.Key, "policy", in.Body)
	if err != nil {
		return nil, err
	}
	number, err := c.writePolicy(ctx, key, &event.PolicyChanged{Body: body, Reason: in.Body.Reason}, ifMatch(in.IfMatch))
	if err != nil {
		return nil, err
	}
	// What was asked for, even if somebody has changed it since.
	l, err := c.policyAsOf(ctx, "", number)
	if err != nil {
		return nil, c.fail(ctx, "read the policy back", err)
	}
	reply, err := c.policyReply(&l)
	if err != nil {
		return nil, c.fail(ctx, "read the policy back", err)
	}
	return answerVersion(reply, l.version, number), nil
}

// writePolicy appends a policy unless its precondition has failed by then, and
// returns the event that it became.
func (c *Console) writePolicy(ctx context.Context, key onceKey, p *event.PolicyChanged, match ifMatch) (uint64, error) {
	e := &event.Event{Observed: c.cfg.Now(), Key: key.envelope(), Actor: actorOf(ctx), Payload: p}
	err := c.cfg.Journal.AppendIf(ctx, func() error {
		if err := c.cfg.Writes.check(key); err != nil {
			return err
		}
		switch {
		case p.User == "":
		case len(p.Body) > 0 && c.cfg.Policies.full(p.User):
			return conflict("%d people have a policy of their own, which is as many as there can be; remove one.", MaxUserPolicies)
		case len(p.Body) == 0 && c.cfg.Policies.line(p.User).body == nil:
			return notFound("%q has no policy of their own.", clip(p.User))
		}
		return match.check(c.cfg.Policies, p.User)
	}, e)
	if d, ok := errors.AsType[doneAlready](err); ok {
		return uint64(d), nil
	}
	if err != nil {
		return 0, c.failView(ctx, "change the policy", err)
	}
	return e.Number, nil
}

type userPolicyInput struct {
	User string `path:"user" maxLength:"256" doc:"a person as devices name them, or * for all who have no policy of their own"`
	At   string `query:"at" maxLength:"64" doc:"as of an event: its number, or the last one at an instant (RFC 3339) or before a time back from now (2h, 7d)"`
}

func (c *Console) getUserPolicy(ctx context.Context, in *userPolicyInput) (*versioned[UserPolicyReply], error) {
	const doing = "read the policy"
	l, as, err := c.policyLine(ctx, in.User, in.At)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	reply := UserPolicyReply{User: in.User, Version: l.version, Event: l.event}
	version := l.version
	if l.body != nil {
		reply.From = in.User
	} else if l, _, err = c.policyLine(ctx, Everybody, in.At); err != nil {
		return nil, c.fail(ctx, doing, err)
	} else if l.body != nil {
		reply.From = Everybody
	}
	if reply.Settings = l.body; l.body == nil {
		reply.Settings = json.RawMessage("{}")
	}
	return answerVersion(reply, version, as), nil
}

func (c *Console) listUserPolicies(context.Context, *struct{}) (*out[UserPolicyList], error) {
	list := UserPolicyList{Items: []UserPolicyReply{}, Event: c.cfg.Journal.Head().Event}
	for _, name := range c.cfg.Policies.people() {
		if l := c.cfg.Policies.line(name); l.body != nil {
			list.Items = append(list.Items, UserPolicyReply{User: name, Settings: l.body, From: name, Version: l.version, Event: l.event})
		}
	}
	return answerAt(list, list.Event)
}

type putUserInput struct {
	User    string `path:"user" maxLength:"256" doc:"a person as devices name them, or * for all who have no policy of their own"`
	IfMatch string `header:"If-Match" maxLength:"128" doc:"change the policy only if it still is this version, as ETag named it; \"0\" is one that was never set"`
	Key     string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body    UserPolicyRequest
}

func (c *Console) putUserPolicy(ctx context.Context, in *putUserInput) (*versioned[UserPolicyReply], error) {
	body, err := encodeUserSettings(in.Body.Settings)
	if err != nil {
		return nil, err
	}
	return c.changeUserPolicy(ctx, in, body)
}

type deleteUserInput struct {
	User    string `path:"user" maxLength:"256" doc:"a person as devices name them, or * for all who have no policy of their own"`
	IfMatch string `header:"If-Match" maxLength:"128" doc:"change the policy only if it still is this version, as ETag named it; \"0\" is one that was never set"`
	Key     string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Reason  string `query:"reason" maxLength:"4096" doc:"why, for the history"`
}

func (c *Console) deleteUserPolicy(ctx context.Context, in *deleteUserInput) (*versioned[UserPolicyReply], error) {
	return c.changeUserPolicy(ctx, &putUserInput{in.User, in.IfMatch, in.Key, UserPolicyRequest{Reason: in.Reason}}, nil)
}

func (c *Console) changeUserPolicy(ctx context.Context, in *putUserInput, body []byte) (*versioned[UserPolicyReply], error) {
	if in.User == "" || len(in.User) > event.MaxName || strings.ContainsFunc(in.User, func(r rune) bool { return r < ' ' }) {
		return nil, badRequest("The policy cannot be taken", "user: a name has 1 to %d bytes and no control characters.", event.MaxName)
	}
	key, err := newOnceKey(actorOf(ctx), in.Key, "user policy "+in.User, in.Body)
	if err != nil {
		return nil, err
	}
	number, err := c.writePolicy(ctx, key, &event.PolicyChanged{User: in.User, Body: body, Reason: in.Body.Reason}, ifMatch(in.IfMatch))
	if err != nil {
		return nil, err
	}
	reply := UserPolicyReply{User: in.User, Settings: json.RawMessage("{}"), Event: number}
	l, err := c.policyAsOf(ctx, in.User, number)
	if err != nil {
		return nil, c.fail(ctx, "read the policy back", err)
	}
	counts, of := l, in.User
	if l.body == nil { // everybody's counts from then on
		of = Everybody
		if counts, err = c.policyAsOf(ctx, of, number); err != nil {
			return nil, c.fail(ctx, "read the policy back", err)
		}
	}
	if counts.body != nil {
		reply.Settings, reply.From = counts.body, of
	}
	reply.Version = l.version
	return answerVersion(reply, l.version, number), nil
}

// encodeUserSettings checks settings of people and spells them the one way.
func encodeUserSettings(raw json.RawMessage) ([]byte, error) {
	const title = "The policy cannot be taken"
	if len(raw) == 0 || !isObject(raw) {
		return nil, badRequest(title, "settings: it is not a JSON object.")
	}
	body, err := json.Marshal(raw)
	if err != nil {
		return nil, badRequest(title, "settings: %v.", err)
	}
	if len(body) > MaxUserSettings {
		return nil, badRequest(title, "settings: %d bytes, at most %d are taken.", len(body), MaxUserSettings)
	}
	return body, nil
}
