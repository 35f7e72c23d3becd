package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// PathWhatIf tells what definitions would do.
const PathWhatIf = Base + "/evaluations/whatif" // POST [WhatIfRequest] → [WhatIfReply]

// Bounds of an answer.
const (
	maxNames   = 100_000 // devices that one answer names
	maxTouched = 200     // operations that are looked at, the newest
)

// WhatIfRequest asks what definitions would do. Nothing is changed.
type WhatIfRequest struct {
	definitions.Document
	Delete []string `json:"delete,omitempty" maxItems:"1000" doc:"collections that would go, by name or id"`
	Names  int      `json:"names,omitempty" minimum:"0" maximum:"100000" doc:"how many devices to name that enter, and that leave, in each collection; default 10"`
}

// WhatIfReply is what definitions would do.
type WhatIfReply struct {
	Changes     []DefinitionChange  `json:"changes" doc:"of definitions, in the order in which they would be made"`
	Collections []WhatIfCollection  `json:"collections" doc:"whose members would change: those of the changes and all that depend on them, the most changed first"`
	Devices     uint64              `json:"devices" doc:"that would enter or leave at least one collection"`
	Operations  []TouchedOperation  `json:"operations" doc:"open ones that were pushed to one of the collections, newest first"`
	Windows     []TouchedCollection `json:"windows" doc:"collections among them that have maintenance windows"`
	Seconds     float64             `json:"seconds" doc:"what it took to work it out"`
	Version     uint64              `json:"version" doc:"the event that changed a definition last"`
	Event       uint64              `json:"event" doc:"the event that names and members are as of"`
}

// WhatIfCollection is what would become of the members of one collection.
type WhatIfCollection struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	How     string   `json:"how" enum:"create,change,delete,dependant" doc:"what would be done with it, or that it depends on such a one"`
	Before  uint64   `json:"before" doc:"members"`
	After   uint64   `json:"after"`
	Entered uint64   `json:"entered"`
	Left    uint64   `json:"left"`
	Enter   []Member `json:"enter,omitempty" doc:"the first who enter, by number"`
	Leave   []Member `json:"leave,omitempty" doc:"the first who leave, by number"`
}

// TouchedOperation is an open operation that was pushed to a collection.
type TouchedOperation struct {
	Operation  string    `json:"operation"`
	Kind       string    `json:"kind"`
	Collection string    `json:"collection" doc:"id"`
	AsOf       uint64    `json:"asOf" doc:"the event that its members were taken as of: its targets stay what they are"`
	Targets    uint64    `json:"targets"`
	Leaving    uint64    `json:"leaving" doc:"targets that would leave the collection"`
	Entering   uint64    `json:"entering" doc:"devices that would enter the collection and are no targets"`
	DeliverBy  time.Time `json:"deliverBy"`
}

// TouchedCollection is a collection with maintenance windows.
type TouchedCollection struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Windows []string `json:"windows" doc:"their names: devices that enter get them, and those that leave lose them"`
}

type whatIfInput struct {
	Body WhatIfRequest
}

func (c *Console) whatIf(ctx context.Context, in *whatIfInput) (*out[WhatIfReply], error) {
	const doing = "tell what the definitions would do"
	if c.cfg.Definitions == nil || c.cfg.Collections == nil || c.cfg.Forecast == nil {
		return nil, errNoCollections
	}
	request, err := c.definitionRequest(ctx, &ApplyRequest{Document: in.Body.Document, Delete: in.Body.Delete})
	var plan *definitions.Plan
	if err == nil {
		if plan, err = c.cfg.Definitions.Now().Plan(request); err != nil {
			err = refusedDefinitions(err)
		}
	}
	if refused, ok := errors.AsType[*DefinitionProblem](err); ok {
		return nil, refused
	}
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	v, err := c.readCollections(ctx, When{})
	if err != nil {
		return nil, err
	}
	w := &whatIf{c: c, v: v, plan: plan, names: cmp.Or(in.Body.Names, 10), left: maxNames}
	if err := w.run(ctx); err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	return answerAt(w.reply, w.reply.Event)
}

// A whatIf is one such question.
type whatIf struct {
	c     *Console
	v     *reading
	plan  *definitions.Plan
	names int // of devices, in each direction of each collection
	left  int // of all of them together
	reply WhatIfReply
	moved map[string]engine.Change
}

func (w *whatIf) run(ctx context.Context) error {
	changed, deleted := changedBy(w.plan)
	began := w.c.cfg.Now()
	var changes []engine.Change
	var err error
	if len(changed)+len(deleted) > 0 {
		changes, err = w.c.cfg.Forecast.WhatIf(ctx, changed, deleted)
	}
	if err != nil {
		return problem(http.StatusServiceUnavailable, "It cannot be told now", "The evaluator cannot tell what this would do: %s.", err)
	}
	w.reply = WhatIfReply{Changes: []DefinitionChange{}, Collections: []WhatIfCollection{}, Operations: []TouchedOperation{}, Windows: []TouchedCollection{},
		Seconds: w.c.cfg.Now().Sub(began).Seconds(), Version: w.plan.Version}
	for _, s := range w.plan.Steps {
		if s.Action != definitions.Keep {
			w.reply.Changes = append(w.reply.Changes, DefinitionChange{Action: string(s.Action), Of: s.Of, ID: s.ID, Name: s.Name, Diff: s.Diff})
		}
	}
	w.reply.Event, err = w.v.collections.At(func(s *collection.Snapshot) error {
		w.collect(s, changes, deleted)
		return nil
	})
	if err == nil {
		err = w.name()
	}
	if err == nil {
		err = w.operations(ctx)
	}
	if err == nil {
		err = w.windows()
	}
	return err
}

