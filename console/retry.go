package console

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const titleRetry = "The retry cannot be taken"

// RetryRequest asks for a new operation that repeats another one, with its kind and
// parameters, for those of its targets that are in some states.
type RetryRequest struct {
	Only              []string   `json:"only" minItems:"1" maxItems:"13" doc:"states of the devices that are tried again, such as failed and expired"`
	StatesAt          uint64     `json:"statesAt,omitempty" minimum:"0" doc:"the event as of which the states are read; default now"`
	DeliverBySeconds  int64      `json:"deliverBySeconds,omitempty" maximum:"31536000" doc:"as of a push"`
	DeliverBy         *time.Time `json:"deliverBy,omitempty" doc:"as of a push"`
	NotBefore         *time.Time `json:"notBefore,omitempty" doc:"as of a push"`
	RunTimeoutSeconds int64      `json:"runTimeoutSeconds,omitempty" minimum:"0" maximum:"604800" doc:"default that of the operation"`
	Reason            string     `json:"reason,omitempty" maxLength:"4096"`
	DryRun            bool       `json:"dryRun,omitempty" doc:"answer whom it would be for and when it would go, and do nothing"`
	Pace
}

type retryInput struct {
	ID   string `path:"id" maxLength:"64"`
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body RetryRequest
}

func (c *Console) retryOperation(ctx context.Context, in *retryInput) (*out[PushReply], error) {
	reply, err := c.retryOnce(ctx, in)
	if d, ok := errors.AsType[doneAlready](err); ok {
		reply, err = c.pushed(ctx, uint64(d))
	}
	if err != nil {
		return nil, c.failView(ctx, "retry the operation", err)
	}
	return answer(reply)
}

func (c *Console) retryOnce(ctx context.Context, in *retryInput) (PushReply, error) {
	id, err := parseOperation(in.ID)
	if err != nil {
		return PushReply{}, err
	}
	key, err := newOnceKey(actorOf(ctx), in.Key, "retry "+id.String(), in.Body)
	if err != nil {
		return PushReply{}, err
	}
	states, err := parseStates(in.Body.Only)
	if err != nil {
		return PushReply{}, err
	}
	b := &in.Body
	r := &PushRequest{DeliverBySeconds: b.DeliverBySeconds, DeliverBy: b.DeliverBy, NotBefore: b.NotBefore,
		RunTimeoutSeconds: b.RunTimeoutSeconds, Reason: b.Reason, DryRun: b.DryRun, Pace: b.Pace}
	return c.request(ctx, key, r, func(o *order) error {
		v := c.now()
		if b.StatesAt > 0 {
			if head := c.cfg.Journal.Head().Event; b.StatesAt > head {
				return noEventYet("statesAt", b.StatesAt, head)
			}
			if v, err = c.readAt(ctx, b.StatesAt); err != nil {
				return err
			}
		}
		return c.repeat(ctx, v, o, id, states)
	})
}

func parseStates(words []string) (states []task.State, err error) {
	for _, w := range words {
		s, ok := task.ParseState(w)
		if !ok {
			return nil, badRequest("The state is unknown", "only: there is no %q; states are those that the operation counts.", clip(w))
		}
		states = append(states, s)
	}
	return states, nil
}

// repeat makes an order of an operation and the states of its devices, all of one
// event, which the order's target names.
func (c *Console) repeat(ctx context.Context, v *reading, o *order, id task.ID, states []task.State) error {
	was, err := v.findOperation(ctx, id)
	if err != nil {
		return err
	}
	if o.kind, err = kindNamed(was.Kind); err != nil {
		return err
	}
	o.Kind, o.params, o.retryOf = was.Kind, was.Params, id
	if o.RunTimeoutSeconds == 0 {
		o.RunTimeoutSeconds = int64(was.RunTimeout / time.Second)
	}
	if o.Priority == 0 {
		o.Priority = was.Priority
	}
	o.resolve = func() error {
		devices, number, _, err := v.operations.InStates(id, states...)
		if err != nil {
			return err
		}
		if v.past {
			number = v.event
		}
		for _, n := range c.cfg.Authority.Blocked() {
			devices.Remove(n)
		}
		var words []string
		for _, s := range states {
			words = append(words, s.String())
		}
		o.targets, o.target = devices, fmt.Sprintf("%s of operation %s as of event %d", strings.Join(words, ", "), id, number)
		if devices.IsEmpty() {
			return badRequest(titleRetry, "only: as of event %d no device of operation %s that is not blocked is %s.", number, id, strings.Join(words, " or "))
		}
		return nil
	}
	return nil
}
