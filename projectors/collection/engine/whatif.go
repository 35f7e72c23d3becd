package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// WhatIf returns what would become of members if definitions were others: defs are
// changed ones, whole, and new ones; deleted are ids. The result has a change for each
// of these and for every collection that would depend on one, in an order in which each
// stands behind all that it depends on. A deleted collection counts as empty for those
// that still name it. The engine stays as it is. Errors are those of [Engine.Define].
func (e *Engine) WhatIf(defs []Collection, deleted []string, now time.Time) ([]Change, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	g, edited, err := e.graph.with(defs, deleted)
	if err != nil {
		return nil, err
	}
	order := e.Order()
	if !g.ordered(e.graph, edited) {
		if order, err = g.order(); err != nil {
			return nil, err
		}
	}
	p := newPlan(e, e.plan)
	defer p.release()
	for _, id := range order {
		touched := slices.ContainsFunc(g.inputs[id], func(in string) bool { return p.collections[in] != nil })
		if !edited[id] && !touched {
			continue
		}
		slot := -1
		if was := e.plan.collections[id]; was != nil {
			slot = was.slot
		}
		if err := p.compile(g.defs[id], slot); err != nil {
			return nil, err
		}
	}
	x := &run{e: e, p: p, now: unixMilli(now), dry: true, overlay: map[*compiled]*roaring.Bitmap{}}
	return x.whatIf(edited)
}

// with is the graph with other definitions, and the ids that were changed.
func (g *graph) with(defs []Collection, deleted []string) (*graph, map[string]bool, error) {
	n := &graph{defs: maps.Clone(g.defs), inputs: maps.Clone(g.inputs)}
	edited := map[string]bool{}
	for _, id := range deleted {
		id = upper(id)
		if n.defs[id] == nil {
			return nil, nil, &DefinitionError{id, errUnknown}
		}
		n.set(id, &Collection{ID: n.defs[id].ID})
		edited[id] = true
	}
	for i := range defs {
		id := upper(defs[i].ID)
		switch {
		case id == "" || id == Root:
			return nil, nil, &DefinitionError{defs[i].ID, errors.New("there is no such definition")}
		case edited[id]:
			return nil, nil, &DefinitionError{defs[i].ID, errors.New("it is changed twice, or changed and deleted")}
		}
		n.set(id, &defs[i])
		edited[id] = true
	}
	for i := range defs {
		for _, in := range n.inputs[upper(defs[i].ID)] {
			if in != Root && n.defs[in] == nil {
				return nil, nil, &DefinitionError{defs[i].ID, fmt.Errorf("it names collection %s, which is not defined", in)}
			}
		}
	}
	return n, edited, nil
}

func (g *graph) set(id string, c *Collection) {
	g.defs[id] = c
	g.inputs[id] = inputsOf(c)
}

// whatIf evaluates what was changed, and what leads from one changed collection to
// another, for all devices; what depends on these only where they differ, for nothing
// else can make it differ.
func (x *run) whatIf(edited map[string]bool) ([]Change, error) {
	whole := map[*compiled]bool{}
	for _, c := range slices.Backward(x.p.order) {
		if !edited[upper(c.ID)] && !whole[c] {
			continue
		}
		whole[c] = true
		for _, in := range c.inputs {
			if x.p.collections[upper(in.ID)] == in {
				whole[in] = true
			}
		}
	}
	var first, rest []*compiled
	for _, c := range x.p.order {
		if whole[c] {
			first = append(first, c)
		} else {
			rest = append(rest, c)
		}
	}
	changes, err := x.evaluate(first, nil, false)
	if err != nil {
		return nil, err
	}
	differ := roaring.New()
	for i := range changes {
		differ.Or(changes[i].Added)
		differ.Or(changes[i].Removed)
	}
	more, err := x.evaluate(rest, differ, false)
	if err != nil {
		return nil, err
	}
	changes = append(changes, more...)
	rank := func(c Change) int { return x.p.collections[upper(c.ID)].rank }
	slices.SortFunc(changes, func(a, b Change) int { return rank(a) - rank(b) })
	return changes, nil
}
