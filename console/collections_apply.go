package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

const titleDefinitions = "The definitions cannot be taken"

type applyInput struct {
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body ApplyRequest
}

func (c *Console) applyDefinitions(ctx context.Context, in *applyInput) (*out[ApplyReply], error) {
	key, err := newOnceKey(actorOf(ctx), in.Key, "apply definitions", in.Body)
	if err != nil {
		return nil, err
	}
	return c.applyRequest(ctx, key, &in.Body)
}

type deleteCollectionInput struct {
	Collection string `path:"collection" maxLength:"256" doc:"id or name"`
	Key        string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Reason     string `query:"reason" maxLength:"4096" doc:"why, for the history"`
	Force      bool   `query:"force" doc:"do it however many devices it moves"`
}

func (c *Console) deleteCollection(ctx context.Context, in *deleteCollectionInput) (*out[ApplyReply], error) {
	r := ApplyRequest{Delete: []string{in.Collection}, Reason: in.Reason, Force: in.Force}
	key, err := newOnceKey(actorOf(ctx), in.Key, "delete collection", r)
	if err != nil {
		return nil, err
	}
	return c.applyRequest(ctx, key, &r)
}

type classesInput struct {
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body ClassesRequest
}

func (c *Console) defineClasses(ctx context.Context, in *classesInput) (*out[ApplyReply], error) {
	r := ApplyRequest{Document: definitions.Document{Classes: in.Body.Classes}, Reason: in.Body.Reason, DryRun: in.Body.DryRun}
	key, err := newOnceKey(actorOf(ctx), in.Key, "define classes", r)
	if err != nil {
		return nil, err
	}
	return c.applyRequest(ctx, key, &r)
}

func (c *Console) applyRequest(ctx context.Context, key onceKey, r *ApplyRequest) (*out[ApplyReply], error) {
	const doing = "change the definitions"
	if c.cfg.Definitions == nil {
		return nil, errNoCollections
	}
	reply, err := c.applyOnce(ctx, key, r)
	if d, ok := errors.AsType[doneAlready](err); ok {
		reply, err = c.applied(ctx, uint64(d))
	}
	if errors.Is(err, journal.ErrRefused) {
		err = problem(http.StatusRequestEntityTooLarge, titleDefinitions, "The changes are too large to be made at once; apply them in parts.")
	}
	if refused, ok := errors.AsType[*DefinitionProblem](err); ok {
		return nil, refused
	}
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	return answerAt(reply, max(reply.Event, reply.Version))
}

// applyTries is how often a plan is made anew because the definitions changed while
// it was made.
const applyTries = 5

// errMoved is a guard's error: the definitions are not those of the plan any more.
var errMoved = errors.New("the definitions changed meanwhile")

// applyOnce makes a plan of a request and carries it out, once per key. One call
// at a time makes changes.
func (c *Console) applyOnce(ctx context.Context, key onceKey, r *ApplyRequest) (ApplyReply, error) {
	if !r.DryRun {
		select {
		case c.defining <- struct{}{}:
			defer func() { <-c.defining }()
		case <-ctx.Done():
			return ApplyReply{}, ctx.Err()
		}
		if err := c.cfg.Writes.check(key); err != nil {
			return ApplyReply{}, err
		}
	}
	request, err := c.definitionRequest(ctx, r)
	if err != nil {
		return ApplyReply{}, err
	}
	for try := 1; ; try++ {
		reply, err := c.tryApply(ctx, key, r, request)
		if !errors.Is(err, errMoved) {
			return reply, err
		}
		if try == applyTries {
			return reply, conflict("The definitions are being changed by others all the time; try again in a moment.")
		}
	}
}

