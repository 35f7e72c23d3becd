package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	titlePush   = "The push cannot be taken"
	maxValidity = 365 * 24 * time.Hour
	maxNamed    = 10  // devices that one answer names as unknown
	maxPreview  = 100 // devices that a dry run names
)

type pushInput struct {
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body PushRequest
}

// push makes an operation of a request: whom it is for is resolved here, once.
func (c *Console) push(ctx context.Context, in *pushInput) (*out[PushReply], error) {
	reply, err := c.pushOnce(ctx, in)
	if d, ok := errors.AsType[doneAlready](err); ok {
		reply, err = c.pushed(ctx, uint64(d))
	}
	if err != nil {
		return nil, c.failView(ctx, "push", err)
	}
	return answer(reply)
}

func (c *Console) pushOnce(ctx context.Context, in *pushInput) (PushReply, error) {
	key, err := newOnceKey(actorOf(ctx), in.Key, "push", in.Body)
	if err != nil {
		return PushReply{}, err
	}
	if in.Body.DryRun {
		key = onceKey{}
	}
	if err := c.cfg.Writes.check(key); err != nil {
		return PushReply{}, err
	}
	now := c.cfg.Now().UTC()
	t, err := newTask(&in.Body, now)
	if err != nil {
		return PushReply{}, err
	}
	targets, err := c.resolve(ctx, &in.Body)
	if err != nil {
		return PushReply{}, err
	}
	p, err := c.aim(t, targets, &in.Body)
	if err != nil {
		return PushReply{}, err
	}
	if in.Body.DryRun {
		return c.preview(t, p, targets)
	}
	if p.Task, err = c.cfg.Authority.SignTask(t); err != nil {
		return PushReply{}, err
	}
	e := &event.Event{Observed: now, Key: key.envelope(), Actor: actorOf(ctx), Payload: p}
	if err := c.cfg.Journal.AppendIf(ctx, func() error { return c.cfg.Writes.check(key) }, e); err != nil {
		return PushReply{}, err
	}
	return pushReply(t, p, e.Number), nil
}

// newTask checks everything of a request but its targets.
func newTask(r *PushRequest, now time.Time) (*task.Task, error) {
	k, err := kindNamed(r.Kind)
	if err != nil {
		return nil, err
	}
	params, err := k.encode(r.Kind, r.Params)
	if err != nil {
		return nil, err
	}
	t := &task.Task{Operation: task.NewID(now), Kind: r.Kind, Params: params, NotBefore: now, RunTimeout: k.timeout, Requested: now}
	if r.RunTimeoutSeconds > 0 {
		t.RunTimeout = time.Duration(r.RunTimeoutSeconds) * time.Second
	}
	if r.NotBefore != nil && r.NotBefore.After(now) {
		t.NotBefore = r.NotBefore.UTC()
	}
	t.DeliverBy, err = deliverBy(r, now)
	switch {
	case err != nil:
		return nil, err
	case !t.DeliverBy.After(now):
		return nil, badRequest(titlePush, "deliverBy: %s is in the past, it is now %s; give a later instant.",
			t.DeliverBy.Format(time.RFC3339), now.Format(time.RFC3339))
	case !t.DeliverBy.After(t.NotBefore):
		return nil, badRequest(titlePush, "deliverBy: %s is not after notBefore, %s.",
			t.DeliverBy.Format(time.RFC3339), t.NotBefore.Format(time.RFC3339))
	case t.DeliverBy.Sub(now) > maxValidity:
		return nil, badRequest(titlePush, "deliverBy: %s is more than a year from now.", t.DeliverBy.Format(time.RFC3339))
	}
	return t, nil
}

func deliverBy(r *PushRequest, now time.Time) (time.Time, error) {
	switch {
	case r.DeliverBy != nil && r.DeliverBySeconds != 0:
		return time.Time{}, badRequest(titlePush, "Give deliverBy or deliverBySeconds, not both.")
	case r.DeliverBy != nil:
		return r.DeliverBy.UTC(), nil
	case r.DeliverBySeconds != 0:
		return now.Add(time.Duration(max(r.DeliverBySeconds, -1<<30)) * time.Second), nil
	case r.NotBefore != nil && r.NotBefore.After(now):
		return r.NotBefore.UTC().Add(defaultDeliverBy), nil
	}
	return now.Add(defaultDeliverBy), nil
}

// resolve returns the numbers of the devices that a request names.
func (c *Console) resolve(ctx context.Context, r *PushRequest) (*roaring.Bitmap, error) {
	switch {
	case r.All && len(r.Devices) > 0:
		return nil, badRequest(titlePush, "Give all or devices, not both.")
	case !r.All && len(r.Devices) == 0:
		return nil, badRequest(titlePush, "The push has no target; name devices, or say all.")
	case !r.All:
		return c.resolveNames(ctx, r.Devices)
	}
	targets, err := c.cfg.Devices.Numbers()
	if err != nil {
		return nil, err
	}
	targets.AddMany(c.cfg.Authority.Devices()) // the view may not know who joined just now
	for _, n := range c.cfg.Authority.Blocked() {
		targets.Remove(n)
	}
	if targets.IsEmpty() {
		return nil, badRequest(titlePush, "The push has no target; no device that is not blocked has joined yet.")
	}
	return targets, nil
}

