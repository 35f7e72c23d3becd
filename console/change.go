package console

import (
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// addChanges adds what was before and after to the events of a scan. Each costs
// two looks into the past, so the page ends at the event that would be one too
// many.
func (c *Console) addChanges(ctx context.Context, s *scan) {
	changes := 0
	for i, e := range s.events {
		if changes == maxChanges {
			s.page.Next, s.page.Items = e.Number, s.page.Items[:i]
			return
		}
		if s.page.Items[i].Change = c.changeOf(ctx, e); s.page.Items[i].Change != nil {
			changes++
		}
	}
}

// changeOf tells what an event changed that an administrator owns; it is nil for
// an event that changes nothing of the sort.
func (c *Console) changeOf(ctx context.Context, e *event.Event) *Change {
	switch p := e.Payload.(type) {
	case *event.PolicyChanged:
		return c.policyChange(ctx, e, p)
	case *event.CollectionChanged:
		return &Change{Of: "collection " + p.ID, Before: rawDefinition(p.Before), After: rawDefinition(p.After)}
	case *event.ClassesDefined:
		return &Change{Of: "classes of inventory", After: rawClasses(p.Classes), Note: "Nothing is taken away: each class has these properties beside those that it had."}
	case *event.EvaluationRequested:
		return &Change{Of: "members of collections", After: map[string]any{"evaluate": p.Collections, "dependants": p.Dependants},
			Note: "Whom it moved is in the event collections.evaluated that names this one as its cause."}
	case *event.WindowChanged:
		return windowChange(p)
	case *event.TokenCreated:
		after := map[string]any{"uses": p.Uses, "expires": p.Expires}
		if p.Device != 0 {
			after["device"] = p.Device
		}
		return &Change{Of: "token " + p.Token, After: after}
	case *event.TokenRevoked:
		return &Change{Of: "token " + p.Token, After: map[string]any{"revoked": true}, Note: "No view holds tokens: what it was before is in the event token.created and in those of the devices that joined with it."}
	case *event.ViewRebuilt:
		return viewChange(p.View, p.Generation, p.Position, p.Digest, p.Same)
	case *event.ViewRolledBack:
		return viewChange(p.View, p.Generation, p.Position, p.Digest, p.Same)
	case *event.DeviceBlocked:
		return c.stateChange(ctx, e, fmt.Sprintf("device %d", p.Device), deviceNumbered(p.Device), deviceNumbered(p.Device))
	case *event.DeviceUnblocked:
		return c.stateChange(ctx, e, fmt.Sprintf("device %d", p.Device), deviceNumbered(p.Device), deviceNumbered(p.Device))
	case *event.DeviceRemoved:
		return c.stateChange(ctx, e, fmt.Sprintf("device %d", p.Device), deviceNumbered(p.Device), deviceNumbered(p.Device))
	case *event.OperationCancelled:
		return c.stateChange(ctx, e, "operation "+p.Operation.String(), operationOf(p.Operation), operationOf(p.Operation))
	case *event.OperationStopped:
		return c.stateChange(ctx, e, "operation "+p.Operation.String(), operationOf(p.Operation), operationOf(p.Operation))
	case *event.FileRequeued:
		return c.stateChange(ctx, e, "quarantined file "+p.Name, fileNamed(p.Name), fileNamed(p.Name))
	case *event.OperationRequested:
		return c.requestChange(ctx, e, p)
	}
	return nil
}

// requestChange shows a new operation. Of one that repeats another, the other is
// what was before.
func (c *Console) requestChange(ctx context.Context, e *event.Event, p *event.OperationRequested) *Change {
	t, err := p.Task.Task()
	if err != nil {
		return &Change{Of: "an operation", Note: "Its task cannot be read."}
	}
	of, before := "operation "+t.Operation.String(), thing(func(*reading) (any, error) { return nil, nil })
	if !p.RetryOf.IsZero() {
		of, before = of+", a retry of operation "+p.RetryOf.String(), operationOf(p.RetryOf)
	}
	return c.stateChange(ctx, e, of, before, operationOf(t.Operation))
}

// viewChange is what the event itself says: the journal does not tell which
// generation of a view served before.
func viewChange(name string, generation uint32, position uint64, digest [32]byte, same bool) *Change {
	after := map[string]any{"generation": generation, "position": position, "digest": fmt.Sprintf("%x", digest)}
	change := &Change{Of: "view " + name, After: after, Note: "The generation before had another digest at that position: one of the two was damaged."}
	if same {
		change.Before = map[string]any{"position": position, "digest": after["digest"]}
		change.Note = "The generation before had the same digest at that position."
	}
	return change
}

// A thing reads one thing out of the views, nil if it is not there.
type thing func(*reading) (any, error)

func deviceNumbered(number uint32) thing {
	return func(v *reading) (any, error) {
		d, ok, err := v.devices.Get(number)
		if err != nil || !ok {
			return nil, err
		}
		reply, err := v.deviceReply(&d)
		return map[string]any{"number": reply.Number, "name": reply.Name, "id": reply.ID, "blocked": reply.Blocked,
			"blockReason": reply.BlockReason, "online": reply.Online, "reason": reply.Reason, "removed": reply.Removed != nil}, err
	}
}

func operationOf(id task.ID) thing {
	return func(v *reading) (any, error) {
		o, ok, err := v.operations.Get(id)
		if err != nil || !ok {
			return nil, err
		}
		return operationJSON(&o, v.event), nil
	}
}

func fileNamed(name string) thing {
	return func(v *reading) (any, error) {
		q, ok, err := v.quarantined(name)
		if err != nil || !ok {
			return nil, err
		}
		return quarantinedJSON(&q), nil
	}
}

// stateChange reads a thing as it was right before and right after an event.
func (c *Console) stateChange(ctx context.Context, e *event.Event, of string, before, after thing) *Change {
	change := &Change{Of: of}
	var first, second error
	if e.Number > 1 {
		change.Before, first = c.thingAt(ctx, e.Number-1, before)
	}
	change.After, second = c.thingAt(ctx, e.Number, after)
	if err := errors.Join(first, second); err != nil {
		change.Before, change.After, change.Note = nil, nil, "It cannot be told now: "+c.sentence(ctx, err)
	}
	return change
}

// sentence is what an answer would say of an error.
func (c *Console) sentence(ctx context.Context, err error) string {
	if p, ok := errors.AsType[*Problem](c.failView(ctx, "tell what was before and after", err)); ok {
		return p.Detail
	}
	return "see the server's log."
}

func (c *Console) thingAt(ctx context.Context, number uint64, read thing) (any, error) {
	v, err := c.readAt(ctx, number)
	if err != nil {
		return nil, err
	}
	return read(v)
}

// policyChange needs no view: the fold knows which event set the policy before.
func (c *Console) policyChange(ctx context.Context, e *event.Event, p *event.PolicyChanged) *Change {
	change := &Change{Of: "policy of the site", After: rawJSON(p.Body)}
	if p.User == Everybody {
		change.Of = "policy of people"
	} else if p.User != "" {
		change.Of = "policy of " + p.User
	}
	was, err := c.policyAsOf(ctx, p.User, e.Number-1)
	if err != nil {
		change.Note = "What it was before cannot be told now: " + c.sentence(ctx, err)
		return change
	}
	change.Before = rawJSON(was.body)
	return change
}
