package evaluator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// MaxRows is how many devices an answer names.
const MaxRows = 10_000

// ask runs f on the goroutine of Run, between two cycles.
func (e *Evaluator) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case e.asks <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-e.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An UnknownError says that there is no such collection.
type UnknownError struct{ Collection string }

func (e *UnknownError) Error() string { return "there is no collection " + e.Collection }

// A BrokenError says why a collection cannot be evaluated.
type BrokenError struct {
	Collection string
	Err        error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("collection %s cannot be evaluated: %v", e.Collection, e.Err)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// find returns a collection.
func (e *Evaluator) find(id string) (*node, error) {
	if n := e.nodes[id]; n != nil {
		return n, nil
	}
	return nil, &UnknownError{id}
}

// With runs f between two cycles, with the engine that has everything in it that the
// last one computed, and the time that it was for. f must be quick, and must neither
// keep nor change what it is given.
func (e *Evaluator) With(ctx context.Context, f func(*engine.Engine, *schema.Schema, time.Time) error) (err error) {
	asked := e.ask(ctx, func() {
		real, ok := e.engine.(*engine.Engine)
		if !ok {
			err = ErrStopped
			return
		}
		err = f(real, e.schema, e.now())
	})
	if asked != nil {
		return asked
	}
	return err
}

// now is the time that questions are answered for: rules with a date are as of it,
// also if no cycle has run since.
func (e *Evaluator) now() time.Time { return later(e.clock, wall(e.cfg.Now())) }

// An Answer is the devices that a query selects.
type Answer struct {
	Count   int
	Devices []uint32 // the first of them, rising
	Took    time.Duration
}

// Query reads a query and returns the devices that it selects now, and at most limit
// and [MaxRows] of their numbers. The error wraps [*wql.Error] if it cannot be read.
func (e *Evaluator) Query(ctx context.Context, text string, limit int) (a Answer, err error) {
	asked := e.ask(ctx, func() {
		began := e.cfg.Now()
		var q *wql.Query
		if q, err = wql.Parse(text, e.schema); err != nil {
			return
		}
		set, failed := e.engine.Query(q, e.now())
		if err = failed; err != nil {
			return
		}
		a.Count = int(set.GetCardinality())
		it := set.Iterator()
		for limit = min(limit, MaxRows); limit > 0 && it.HasNext(); limit-- {
			a.Devices = append(a.Devices, it.Next())
		}
		a.Took = e.cfg.Now().Sub(began)
	})
	if asked != nil {
		return Answer{}, asked
	}
	return a, err
}

// WhatIf returns what would become of the collections if those of defs were defined
// so and the others deleted: the changes of these and of all that depend on them. It
// changes nothing. The error wraps [*wql.Error], [*engine.DefinitionError] or
// [*engine.CycleError].
func (e *Evaluator) WhatIf(ctx context.Context, defs []*event.Collection, deleted []string) (all []engine.Change, err error) {
	asked := e.ask(ctx, func() {
		compiled := make([]engine.Collection, 0, len(defs))
		for _, d := range defs {
			c, failed := compile(d, e.schema)
			if failed != nil {
				err = &BrokenError{d.ID, failed}
				return
			}
			compiled = append(compiled, c)
		}
		all, err = e.engine.WhatIf(compiled, deleted, e.now())
	})
	if asked != nil {
		return nil, asked
	}
	return all, err
}

// Explain says why a device is in a collection, or is not. The error is an
// [*UnknownError] or a [*BrokenError].
func (e *Evaluator) Explain(ctx context.Context, id string, device uint32) (x *engine.Explanation, err error) {
	asked := e.ask(ctx, func() {
		var n *node
		if n, err = e.find(id); err != nil {
			return
		}
		if n.broken != nil {
			err = &BrokenError{id, n.broken}
			return
		}
		x, err = e.engine.Explain(id, device, e.now())
	})
	if asked != nil {
		return nil, asked
	}
	return x, err
}

// An Estimate is what an evaluation would cost.
type Estimate struct {
	Collections int
	Devices     int
	Took        time.Duration // 0 if there is nothing to judge by
}

// Estimate returns what it would cost to evaluate collections for all devices, with
// all that depend on them if dependants is set.
func (e *Evaluator) Estimate(ctx context.Context, ids []string, dependants bool) (x Estimate, err error) {
	asked := e.ask(ctx, func() {
		for _, id := range ids {
			if _, err = e.find(id); err != nil {
				return
			}
		}
		if dependants {
			ids = e.dependants(ids)
		}
		x = Estimate{len(ids), int(e.engine.Devices().GetCardinality()), e.estimate(ids)}
	})
	if asked != nil {
		return Estimate{}, asked
	}
	return x, err
}

// estimate is how long collections take, by how long they took; those that were not
// evaluated yet are taken for average.
func (e *Evaluator) estimate(ids []string) time.Duration {
	sum, known := time.Duration(0), 0
	for _, id := range ids {
		if n := e.nodes[id]; n != nil && n.took > 0 {
			sum += n.took
			known++
		}
	}
	if known == 0 {
		return 0
	}
	return sum + sum/time.Duration(known)*time.Duration(len(ids)-known)
}

// A State is how a collection stands with the evaluator.
type State struct {
	ID          string
	Incremental bool
	Broken      error // why it cannot be evaluated, nil if it can; its members stay
	Timing      error // what is wrong with its schedule, nil for nothing
	// Stale says that something changed since it was computed. Of a collection that
	// is not incremental, this waits for its schedule.
	Stale bool
	// Pending is how many devices it would have to be computed for.
	Pending int
	// Next is when its schedule comes next, zero for never.
	Next time.Time
	// Took is how long it took the last time for all devices, 0 if there was none.
	Took time.Duration
}

// State returns how a collection stands. The error is an [*UnknownError].
func (e *Evaluator) State(ctx context.Context, id string) (s State, err error) {
	asked := e.ask(ctx, func() {
		var n *node
		if n, err = e.find(id); err == nil {
			s = e.state(n)
		}
	})
	if asked != nil {
		return State{}, asked
	}
	return s, err
}

// States returns how all collections stand, by id.
func (e *Evaluator) States(ctx context.Context) (all []State, err error) {
	err = e.ask(ctx, func() {
		for _, n := range e.nodes {
			all = append(all, e.state(n))
		}
	})
	slices.SortFunc(all, func(a, b State) int { return strings.Compare(a.ID, b.ID) })
	return all, err
}

func (e *Evaluator) state(n *node) State {
	s := State{ID: n.id, Incremental: n.incremental(), Broken: n.broken, Timing: n.timing, Next: n.due, Took: n.took}
	lacks := e.changes.since(n.seen)
	if n.missed != nil {
		lacks = roaring.Or(lacks, n.missed)
	}
	if e.pending.devices != nil {
		lacks = roaring.Or(lacks, e.pending.devices)
	}
	s.Pending = int(lacks.GetCardinality())
	if n.whole {
		s.Pending = int(e.engine.Devices().GetCardinality())
	}
	s.Stale = n.whole || s.Pending > 0 || e.pending.schema && n.broken != nil
	return s
}

// Stats is the sizes of what the evaluator holds.
type Stats struct {
	Devices     int
	Collections int
	Broken      int    // that cannot be evaluated
	Pending     int    // devices that changed and were not read yet
	Applied     uint64 // the last event that it knows of
	Clock       time.Time
	Turn        time.Time // when the next rule with a date turns, zero for never
}

// Stats returns the sizes.
func (e *Evaluator) Stats(ctx context.Context) (s Stats, err error) {
	err = e.ask(ctx, func() {
		s = Stats{Devices: int(e.engine.Devices().GetCardinality()), Collections: len(e.nodes), Broken: len(e.broken),
			Applied: e.applied, Clock: e.clock, Turn: e.turn}
		if e.pending.devices != nil {
			s.Pending = int(e.pending.devices.GetCardinality())
		}
	})
	return s, err
}

// Sizes returns how large the engine is: devices, conditions, and about its heap. It
// takes longer than [Evaluator.Stats].
func (e *Evaluator) Sizes(ctx context.Context) (s engine.Stats, err error) {
	err = e.ask(ctx, func() { s = e.engine.Stats() })
	return s, err
}
