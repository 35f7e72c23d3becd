package console

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
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

// How long a push waits for an evaluation, and how often it asks the evaluator
// meanwhile even if nothing happens.
const (
	evaluationWait = 10 * time.Second
	evaluationAsk  = time.Second
)

// awaitEvaluation waits until the members of a collection are those of the rules that
// are defined now, its own and those of all that it depends on: whoever narrows a
// collection and pushes to it at once means whom it has then. Where nothing evaluates
// it does not wait.
func (c *Console) awaitEvaluation(ctx context.Context, word string) error {
	if c.cfg.Evaluator == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, evaluationWait)
	defer cancel()
	for {
		var newer []collection.Info
		position, err := c.cfg.Collections.At(func(s *collection.Snapshot) error {
			info, err := findCollection(s, word)
			newer = definedSince(s, c.cfg.Definitions.Now(), info.ID)
			return err
		})
		if err != nil {
			return c.failView(ctx, "look whether the collection is evaluated", err)
		}
		waits, err := c.newRules(ctx, newer)
		if err != nil || waits == nil {
			return err
		}
		late := conflict("The members of collection %q are not yet those of its rules: event %d changed those of collection %s (%s), which is not evaluated since. Try again in a moment, or give membersAt to mean the members of before.",
			clip(word), waits.Defined.Event, clip(waits.Name), waits.ID)
		if c.computed(ctx, waits) {
			return c.waitForView(ctx, c.cfg.Journal.Head().Event, collectionView)
		}
		within, cancel := context.WithTimeout(ctx, evaluationAsk)
		err = c.cfg.Views.Wait(within, position+1, collectionView)
		cancel()
		switch {
		case ctx.Err() != nil:
			return late
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return c.failView(ctx, "wait for the evaluation of the collection", err)
		}
	}
}

// computed tells whether the evaluator has computed a collection since it was defined.
// After a restart that may be so although no event says it: its members were the same.
func (c *Console) computed(ctx context.Context, defined *collection.Info) bool {
	e, tells := c.cfg.Evaluator.(interface {
		Stats(context.Context) (evaluator.Stats, error)
		State(ctx context.Context, id string) (evaluator.State, error)
	})
	if !tells {
		return false
	}
	all, err := e.Stats(ctx)
	if err != nil || all.Applied < defined.Defined.Event {
		return false
	}
	is, err := e.State(ctx, defined.ID)
	return err == nil && is.Broken == nil && (!is.Stale || is.Pending < all.Devices)
}

// definedSince returns a collection and what it depends on as far as they were
// defined after their last evaluation began.
func definedSince(s *collection.Snapshot, now *definitions.State, id string) (newer []collection.Info) {
	seen, left := map[string]bool{id: true}, []string{id}
	for len(left) > 0 {
		id, left = left[len(left)-1], left[:len(left)-1]
		if info, ok := s.Get(id); ok && (info.Evaluated.Event == 0 || info.Evaluated.Basis < info.Defined.Event) {
			newer = append(newer, info)
		}
		for _, in := range now.Inputs(id) {
			if !seen[in.ID] {
				seen[in.ID] = true
				left = append(left, in.ID)
			}
		}
	}
	return newer
}

// newRules returns one of the collections that got other rules, nil if none did: a new
// name, comment or schedule needs no evaluation.
func (c *Console) newRules(ctx context.Context, defined []collection.Info) (*collection.Info, error) {
	for i := range defined {
		number := defined[i].Defined.Event
		if number == 0 {
			continue // the root
		}
		e, err := c.event(ctx, number)
		if err != nil {
			return nil, err
		}
		if p, ok := e.Payload.(*event.CollectionChanged); ok && (p.Before == nil || p.After == nil || !definitions.SameRules(p.Before, p.After)) {
			return &defined[i], nil
		}
	}
	return nil, nil
}
