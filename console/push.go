package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/collection"
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
	return c.request(ctx, key, &in.Body, func(o *order) (err error) {
		if o.kind, err = kindNamed(in.Body.Kind); err != nil {
			return err
		}
		if in.Body.MembersAt > 0 && in.Body.Collection == "" {
			return badRequest(titlePush, "membersAt is for a collection; name one.")
		}
		if in.Body.Kind == kindWake {
			return c.wake(ctx, o, &in.Body)
		}
		if o.params, err = o.kind.encode(in.Body.Kind, in.Body.Params); err != nil {
			return err
		}
		if in.Body.RetryOf != "" {
			if o.retryOf, err = parseOperation(in.Body.RetryOf); err != nil {
				return err
			}
		}
		if o.target = "devices"; in.Body.All {
			o.target = "all"
		}
		o.resolve = func() (err error) {
			if in.Body.Collection != "" {
				return c.resolveCollection(ctx, &in.Body, o)
			}
			o.targets, err = c.resolve(ctx, &in.Body)
			return err
		}
		return nil
	})
}

// An order is what becomes an operation: a request, and what it means.
type order struct {
	*PushRequest // its kind, clocks, pace and reason
	kind         *kind
	params       []byte
	target       string // whom it is for, in words
	retryOf      task.ID
	resolve      func() error    // sets targets
	targets      *roaring.Bitmap // never empty
	collection   string          // its id, of a push to one
	asOf         uint64          // the event that its members are as of
	leftOut      uint64          // members that are no targets
}

// request makes an operation of a request, once per key. fill finds out what it
// means.
func (c *Console) request(ctx context.Context, key onceKey, r *PushRequest, fill func(*order) error) (PushReply, error) {
	if r.DryRun {
		key = onceKey{}
	}
	if err := c.cfg.Writes.check(key); err != nil {
		return PushReply{}, err
	}
	now, o := c.cfg.Now().UTC(), &order{PushRequest: r}
	if err := fill(o); err != nil {
		return PushReply{}, err
	}
	t, err := newTask(o, now)
	if err != nil {
		return PushReply{}, err
	}
	if err := o.resolve(); err != nil {
		return PushReply{}, err
	}
	p, err := c.aim(t, o)
	if err != nil {
		return PushReply{}, err
	}
	if r.DryRun {
		return c.preview(t, p, o)
	}
	e := &event.Event{Observed: now, Key: key.envelope(), Actor: actorOf(ctx), Payload: p}
	err = c.appendSigned(ctx, key, e, func() (_ task.KeyID, err error) {
		p.Task, err = c.cfg.Authority.SignTask(t)
		return t.Key, err
	})
	if err != nil {
		return PushReply{}, err
	}
	return pushReply(t, p, e.Number), nil
}

