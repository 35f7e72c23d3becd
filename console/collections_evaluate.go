package console

import (
	"context"
	"errors"
	"slices"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
)

type evaluateInput struct {
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body EvaluateRequest
}

func (c *Console) evaluateCollections(ctx context.Context, in *evaluateInput) (*out[EvaluateReply], error) {
	if c.cfg.Definitions == nil {
		return nil, errNoCollections
	}
	key, err := newOnceKey(actorOf(ctx), in.Key, "evaluate", in.Body)
	if err != nil {
		return nil, err
	}
	now, p := c.cfg.Definitions.Now(), &event.EvaluationRequested{Dependants: in.Body.Dependants, Reason: in.Body.Reason}
	for _, word := range in.Body.Collections {
		d, ok := now.Find(word)
		if !ok {
			return nil, notFound("There is no collection with the id or name %q.", clip(word))
		}
		if !slices.Contains(p.Collections, d.ID) {
			p.Collections = append(p.Collections, d.ID)
		}
	}
	e := &event.Event{Observed: c.cfg.Now(), Key: key.envelope(), Actor: actorOf(ctx), Payload: p}
	err = c.cfg.Journal.AppendIf(ctx, func() error { return c.cfg.Writes.check(key) }, e)
	number := e.Number
	if d, ok := errors.AsType[doneAlready](err); ok {
		number, err = uint64(d), nil
	}
	if err != nil {
		return nil, c.fail(ctx, "ask for an evaluation", err)
	}
	return answerAt(EvaluateReply{Collections: refsOf(now, p.Collections), Event: number}, number)
}

func refsOf(s *definitions.State, ids []string) []CollectionRef {
	refs := make([]CollectionRef, 0, len(ids))
	for _, id := range ids {
		ref := CollectionRef{ID: id}
		if d, ok := s.Get(id); ok {
			ref.Name = d.Name
		}
		refs = append(refs, ref)
	}
	return refs
}
