package console

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
)

// What a change of collections may move without force, in each collection that
// there was.
const (
	MaxMoved      = 1000 // devices that enter or leave
	MaxMovedShare = 25   // percent of the members, of a collection with at least minForShare

	minForShare = 40
)

// maxImpact is how many collections an answer names.
const maxImpact = 100

// impact tells whom a plan moves in collections that there were; nil if it touches
// none of them.
func (c *Console) impact(ctx context.Context, plan *definitions.Plan) *Impact {
	var changed []event.Collection
	var deleted []string
	touches := false
	for _, s := range plan.Steps {
		if s.Of != "collection" {
			continue
		}
		switch s.Action {
		case definitions.Create:
			changed = append(changed, *s.After)
		case definitions.Change:
			changed = append(changed, *s.After)
			touches = touches || moves(s.Diff)
		case definitions.Delete:
			deleted = append(deleted, s.ID)
			touches = true
		}
	}
	if !touches || c.cfg.Forecast == nil {
		return nil
	}
	changes, err := c.cfg.Forecast.WhatIf(ctx, changed, deleted)
	if err != nil {
		c.cfg.Log.Warn("cannot foresee what a change of collections does", "err", err)
		return &Impact{Collections: []CollectionImpact{}, Force: true, Why: []string{fmt.Sprintf("It cannot be told now how many devices this moves: %s.", err)}}
	}
	deleted = slices.DeleteFunc(deleted, func(id string) bool {
		return slices.ContainsFunc(changes, func(ch engine.Change) bool { return ch.ID == id }) // it is foreseen already
	})
	return impactOf(plan, append(changes, c.leaving(deleted)...))
}

// leaving is what becomes of collections that go: all members leave.
func (c *Console) leaving(deleted []string) (changes []engine.Change) {
	if len(deleted) == 0 || c.cfg.Collections == nil {
		return nil
	}
	_, err := c.cfg.Collections.At(func(s *collection.Snapshot) error {
		for _, id := range deleted {
			if m := s.Members(id); m != nil {
				changes = append(changes, engine.Change{ID: id, Added: roaring.New(), Removed: m})
			}
		}
		return nil
	})
	if err != nil {
		c.cfg.Log.Warn("cannot tell who leaves collections that go", "err", err)
	}
	return changes
}

// moves tells whether a difference can change members.
func moves(diff []definitions.Difference) bool {
	return slices.ContainsFunc(diff, func(d definitions.Difference) bool {
		return !slices.Contains([]string{"name", "comment", "schedule", "incremental"}, d.Field)
	})
}

func impactOf(plan *definitions.Plan, changes []engine.Change) *Impact {
	created := map[string]bool{}
	names := map[string]string{}
	for _, s := range plan.Steps {
		if s.Of == "collection" {
			created[s.ID], names[s.ID] = s.Action == definitions.Create, s.Name
		}
	}
	i, moved := &Impact{Collections: []CollectionImpact{}}, roaring.New()
	for _, ch := range changes {
		entered, left := ch.Added.GetCardinality(), ch.Removed.GetCardinality()
		if entered+left == 0 || created[ch.ID] {
			continue
		}
		of := CollectionImpact{ID: ch.ID, Name: names[ch.ID], Before: uint64(ch.Members) + left - entered, After: uint64(ch.Members), Entered: entered, Left: left}
		if is, ok := plan.After.Get(ch.ID); ok {
			of.Name = is.Name
		}
		i.judge(&of)
		i.Collections = append(i.Collections, of)
		moved.Or(ch.Added)
		moved.Or(ch.Removed)
	}
	i.Devices = moved.GetCardinality()
	slices.SortStableFunc(i.Collections, func(a, b CollectionImpact) int { return cmp.Compare(b.Entered+b.Left, a.Entered+a.Left) })
	if more := len(i.Collections) - maxImpact; more > 0 {
		i.Collections, i.More = i.Collections[:maxImpact], more
	}
	return i
}

// judge asks for force if a collection changes much.
func (i *Impact) judge(of *CollectionImpact) {
	moved := of.Entered + of.Left
	much := moved > MaxMoved || of.Before >= minForShare && moved*100 > of.Before*MaxMovedShare
	if !much {
		return
	}
	i.Force = true
	if len(i.Why) < maxNamed {
		i.Why = append(i.Why, fmt.Sprintf("In %q %d devices would enter and %d leave, of %d.", clip(of.Name), of.Entered, of.Left, of.Before))
	}
}