// newTask checks everything of a request but its targets.
func newTask(o *order, now time.Time) (*task.Task, error) {
	t := &task.Task{Operation: task.NewID(now), Kind: o.Kind, Params: o.params, NotBefore: now, RunTimeout: o.kind.timeout, Requested: now}
	if o.RunTimeoutSeconds > 0 {
		t.RunTimeout = time.Duration(o.RunTimeoutSeconds) * time.Second
	}
	if o.NotBefore != nil && o.NotBefore.After(now) {
		t.NotBefore = o.NotBefore.UTC()
	}
	var err error
	t.DeliverBy, err = deliverBy(o, t.NotBefore, now)
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

// deliverBy is as asked for, or the kind's time after not-before, which is now at
// the earliest.
func deliverBy(o *order, notBefore, now time.Time) (time.Time, error) {
	switch {
	case o.DeliverBy != nil && o.DeliverBySeconds != 0:
		return time.Time{}, badRequest(titlePush, "Give deliverBy or deliverBySeconds, not both.")
	case o.DeliverBy != nil:
		return o.DeliverBy.UTC(), nil
	case o.DeliverBySeconds != 0:
		return now.Add(time.Duration(max(o.DeliverBySeconds, -1<<30)) * time.Second), nil
	}
	return notBefore.Add(o.kind.deliverBy), nil
}

// resolveCollection sets the targets to the members of a collection as of one event,
// which the order names: all that have an agent and are not blocked.
func (c *Console) resolveCollection(ctx context.Context, r *PushRequest, o *order) error {
	if r.All || len(r.Devices) > 0 {
		return badRequest(titlePush, "Give one of all, devices and collection.")
	}
	if c.cfg.Definitions == nil || c.cfg.Collections == nil {
		return errNoCollections
	}
	if head := c.cfg.Journal.Head().Event; r.MembersAt > head {
		return noEventYet("membersAt", r.MembersAt, head)
	}
	var w When
	if r.MembersAt > 0 {
		w.At = strconv.FormatUint(r.MembersAt, 10)
	}
	v, err := c.readCollections(ctx, w)
	if err == nil && r.MembersAt == 0 {
		err = c.awaitEvaluation(ctx, r.Collection)
	}
	if err != nil {
		return err
	}
	name := ""
	o.asOf, err = v.collections.At(func(s *collection.Snapshot) error {
		info, err := findCollection(s, r.Collection)
		if err != nil {
			return err
		}
		o.collection, name, o.targets = info.ID, info.Name, s.Members(info.ID).Clone()
		return nil
	})
	if err != nil {
		return err
	}
	members := o.targets.GetCardinality()
	o.targets.And(roaring.BitmapOf(c.cfg.Authority.Devices()...))
	o.targets.AndNot(roaring.BitmapOf(c.cfg.Authority.Blocked()...))
	o.leftOut = members - o.targets.GetCardinality()
	o.target = fmt.Sprintf("collection %s (%s) as of event %d", clip(name), o.collection, o.asOf)
	if o.targets.IsEmpty() {
		return badRequest(titlePush, "The push has no target; as of event %d collection %q has %d members, and none that has an agent and is not blocked.",
			o.asOf, clip(name), members)
	}
	return nil
}

// resolve returns the numbers of the devices that a request names.
func (c *Console) resolve(ctx context.Context, r *PushRequest) (*roaring.Bitmap, error) {
	switch {
	case r.All && len(r.Devices) > 0:
		return nil, badRequest(titlePush, "Give all or devices, not both.")
	case !r.All && len(r.Devices) == 0:
		return nil, badRequest(titlePush, "The push has no target; name devices or a collection, or say all.")
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

// resolveNames is resolve for words. Those that are the number of a device like most
// are not looked up: a list can be of a whole fleet.
func (c *Console) resolveNames(ctx context.Context, words []string) (*roaring.Bitmap, error) {
	v, targets := c.now(), roaring.New()
	usual, err := v.devices.Numbers()
	if err != nil {
		return nil, err
	}
	var no refused
	caughtUp := false
	for _, w := range words {
		number, ok := numberIn(usual, w)
		if !ok {
			d, err := v.findDevice(w)
			if isNotFound(err) && !caughtUp { // it may have joined just now
				c.catchUp(ctx)
				caughtUp = true
				d, err = v.findDevice(w)
			}
			if err != nil && !isNotFound(err) {
				return nil, err
			}
			if err != nil || d.Removed() {
				no.unknown = append(no.unknown, w)
				continue
			}
			if !d.HasJoined() {
				no.silent = append(no.silent, w)
			}
			number = d.Number
		}
		if is, _ := c.cfg.Authority.IsBlocked(number); is {
			no.blocked = append(no.blocked, w)
		}
		targets.Add(number)
	}
	return targets, no.err()
}

// numberIn reads the number of a device that is among those.
func numberIn(devices *roaring.Bitmap, word string) (number uint32, ok bool) {
	n, err := strconv.ParseUint(word, 10, 32)
	return uint32(n), err == nil && devices.Contains(uint32(n))
}

// refused are the words of a push that cannot be targets.
type refused struct{ unknown, blocked, silent []string }

func (r *refused) err() error {
	switch {
	case len(r.unknown) > 0:
		return badRequest(titlePush, "devices: there is no %s; bugle devices list shows what there is.", some(r.unknown))
	case len(r.blocked) > 0:
		return badRequest(titlePush, "devices: %s cannot be targets, for they are blocked; unblock them or leave them out.", some(r.blocked))
	case len(r.silent) > 0:
		return badRequest(titlePush, "devices: %s cannot be targets, for they were imported and no agent has joined for them; leave them out.", some(r.silent))
	}
	return nil
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
func (c *Console) aim(t *task.Task, o *order) (*event.OperationRequested, error) {
	tree, err := task.NewTargets(roaring.Values(o.targets))
	if err != nil {
		return nil, badRequest(titlePush, "devices: %s.", err)
	}
	t.Root, t.Leaves = tree.Root(), tree.Leaves()
	online, err := c.now().online()
	if err != nil {
		return nil, err
	}
	offline := roaring.AndNot(o.targets, online)
	p := &event.OperationRequested{Target: o.target, Reason: o.Reason, Count: uint32(o.targets.GetCardinality()),
		RetryOf: o.retryOf, Priority: o.kind.priority, Durable: o.kind.durable(), Collection: o.collection, AsOf: o.asOf}
	if o.Priority > 0 {
		p.Priority = o.Priority
	}
	p.Online = p.Count - uint32(offline.GetCardinality())
	if p.Pacing, err = o.pacing(p.Count); err != nil {
		return nil, err
	}
	if err := fits(t, p); err != nil {
		return nil, err
	}
	if p.Targets, err = encodeSet(o.targets); err != nil {
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
	reply := PushReply{
		Operation: t.Operation.String(), Kind: t.Kind, Targets: p.Count, Online: p.Online, Event: number,
		NotBefore: t.NotBefore, DeliverBy: t.DeliverBy, Target: p.Target, Priority: p.Priority, Durable: p.Durable, RetryOf: idOrNone(p.RetryOf),
		Collection: p.Collection, MembersAt: p.AsOf,
	}
	reply.Plan, reply.Warnings = planOf(t, p)
	return reply
}

func idOrNone(id task.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func (c *Console) preview(t *task.Task, p *event.OperationRequested, o *order) (PushReply, error) {
	reply := pushReply(t, p, c.position())
	reply.Operation, reply.DryRun, reply.LeftOut = "", true, o.leftOut
	for n := range roaring.Values(o.targets) {
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