func (c *Console) resolveNames(ctx context.Context, words []string) (*roaring.Bitmap, error) {
	v, targets := c.now(), roaring.New()
	var unknown, blocked []string
	caughtUp := false
	for _, w := range words {
		d, err := v.findDevice(w)
		if isNotFound(err) && !caughtUp { // it may have joined just now
			c.catchUp(ctx)
			caughtUp = true
			d, err = v.findDevice(w)
		}
		switch {
		case isNotFound(err):
			unknown = append(unknown, w)
			continue
		case err != nil:
			return nil, err
		}
		if is, _ := c.cfg.Authority.IsBlocked(d.Number); is {
			blocked = append(blocked, w)
		}
		targets.Add(d.Number)
	}
	if len(unknown) > 0 {
		return nil, badRequest(titlePush, "devices: there is no %s; bugle devices list shows what there is.", some(unknown))
	}
	if len(blocked) > 0 {
		return nil, badRequest(titlePush, "devices: %s cannot be targets, for they are blocked; unblock them or leave them out.", some(blocked))
	}
	return targets, nil
}

// some quotes the first few words of a list.
func some(words []string) string {
	var quoted []string
	for _, w := range words[:min(len(words), maxNamed)] {
		quoted = append(quoted, fmt.Sprintf("%q", clip(w)))
	}
	if more := len(words) - len(quoted); more > 0 {
		quoted = append(quoted, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(quoted, ", ")
}

// aim puts the targets into the task and makes the event's payload of them.
func (c *Console) aim(t *task.Task, targets *roaring.Bitmap, r *PushRequest) (*event.OperationRequested, error) {
	tree, err := task.NewTargets(roaring.Values(targets))
	if err != nil {
		return nil, badRequest(titlePush, "devices: %s.", err)
	}
	t.Root, t.Leaves = tree.Root(), tree.Leaves()
	online, err := c.now().online()
	if err != nil {
		return nil, err
	}
	offline := roaring.AndNot(targets, online)
	p := &event.OperationRequested{Target: "devices", Reason: r.Reason, Count: uint32(targets.GetCardinality())}
	if r.All {
		p.Target = "all"
	}
	p.Online = p.Count - uint32(offline.GetCardinality())
	if p.Targets, err = encodeSet(targets); err != nil {
		return nil, err
	}
	p.Offline, err = encodeSet(offline)
	return p, err
}

func encodeSet(set *roaring.Bitmap) ([]byte, error) {
	set.RunOptimize()
	raw, err := set.ToBytes()
	if err != nil {
		return nil, fmt.Errorf("encode targets: %w", err)
	}
	if len(raw) > event.MaxBitmap {
		return nil, problem(http.StatusRequestEntityTooLarge, titlePush,
			"The numbers of the targets are too scattered for one operation (%d bytes, at most %d are taken); push in parts.", len(raw), event.MaxBitmap)
	}
	return raw, nil
}

func pushReply(t *task.Task, p *event.OperationRequested, number uint64) PushReply {
	return PushReply{
		Operation: t.Operation.String(), Kind: t.Kind, Targets: p.Count, Online: p.Online, Event: number,
		NotBefore: t.NotBefore, DeliverBy: t.DeliverBy,
	}
}

func (c *Console) preview(t *task.Task, p *event.OperationRequested, targets *roaring.Bitmap) (PushReply, error) {
	reply := pushReply(t, p, c.position())
	reply.Operation, reply.DryRun = "", true
	for n := range roaring.Values(targets) {
		if len(reply.Devices) == maxPreview {
			break
		}
		d, _, err := c.cfg.Devices.Get(n)
		if err != nil {
			return reply, err
		}
		reply.Devices = append(reply.Devices, d.Name)
	}
	return reply, nil
}

// pushed is the answer to a push that became the given event.
func (c *Console) pushed(ctx context.Context, number uint64) (PushReply, error) {
	e, err := c.event(ctx, number)
	if err != nil {
		return PushReply{}, err
	}
	p, ok := e.Payload.(*event.OperationRequested)
	if !ok {
		return PushReply{}, conflictingKey(number)
	}
	t, err := p.Task.Task()
	if err != nil {
		return PushReply{}, fmt.Errorf("event %d: %w", number, err)
	}
	return pushReply(&t, p, number), nil
}

func (c *Console) listKinds(context.Context, *struct{}) (*out[KindList], error) {
	return answer(kindList())
}
