package console

import (
	"context"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
	"github.com/bugle-fleet/bugle/projectors/inventory"
)

// An aloneEngine explains a collection as of the past: by an engine that holds one
// device as it was then, and of other collections only whether it was in them. That
// is exact for every rule that looks at the device alone.
type aloneEngine struct {
	x       *explaining
	others  bool // a query looks at other devices too
	defined []engine.Collection
	in      map[string]bool // the collections that the device was in
	names   []string        // of those that count
}

// alone takes from the view what the engine needs: the collection without its
// queries, what it depends on, and what limits it.
func (x *explaining) alone(s *collection.Snapshot) *aloneEngine {
	a := &aloneEngine{x: x, in: map[string]bool{}}
	if x.info.ID == event.RootCollection {
		a.take(s, event.RootCollection)
		return a
	}
	state := x.c.stateOf(x.v, s)
	a.take(s, x.info.ID)
	a.take(s, event.RootCollection)
	limits := map[string]bool{}
	for id := x.info.Limit; id != "" && id != event.RootCollection && !limits[id]; {
		limits[id] = true
		up, _ := s.Get(id)
		a.take(s, id)
		a.defined = append(a.defined, engine.Collection{ID: id, Limit: up.Limit})
		id = up.Limit
	}
	for _, in := range state.Inputs(x.info.ID) {
		if in.ID == event.RootCollection || limits[in.ID] {
			continue
		}
		limits[in.ID] = true
		a.take(s, in.ID)
		a.defined = append(a.defined, engine.Collection{ID: in.ID, Limit: event.RootCollection})
	}
	return a
}

func (a *aloneEngine) take(s *collection.Snapshot, id string) {
	m := s.Members(id)
	a.in[id] = m != nil && m.Contains(a.x.device.Number)
	a.names = append(a.names, id)
}

// explain reads the device as it was, and asks.
func (a *aloneEngine) explain(ctx context.Context) (why *engine.Explanation, err error) {
	if a.x.v.inventory == nil {
		return nil, errNoCollections
	}
	var record *schema.Record
	var known bool
	var classes *schema.Schema
	_, err = a.x.v.inventory.At(func(s *inventory.Snapshot) error {
		classes = s.Schema()
		record, known, err = s.Record(a.x.device.Number)
		return err
	})
	if err != nil {
		return nil, err
	}
	now, err := a.x.c.timeOf(ctx, a.x.v)
	if err != nil {
		return nil, err
	}
	e := engine.New(classes)
	if known {
		if err := e.Put(record); err != nil {
			return nil, err
		}
	}
	if err := a.define(e, classes); err != nil {
		return nil, &evaluator.BrokenError{Collection: a.x.info.ID, Err: err}
	}
	for _, id := range a.names {
		e.Restore(id, one(a.x.device.Number, a.in[id]))
	}
	return e.Explain(a.x.info.ID, a.x.device.Number, now)
}

// define gives the engine the collection with its queries, and the others.
func (a *aloneEngine) define(e *engine.Engine, classes *schema.Schema) error {
	info := &a.x.info
	if info.ID == event.RootCollection {
		return nil
	}
	c := engine.Collection{ID: info.ID, Limit: info.Limit, Direct: definitions.Direct(&info.Collection), Include: info.Include, Exclude: info.Exclude}
	for _, rule := range info.Queries {
		q, err := wql.Parse(rule.WQL, classes)
		if err != nil {
			return err
		}
		a.others = a.others || looksAtOthers(q)
		c.Queries = append(c.Queries, q)
	}
	return e.Define(append(a.defined, c))
}

// looksAtOthers tells whether a query asks for values of other devices: behind in,
// for another column than the number.
func looksAtOthers(q *wql.Query) bool {
	if asksOthers(q.Where) {
		return true
	}
	for i := range q.Sources {
		if asksOthers(q.Sources[i].On) {
			return true
		}
	}
	return false
}

func asksOthers(e wql.Expr) bool {
	switch e := e.(type) {
	case *wql.And:
		return anyAsks(e.Terms)
	case *wql.Or:
		return anyAsks(e.Terms)
	case *wql.Not:
		return asksOthers(e.Term)
	case *wql.InQuery:
		column, ok := e.Operand.(wql.Column)
		return !ok || column.Property >= 0 || looksAtOthers(e.Query)
	}
	return false
}

func anyAsks(terms []wql.Expr) bool {
	for _, t := range terms {
		if asksOthers(t) {
			return true
		}
	}
	return false
}
