package console

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

type readInput struct{ When }

func (c *Console) listViews(context.Context, *struct{}) (*out[ViewList], error) {
	list := ViewList{Items: []View{}, Event: c.cfg.Journal.Head().Event}
	for _, v := range c.cfg.Views.Status() {
		list.Items = append(list.Items, viewJSON(&v))
	}
	return answerAt(list, list.Event)
}

func viewJSON(v *projectors.Status) View {
	shown := View{
		View: v.Name, State: stateOf(v), Position: v.Position, Lag: v.Lag, LagSeconds: v.Behind.Round(time.Millisecond).Seconds(), Rows: v.Rows,
		Generation: v.Generation, Former: v.Former, Window: v.Window, Building: v.Building, Since: instant(v.Since.UTC()),
		StoppedAt: v.StoppedAt, StoppedBy: string(v.StoppedBy),
	}
	if v.Since.IsZero() {
		shown.Since = nil
	}
	if v.Err != nil {
		shown.Error = v.Err.Error()
	}
	return shown
}

// The states of a view.
const (
	viewServes   = "serving"
	viewLags     = "lagging"
	viewBuilding = "building"
	viewStopped  = "stopped"
)

func stateOf(v *projectors.Status) string {
	switch {
	case v.Err != nil:
		return viewStopped
	case v.Building:
		return viewBuilding
	case v.Behind > projectors.MaxLag:
		return viewLags
	}
	return viewServes
}

type digestInput struct {
	Name string `path:"name" maxLength:"64"`
	At   string `query:"at" maxLength:"64" doc:"as of an event: its number, or the last one at an instant (RFC 3339) or before a time back from now (2h, 7d); default where the view is"`
}

func (c *Console) getDigest(ctx context.Context, in *digestInput) (*out[DigestReply], error) {
	const doing = "digest the view"
	reply := DigestReply{View: in.Name}
	var digest [32]byte
	var err error
	if in.At == "" {
		reply.Position, digest, err = c.cfg.Views.Digest(in.Name)
	} else if reply.Position, err = c.asOf(ctx, in.At); err == nil {
		digest, err = c.digestAt(ctx, in.Name, reply.Position)
	}
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	reply.Digest = hex.EncodeToString(digest[:])
	return answerAt(reply, reply.Position)
}

func (c *Console) digestAt(ctx context.Context, name string, number uint64) (digest [32]byte, err error) {
	if err := c.answers(number); err != nil {
		return digest, err
	}
	past, err := c.cfg.Views.At(ctx, number)
	if err != nil {
		return digest, err
	}
	err = past.View(name).Read(func(s *projectors.Snapshot) error {
		digest, err = s.Digest()
		return err
	})
	return digest, err
}

// getPolicy reads no view, so there is nothing to wait for.
func (c *Console) getPolicy(ctx context.Context, in *readInput) (*out[PolicyReply], error) {
	const doing = "read the policy"
	body, parsed, number := c.cfg.Policies.current()
	as := c.cfg.Journal.Head().Event
	if in.At != "" {
		var err error
		if as, err = c.asOf(ctx, in.At); err == nil {
			body, number, err = c.policyAsOf(ctx, as)
		}
		if err == nil {
			parsed = PolicyBody{}
			err = json.Unmarshal(body, &parsed)
		}
		if err != nil {
			return nil, c.fail(ctx, doing, err)
		}
	}
	etag, _, err := c.cfg.Authority.SignPolicy(body)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	return answerAt(PolicyReply{Policy: parsed, ETag: etag, Event: number}, as)
}

// policyAsOf returns the policy that held after an event, and the event that set
// it: from the journal, for all of history.
func (c *Console) policyAsOf(ctx context.Context, number uint64) (body []byte, setBy uint64, err error) {
	setBy, ok := c.cfg.Policies.setBy(number)
	switch {
	case !ok:
		return nil, 0, notFound("The policy after event %d is more than %d policies ago; look for policy.changed in the journal.", number, MaxPolicies)
	case setBy == 0:
		return []byte(DefaultPolicy), 0, nil
	}
	e, err := c.event(ctx, setBy)
	if err != nil {
		return nil, 0, err
	}
	p, ok := e.Payload.(*event.PolicyChanged)
	if !ok {
		return nil, 0, fmt.Errorf("event %d sets no policy", setBy)
	}
	return p.Body, setBy, nil
}

type policyInput struct {
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body PolicyRequest
}

func (c *Console) putPolicy(ctx context.Context, in *policyInput) (*out[PolicyReply], error) {
	body, err := encodePolicy(in.Body.Policy)
	if err != nil {
		return nil, err
	}
	key, err := newOnceKey(actorOf(ctx), in.Key, "policy", in.Body)
	if err != nil {
		return nil, err
	}
	written, err := c.write(ctx, key, "change the policy", &event.PolicyChanged{Body: body, Reason: in.Body.Reason}, func() error { return nil })
	if err != nil {
		return nil, err
	}
	// What was asked for, even if somebody has changed it since.
	var parsed PolicyBody
	if err := json.Unmarshal(body, &parsed); err != nil {
		return nil, c.fail(ctx, "read the policy back", err)
	}
	etag, _, err := c.cfg.Authority.SignPolicy(body)
	if err != nil {
		return nil, c.fail(ctx, "sign the policy", err)
	}
	return answerAt(PolicyReply{Policy: parsed, ETag: etag, Event: written.Body.Event}, written.Body.Event)
}