func (c *Console) tryApply(ctx context.Context, key onceKey, r *ApplyRequest, request *definitions.Request) (ApplyReply, error) {
	now := c.cfg.Definitions.Now()
	if r.IfVersion != nil && *r.IfVersion != now.Version() {
		return ApplyReply{}, problem(http.StatusPreconditionFailed, "The definitions were changed meanwhile",
			"Event %d changed them since they were read; look again what would change.", now.Version())
	}
	plan, err := now.Plan(request)
	if err != nil {
		return ApplyReply{}, refusedDefinitions(err)
	}
	reply := ApplyReply{Changes: []DefinitionChange{}, Version: plan.Version, DryRun: r.DryRun}
	for _, s := range plan.Steps {
		if s.Action == definitions.Keep {
			reply.Unchanged++
			continue
		}
		reply.Changes = append(reply.Changes, DefinitionChange{Action: string(s.Action), Of: s.Of, ID: s.ID, Name: s.Name, Diff: s.Diff})
	}
	if r.DryRun || !r.Force {
		reply.Impact = c.impact(ctx, plan)
	}
	payloads := plan.Events()
	if r.DryRun || len(payloads) == 0 {
		return reply, nil
	}
	if reply.Impact != nil && reply.Impact.Force {
		return reply, problem(http.StatusConflict, "The change moves many devices", "%s Look with a dry run who enters and leaves, then give force.",
			strings.Join(reply.Impact.Why, " "))
	}
	return reply, c.appendPlan(ctx, key, plan, payloads, &reply)
}

// appendPlan makes the events of a plan durable, all in one page.
func (c *Console) appendPlan(ctx context.Context, key onceKey, plan *definitions.Plan, payloads []event.Payload, reply *ApplyReply) error {
	events := make([]*event.Event, 0, len(payloads))
	numbers := map[event.Payload]*event.Event{}
	for _, p := range payloads {
		e := &event.Event{Observed: c.cfg.Now(), Key: key.envelope(), Actor: actorOf(ctx), Payload: p}
		events, numbers[p] = append(events, e), e
	}
	err := c.cfg.Journal.AppendIf(ctx, func() error {
		if err := c.cfg.Writes.check(key); err != nil {
			return err
		}
		if c.cfg.Definitions.Version() != plan.Version {
			return errMoved
		}
		return nil
	}, events...)
	if err != nil {
		return err
	}
	i := 0
	for _, s := range plan.Steps {
		if s.Action != definitions.Keep {
			reply.Changes[i].Event = numbers[s.Payload].Number
			i++
		}
	}
	reply.Event, reply.Impact = events[len(events)-1].Number, nil
	reply.Version = reply.Event
	return nil
}

// definitionRequest finds the devices that a request names.
func (c *Console) definitionRequest(ctx context.Context, r *ApplyRequest) (*definitions.Request, error) {
	q := &definitions.Request{Document: r.Document, Delete: r.Delete, Reason: r.Reason, Device: c.now().deviceNamer()}
	var refused definitions.Refusal
	for i := range r.Collections {
		words := r.Collections[i].Direct
		set, unknown, err := c.devicesNamed(ctx, words)
		if err != nil {
			return nil, err
		}
		for _, u := range unknown {
			refused.Add(definitions.Error{Path: fmt.Sprintf("collections[%d].direct[%d]", i, u.at), Message: u.why})
		}
		q.Direct = append(q.Direct, set)
	}
	if len(refused.Errors) > 0 {
		return nil, refusedDefinitions(&refused)
	}
	return q, nil
}

// An unnamed is a word that names no device.
type unnamed struct {
	at  int // in the list
	why string
}

// devicesNamed returns the numbers of the devices that words name, nil for no words.
func (c *Console) devicesNamed(ctx context.Context, words []string) (set *roaring.Bitmap, unknown []unnamed, err error) {
	if len(words) == 0 {
		return nil, nil, nil
	}
	v, caughtUp := c.now(), false
	set = roaring.New()
	for i, word := range words {
		d, err := v.findDevice(word)
		if isNotFound(err) && !caughtUp { // it may have joined just now
			c.catchUp(ctx)
			caughtUp = true
			d, err = v.findDevice(word)
		}
		p, refused := errors.AsType[*Problem](err)
		switch {
		case refused:
			unknown = append(unknown, unnamed{i, p.Detail})
		case err != nil:
			return nil, nil, err
		case d.Removed():
			unknown = append(unknown, unnamed{i, fmt.Sprintf("device %d was removed", d.Number)})
		default:
			set.Add(d.Number)
		}
	}
	return set, unknown, nil
}

