package console

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

type readInput struct{ AtLeast }

func (c *Console) listViews(context.Context, *struct{}) (*out[ViewList], error) {
	list := ViewList{Items: []View{}, Event: c.cfg.Journal.Head().Event}
	for _, v := range c.cfg.Views.Status() {
		shown := View{View: v.Name, Position: v.Position, Lag: v.Lag, Rows: v.Rows, Generation: v.Generation, Building: v.Building}
		if v.Err != nil {
			shown.Error = v.Err.Error()
		}
		list.Items = append(list.Items, shown)
	}
	return answer(list)
}

type viewInput struct {
	Name string `path:"name" maxLength:"64"`
}

func (c *Console) getDigest(ctx context.Context, in *viewInput) (*out[DigestReply], error) {
	position, digest, err := c.cfg.Views.Digest(in.Name)
	if err != nil {
		return nil, c.failView(ctx, "digest the view", err)
	}
	return answer(DigestReply{View: in.Name, Position: position, Digest: hex.EncodeToString(digest[:])})
}

// rebuildView folds a view anew, says how far it is, and makes the outcome an
// event. The rebuild ends with the call.
func (c *Console) rebuildView(ctx context.Context, in *viewInput) (*huma.StreamResponse, error) {
	if !c.hasView(in.Name) {
		return nil, c.failView(ctx, "rebuild "+clip(in.Name), projectors.ErrNoView)
	}
	leave, err := c.enterStream()
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
		ctx, cancel := c.streamContext(hc.Context())
		defer cancel()
		s := newStream(hc)
		reply, err := c.rebuild(ctx, s, in.Name)
		if err == nil {
			err = s.send("", "result", reply)
		} else if p, ok := errors.AsType[*Problem](c.failView(ctx, "rebuild "+in.Name, err)); ok {
			err = s.send("", "problem", p)
		}
		if err := errors.Join(err, s.flush()); err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn("rebuild could not be reported", "view", in.Name, "err", err)
		}
	}}, nil
}

func (c *Console) hasView(name string) bool {
	for _, v := range c.cfg.Views.Status() {
		if v.Name == name {
			return true
		}
	}
	return false
}

func (c *Console) rebuild(ctx context.Context, s *stream, name string) (RebuildReply, error) {
	r, err := c.rebuildWithProgress(ctx, s, name)
	if err != nil {
		return RebuildReply{}, err
	}
	e := &event.Event{Observed: c.cfg.Now(), Actor: actorOf(ctx), Payload: &event.ViewRebuilt{
		View: name, Generation: r.Generation, Position: r.Position, Digest: r.Digest, Same: r.Same,
	}}
	if err := c.cfg.Journal.Append(ctx, e); err != nil {
		return RebuildReply{}, err
	}
	return RebuildReply{View: name, Generation: r.Generation, Position: r.Position, Digest: hex.EncodeToString(r.Digest[:]), Same: r.Same, Event: e.Number}, nil
}

// rebuildWithProgress rebuilds while this goroutine writes to the stream; a slow
// reader misses steps and does not hold up the rebuild.
func (c *Console) rebuildWithProgress(ctx context.Context, s *stream, name string) (projectors.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	steps := make(chan Progress, 1)
	type outcome struct {
		projectors.Result
		err error
	}
	ended := make(chan outcome, 1)
	go func() {
		r, err := c.cfg.Views.Rebuild(ctx, name, func(done, total uint64) {
			select {
			case steps <- Progress{done, total}:
			default:
			}
		})
		ended <- outcome{r, err}
	}()
	for {
		select {
		case p := <-steps:
			if err := errors.Join(s.send("", "progress", p), s.flush()); err != nil {
				cancel()
				<-ended
				return projectors.Result{}, err
			}
		case o := <-ended:
			return o.Result, o.err
		}
	}
}

func (c *Console) getPolicy(context.Context, *struct{}) (*out[PolicyReply], error) {
	return c.policyReply()
}

func (c *Console) policyReply() (*out[PolicyReply], error) {
	body, parsed, number := c.cfg.Policies.current()
	etag, _, err := c.cfg.Authority.SignPolicy(body)
	if err != nil {
		return nil, err
	}
	return answer(PolicyReply{Policy: parsed, ETag: etag, Event: number})
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
	return answer(PolicyReply{Policy: parsed, ETag: etag, Event: written.Body.Event})
}