// changedBy is which definitions a plan changes: those of collections that are or
// will be, and the ids of those that go.
func changedBy(plan *definitions.Plan) (changed []event.Collection, deleted []string) {
	for _, s := range plan.Steps {
		switch {
		case s.Of != "collection" || s.Action == definitions.Keep:
		case s.Action == definitions.Delete:
			deleted = append(deleted, s.ID)
		default:
			changed = append(changed, *s.After)
		}
	}
	return changed, deleted
}

// collect lists the collections whose members change. Of one that goes, all leave.
func (w *whatIf) collect(s *collection.Snapshot, changes []engine.Change, deleted []string) {
	how := map[string]string{}
	for _, step := range w.plan.Steps {
		if step.Of == "collection" {
			how[step.ID] = string(step.Action)
		}
	}
	w.moved = map[string]engine.Change{}
	for _, ch := range changes {
		w.moved[ch.ID] = ch
	}
	for _, id := range deleted {
		if m := s.Members(id); m != nil {
			w.moved[id] = engine.Change{ID: id, Added: roaring.New(), Removed: m}
		}
	}
	all := roaring.New()
	for id, ch := range w.moved {
		entered, left := ch.Added.GetCardinality(), ch.Removed.GetCardinality()
		if entered+left == 0 {
			delete(w.moved, id)
			continue
		}
		of := WhatIfCollection{ID: id, How: cmp.Or(how[id], "dependant"), Before: uint64(ch.Members) + left - entered, After: uint64(ch.Members), Entered: entered, Left: left}
		if of.How == string(definitions.Keep) {
			of.How = "dependant"
		}
		if is, ok := w.plan.After.Get(id); ok {
			of.Name = is.Name
		} else if was, ok := s.Get(id); ok {
			of.Name = was.Name
		}
		w.reply.Collections = append(w.reply.Collections, of)
		all.Or(ch.Added)
		all.Or(ch.Removed)
	}
	w.reply.Devices = all.GetCardinality()
	slices.SortFunc(w.reply.Collections, func(a, b WhatIfCollection) int {
		return cmp.Or(cmp.Compare(b.Entered+b.Left, a.Entered+a.Left), cmp.Compare(a.ID, b.ID))
	})
}

// name names the first devices that enter and leave each collection.
func (w *whatIf) name() (err error) {
	for i := range w.reply.Collections {
		of := &w.reply.Collections[i]
		ch := w.moved[of.ID]
		if of.Enter, err = w.members(ch.Added); err == nil {
			of.Leave, err = w.members(ch.Removed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *whatIf) members(set *roaring.Bitmap) (all []Member, err error) {
	for d := range roaring.Values(set) {
		if len(all) == w.names || w.left == 0 {
			return all, nil
		}
		w.left--
		m, err := w.v.member(d)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// operations lists the open ones that were pushed to one of the collections.
func (w *whatIf) operations(ctx context.Context) error {
	open, _, err := w.v.operations.Open()
	if err != nil {
		return err
	}
	slices.SortFunc(open, func(a, b operation.Open) int { return cmp.Compare(b.Event, a.Event) })
	for _, o := range open[:min(len(open), maxTouched)] {
		e, err := w.c.event(ctx, o.Event)
		if err != nil {
			return err
		}
		p, ok := e.Payload.(*event.OperationRequested)
		if !ok || p.Collection == "" {
			continue
		}
		ch, ok := w.moved[p.Collection]
		if !ok {
			continue
		}
		touched := TouchedOperation{Operation: o.ID.String(), Collection: p.Collection, AsOf: p.AsOf, Targets: o.Targets.GetCardinality(),
			Leaving: ch.Removed.AndCardinality(o.Targets), Entering: roaring.AndNot(ch.Added, o.Targets).GetCardinality(), DeliverBy: o.DeliverBy}
		if is, found, err := w.v.operations.Get(o.ID); err != nil {
			return err
		} else if found {
			touched.Kind = is.Kind
		}
		w.reply.Operations = append(w.reply.Operations, touched)
	}
	return nil
}

// windows lists the windows of the collections.
func (w *whatIf) windows() error {
	if w.v.windows == nil {
		return nil
	}
	for _, of := range w.reply.Collections {
		list, err := w.v.windows.Of(of.ID)
		if err != nil {
			return err
		}
		touched := TouchedCollection{ID: of.ID, Name: of.Name}
		for _, one := range list {
			touched.Windows = append(touched.Windows, one.Name)
		}
		if len(list) > 0 {
			w.reply.Windows = append(w.reply.Windows, touched)
		}
	}
	return nil
}
