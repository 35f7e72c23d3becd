package console

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

type operationsInput struct {
	When
	Before string `query:"before" doc:"only older ones than this operation"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
}

func (c *Console) listOperations(ctx context.Context, in *operationsInput) (*out[OperationPage], error) {
	var before task.ID
	if in.Before != "" {
		var err error
		if before, err = parseOperation(in.Before); err != nil {
			return nil, err
		}
	}
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	rows, err := v.operations.List(before, in.Limit)
	if err != nil {
		return nil, c.failView(ctx, "list operations", err)
	}
	page := OperationPage{Items: []Operation{}, Event: v.event}
	for i := range rows {
		page.Items = append(page.Items, operationJSON(&rows[i], v.event))
	}
	if len(rows) == in.Limit {
		page.Next = rows[len(rows)-1].ID.String()
	}
	return answerAt(page, v.event)
}

func parseOperation(s string) (task.ID, error) {
	id, err := task.ParseID(s)
	if err != nil {
		return id, badRequest("The operation's id cannot be read", "%q is %s.", clip(s), err)
	}
	return id, nil
}

func operationJSON(o *operation.Operation, at uint64) Operation {
	shown := Operation{
		Operation: o.ID.String(), Kind: o.Kind, Target: o.Target, Reason: o.Reason, Actor: o.Actor.Subject,
		Targets: o.Count, Online: o.Online, States: make(map[string]uint32, len(task.States)),
		Columns:   Columns{o.Total(), o.Completed(), o.Failed(), o.Offline(), o.Unknown()},
		Requested: o.Requested, NotBefore: o.NotBefore, DeliverBy: o.DeliverBy,
		Priority: o.Priority, Durable: o.Durable, RetryOf: idOrNone(o.RetryOf), Paced: o.Paced(), Released: o.Released, Held: o.Held(),
		Cancelled: o.Cancelled, Stopped: o.Stopped, Expired: o.Expired, Closed: o.Closed, Done: o.Done(), First: o.Event, Event: at,
	}
	for _, s := range task.States {
		shown.States[s.String()] = o.States[s]
	}
	return shown
}

// OperationInput is the parameters of reads of one operation.
type OperationInput struct {
	When
	ID string `path:"id" maxLength:"64"`
}

// operation opens the views as asked and reads the operation.
func (c *Console) operation(ctx context.Context, in *OperationInput) (v *reading, o operation.Operation, err error) {
	id, err := parseOperation(in.ID)
	if err != nil {
		return nil, o, err
	}
	if v, err = c.read(ctx, in.When); err != nil {
		return nil, o, err
	}
	if o, err = v.findOperation(ctx, id); err != nil {
		return nil, o, c.failView(ctx, "read the operation", err)
	}
	v.event = max(v.event, o.Event)
	return v, o, nil
}

// findOperation looks again once the view holds all that the journal holds: one
// that was acknowledged a moment ago is found.
func (v *reading) findOperation(ctx context.Context, id task.ID) (operation.Operation, error) {
	o, ok, err := v.operations.Get(id)
	if err == nil && !ok {
		v.catchUp(ctx)
		o, ok, err = v.operations.Get(id)
	}
	if err == nil && !ok {
		err = notFound("There is no operation %s.", id)
		if v.past {
			err = notFound("There was no operation %s after event %d.", id, v.event)
		}
	}
	return o, err
}

type operationInput struct {
	OperationInput
	Latency bool `query:"latency" default:"true" doc:"false leaves the latencies out, for which all devices are read: for who only watches the counts"`
}

func (c *Console) getOperation(ctx context.Context, in *operationInput) (*out[OperationReply], error) {
	v, o, err := c.operation(ctx, &in.OperationInput)
	if err != nil {
		return nil, err
	}
	reply := OperationReply{Operation: operationJSON(&o, v.event), RunTimeoutSeconds: o.RunTimeout.Seconds(),
		Pacing: pacingJSON(&o, c.cfg.Now()), Cancel: cutJSON(&o.Cancel), Stop: stopJSON(&o.Stop)}
	if v.past && reply.Pacing != nil {
		reply.Pacing.Left = nil // it is told from now on
	}
	if len(o.Params) > 0 {
		if err := json.Unmarshal(o.Params, &reply.Params); err != nil {
			return nil, c.fail(ctx, "read the operation's parameters", err)
		}
	}
	switch {
	case !in.Latency:
	case v.past:
		reply.Latency, err = measure(ctx, v.operations, &o)
	default:
		reply.Latency, err = c.latency.of(ctx, v.operations, &o)
	}
	if err != nil {
		return nil, c.failView(ctx, "measure the operation", err)
	}
	return answerAt(reply, v.event)
}

type targetsInput struct {
	OperationInput
	State string `query:"state" doc:"only those in this state"`
	After uint32 `query:"after"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (c *Console) listTargets(ctx context.Context, in *targetsInput) (*out[TargetPage], error) {
	state := task.NoState
	if in.State != "" {
		var ok bool
		if state, ok = task.ParseState(in.State); !ok {
			return nil, badRequest("The state is unknown", "state: there is no %q; states are those that the operation counts.", clip(in.State))
		}
	}
	v, o, err := c.operation(ctx, &in.OperationInput)
	if err != nil {
		return nil, err
	}
	rows, err := v.operations.Devices(o.ID, state, in.After, in.Limit)
	if err != nil {
		return nil, c.failView(ctx, "list the operation's devices", err)
	}
	page := TargetPage{Items: []Target{}, Event: v.event}
	for i := range rows {
		name, err := v.nameOf(rows[i].Device)
		if err != nil {
			return nil, c.failView(ctx, "list the operation's devices", err)
		}
		page.Items = append(page.Items, targetJSON(&rows[i], name))
	}
	if len(rows) == in.Limit {
		page.Next = rows[len(rows)-1].Device
	}
	return answerAt(page, v.event)
}

func (v *reading) nameOf(number uint32) (string, error) {
	d, _, err := v.devices.Get(number)
	return d.Name, err
}

func targetJSON(s *operation.DeviceState, name string) Target {
	return Target{
		Device: s.Device, Name: name, State: s.State.String(), Online: !s.WasOffline, Attempt: s.Attempt, Code: s.Code, Detail: s.Detail,
		Sent: instant(s.Sent), Received: instant(s.Delivered), Deferred: instant(s.Deferred), Deferral: s.Deferral, Running: instant(s.Started), Ended: instant(s.Ended), Event: s.Event,
	}
}

type cancelInput struct {
	ID   string `path:"id" maxLength:"64"`
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body ReasonRequest
}

// CancelReply says what a cancel found. The counts are those of its event, and
// absent if the views do not hold it in time: the operation has them then.
type CancelReply struct {
	Event   uint64  `json:"event" doc:"number of the event that the write became; use it as min-event to read it back"`
	Targets uint32  `json:"targets"`
	Running *uint32 `json:"running,omitempty" doc:"devices that had begun, and go on"`
	Ended   *uint32 `json:"ended,omitempty" doc:"devices that had ended"`
	Spared  *uint32 `json:"spared,omitempty" doc:"devices that had not begun, and do not any more"`
}

func (c *Console) cancelOperation(ctx context.Context, in *cancelInput) (*out[CancelReply], error) {
	id, err := parseOperation(in.ID)
	if err != nil {
		return nil, err
	}
	key, err := newOnceKey(actorOf(ctx), in.Key, "cancel "+id.String(), in.Body)
	if err != nil {
		return nil, err
	}
	p, word := &event.OperationCancelled{Operation: id, Reason: in.Body.Reason}, &task.Cancel{Operation: id, At: c.cfg.Now()}
	w, err := c.writeSigned(ctx, key, "cancel the operation", p, func() error { return c.cancellable(ctx, id) }, func() (_ task.KeyID, err error) {
		p.Cancel, err = c.cfg.Authority.SignCancel(word)
		return word.Key, err
	})
	if err != nil {
		return nil, err
	}
	return answerAt(c.cancelled(ctx, id, w.Body.Event), w.Body.Event)
}

// cancelled waits for the view to count what a cancel found.
func (c *Console) cancelled(ctx context.Context, id task.ID, number uint64) CancelReply {
	reply := CancelReply{Event: number}
	wait, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if c.cfg.Views.Wait(wait, number, "operation") != nil {
		return reply
	}
	o, ok, err := c.cfg.Operations.Get(id)
	if err != nil || !ok {
		return reply
	}
	reply.Targets = o.Count
	if cut := o.Cancel; cut.Event == number {
		reply.Running, reply.Ended, reply.Spared = &cut.Running, &cut.Ended, &cut.Spared
	}
	return reply
}

func (c *Console) cancellable(ctx context.Context, id task.ID) error {
	o, err := c.now().findOperation(ctx, id)
	switch {
	case err != nil:
		return err
	case o.Cancelled:
		return conflict("Operation %s is cancelled already.", id)
	case o.Stopped:
		return conflict("The site has stopped operation %s already: %s.", id, o.Stop.Reason)
	case o.Closed:
		return conflict("Operation %s is closed; nothing of it is under way.", id)
	case o.Done():
		return conflict("Operation %s is done: every device has reported its end.", id)
	}
	return nil
}

// write appends what check lets pass, once per key, and answers with the number
// of the event.
func (c *Console) write(ctx context.Context, key onceKey, doing string, p event.Payload, check func() error) (*out[Written], error) {
	return c.writeSigned(ctx, key, doing, p, check, nil)
}

// writeSigned is write for what sign signs, see appendSigned; nil signs nothing.
func (c *Console) writeSigned(ctx context.Context, key onceKey, doing string, p event.Payload, check func() error, sign signer) (*out[Written], error) {
	e := &event.Event{Observed: c.cfg.Now(), Key: key.envelope(), Actor: actorOf(ctx), Payload: p}
	err := c.cfg.Writes.check(key)
	if err == nil {
		err = check()
	}
	if err == nil {
		err = c.appendSigned(ctx, key, e, sign)
	}
	if d, ok := errors.AsType[doneAlready](err); ok {
		return answerAt(Written{uint64(d)}, uint64(d))
	}
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	return answerAt(Written{e.Number}, e.Number)
}