// deviceNamer names devices by their names, and by their numbers if a name is not
// one device's.
func (v *reading) deviceNamer() func(number uint32) string {
	return func(number uint32) string {
		d, ok, err := v.devices.Get(number)
		if err != nil || !ok || d.Name == "" {
			return fmt.Sprint(number)
		}
		if found, err := v.findDevice(d.Name); err != nil || found.Number != number {
			return fmt.Sprint(number)
		}
		return d.Name
	}
}

// refusedDefinitions makes a problem of a refusal.
func refusedDefinitions(err error) error {
	refusal, ok := errors.AsType[*definitions.Refusal](err)
	if !ok {
		return err
	}
	p := &DefinitionProblem{Problem: Problem{Status: http.StatusUnprocessableEntity, Title: titleDefinitions, Detail: refusal.Error() + "."}, Refused: refusal.Errors}
	if refusal.Stale {
		p.Status, p.Title = http.StatusPreconditionFailed, "The definitions were changed meanwhile"
	}
	return p
}

// applied is the answer to a request that became the given event and those behind
// it with the same key.
func (c *Console) applied(ctx context.Context, first uint64) (ApplyReply, error) {
	reply := ApplyReply{Changes: []DefinitionChange{}}
	events, err := c.sameKey(ctx, first)
	if err != nil {
		return reply, err
	}
	for _, e := range events {
		changes := changesOf(e)
		if changes == nil {
			return reply, conflictingKey(first)
		}
		reply.Changes = append(reply.Changes, changes...)
		reply.Event, reply.Version = e.Number, e.Number
	}
	return reply, nil
}

// sameKey returns an event and those behind it in its page that have its key: all
// that one request became.
func (c *Console) sameKey(ctx context.Context, first uint64) (events []*event.Event, err error) {
	page, err := readPage(ctx, c.cfg.Journal, first)
	if err != nil {
		return nil, err
	}
	for i := first - page.First; i < uint64(len(page.Records)); i++ {
		e, err := page.Records[i].Event()
		if err != nil {
			return nil, err
		}
		if len(events) > 0 && e.Key != events[0].Key {
			break
		}
		events = append(events, e)
	}
	return events, nil
}

// changesOf is what an event changed of definitions, nil for other events.
func changesOf(e *event.Event) []DefinitionChange {
	action := func(before, after bool) string {
		switch {
		case !before:
			return string(definitions.Create)
		case !after:
			return string(definitions.Delete)
		}
		return string(definitions.Change)
	}
	switch p := e.Payload.(type) {
	case *event.CollectionChanged:
		change := DefinitionChange{Action: action(p.Before != nil, p.After != nil), Of: "collection", ID: p.ID, Event: e.Number}
		for _, c := range []*event.Collection{p.Before, p.After} {
			if c != nil {
				change.Name = c.Name
			}
		}
		return []DefinitionChange{change}
	case *event.WindowChanged:
		return []DefinitionChange{{Action: action(len(p.Before) > 0, len(p.After) > 0), Of: "window", ID: p.Collection, Name: p.Name, Event: e.Number}}
	case *event.ClassesDefined:
		var all []DefinitionChange
		for _, class := range p.Classes {
			all = append(all, DefinitionChange{Action: string(definitions.Create), Of: "class", Name: class.Name, Event: e.Number})
		}
		return all
	}
	return nil
}

// rawDefinition is a definition as an event has it, for people: with the ids of
// other collections, and the numbers of devices.
func rawDefinition(c *event.Collection) any {
	if c == nil {
		return nil
	}
	queries := []definitions.Query{}
	for _, q := range c.Queries {
		queries = append(queries, definitions.Query(q))
	}
	return map[string]any{"id": c.ID, "name": c.Name, "comment": c.Comment, "limit": c.Limit, "direct": numbersJSON(definitions.Direct(c)), "queries": queries,
		"include": append([]string{}, c.Include...), "exclude": append([]string{}, c.Exclude...), "schedule": c.Schedule, "incremental": c.Incremental}
}

func rawClasses(defined []event.DefinedClass) any {
	classes := []definitions.Class{}
	for _, c := range defined {
		shown := definitions.Class{Name: c.Name, Properties: []definitions.Property{}}
		for _, p := range c.Properties {
			shown.Properties = append(shown.Properties, definitions.Property{Name: p.Name, Type: definitions.TypeName(p.Type), List: p.List, Key: p.Key})
		}
		classes = append(classes, shown)
	}
	return classes
}
