package evaluator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schedule"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// core is what is used of an [engine.Engine].
type core interface {
	Extend(s *schema.Schema)
	Put(r *schema.Record) error
	Remove(device uint32)
	Devices() *roaring.Bitmap
	Define(all []engine.Collection) error
	Restore(id string, members *roaring.Bitmap)
	Evaluate(r engine.Request) ([]engine.Change, error)
	Members(id string) *roaring.Bitmap
	Order() []string
	Stats() engine.Stats
	NextTurn(after time.Time) (time.Time, bool)
	Turning(from, to time.Time) *roaring.Bitmap
	WhatIf(defs []engine.Collection, deleted []string, now time.Time) ([]engine.Change, error)
	Explain(id string, device uint32, now time.Time) (*engine.Explanation, error)
	Query(q *wql.Query, now time.Time) (*roaring.Bitmap, error)
}

// A node is a collection.
type node struct {
	id         string
	definition *event.Collection // nil for the root
	compiled   engine.Collection
	schedule   schedule.Schedule
	timing     error // what is wrong with the schedule
	wrong      error // why it cannot be compiled
	broken     error // why it cannot be evaluated: wrong, or what it depends on
	outside    bool  // broken, and the engine does not even take its id

	// What it was computed from. It is clean if none of these says that something
	// came since: then its definition, what is known of devices, and the members of
	// the collections that it names are what they were.
	whole  bool            // it must be computed for all devices: it is new, or defined anew
	unsaid bool            // no event says that it was, as it is defined
	seen   uint64          // the last version of the changes of devices
	missed *roaring.Bitmap // devices that entered or left what it names; nil for none

	due  time.Time     // the next schedule, zero for none
	took time.Duration // the last time for all devices, 0 if there was none
}

// incremental tells whether the collection follows changes of devices. The root does.
func (n *node) incremental() bool { return n.definition == nil || n.definition.Incremental }

// waits tells whether changes of what it names wait for its schedule.
func (n *node) waits(c Cascade) bool {
	return c == CascadeScheduled && !n.incremental() && !n.schedule.IsZero()
}

// miss remembers devices that it was not computed for.
func (n *node) miss(devices *roaring.Bitmap) {
	if n.missed == nil {
		n.missed = roaring.New()
	}
	n.missed.Or(devices)
}

// compile reads the definition under a schema.
func (n *node) compile(s *schema.Schema) {
	n.wrong, n.timing, n.schedule = nil, nil, schedule.Schedule{}
	if n.definition == nil {
		n.compiled = engine.Collection{ID: n.id}
		return
	}
	n.compiled, n.wrong = compile(n.definition, s)
	if n.definition.Schedule != "" {
		n.schedule, n.timing = schedule.Parse(n.definition.Schedule)
	}
}

// compile makes of a definition what the engine takes.
func compile(d *event.Collection, s *schema.Schema) (engine.Collection, error) {
	c := engine.Collection{ID: d.ID, Limit: d.Limit, Include: d.Include, Exclude: d.Exclude}
	if len(d.Direct) > 0 {
		c.Direct = roaring.New()
		n, err := c.Direct.ReadFrom(newReader(d.Direct))
		if err == nil && int(n) != len(d.Direct) {
			err = errors.New("there are bytes behind it")
		}
		if err == nil {
			err = c.Direct.Validate()
		}
		if err != nil {
			return c, fmt.Errorf("direct members: %w", err)
		}
	}
	for _, q := range d.Queries {
		parsed, err := wql.Parse(q.WQL, s)
		if err != nil {
			return c, fmt.Errorf("query %q: %w", q.Name, err)
		}
		c.Queries = append(c.Queries, parsed)
	}
	return c, nil
}

// names returns the collections that a definition names, each once.
func names(c *engine.Collection) []string {
	all := slices.Concat(c.Include, c.Exclude)
	if c.Limit != "" {
		all = append(all, c.Limit)
	}
	for _, q := range c.Queries {
		all = append(all, q.Uses...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// frozen stands for a collection that cannot be evaluated: it has no rules, its
// members are given to the engine and it is never asked for.
func frozen(id string) engine.Collection { return engine.Collection{ID: id} }

// define hands the graph to the engine. What cannot be evaluated becomes broken, and
// the rest is defined.
func (e *Evaluator) define() error {
	for _, n := range e.nodes {
		n.broken, n.outside = n.wrong, false
		if n.broken != nil {
			continue
		}
		for _, id := range names(&n.compiled) {
			if e.nodes[id] == nil {
				n.broken = fmt.Errorf("there is no collection %s, which it names", id)
				break
			}
		}
	}
	for {
		err := e.engine.Define(e.compiled())
		if err == nil {
			break
		}
		if !e.blame(err) {
			return fmt.Errorf("define collections: %w", err)
		}
	}
	e.link()
	return nil
}

// compiled returns what the engine is to know, by id and without the root.
func (e *Evaluator) compiled() []engine.Collection {
	all := make([]engine.Collection, 0, len(e.nodes))
	for _, id := range slices.Sorted(maps.Keys(e.nodes)) {
		n := e.nodes[id]
		switch {
		case n.definition == nil || n.outside:
		case n.broken != nil:
			all = append(all, frozen(id))
		default:
			all = append(all, n.compiled)
		}
	}
	return all
}

// blame marks the collections that an error of the engine is about: as broken, or as
// outside if they are that already. It returns false if there is none.
func (e *Evaluator) blame(err error) bool {
	var ids []string
	var one *engine.DefinitionError
	var cycle *engine.CycleError
	switch {
	case errors.As(err, &cycle):
		ids = cycle.Path
	case errors.As(err, &one):
		ids = []string{one.Collection}
	}
	var found []*node
	for _, n := range e.nodes {
		if n.definition != nil && !n.outside && slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, n.id) }) {
			found = append(found, n)
		}
	}
	for _, n := range found {
		if n.broken != nil {
			n.outside = true
		} else {
			n.broken = err
		}
	}
	return len(found) > 0
}

// link makes feeds and broken of the nodes, and tells of those that broke.
func (e *Evaluator) link() {
	e.feeds = make(map[string][]string, len(e.nodes))
	was := e.broken
	e.broken = nil
	for _, id := range slices.Sorted(maps.Keys(e.nodes)) {
		n := e.nodes[id]
		if n.broken != nil {
			e.broken = append(e.broken, id)
			if _, before := slices.BinarySearch(was, id); !before {
				e.tellBroken(n)
			}
			continue
		}
		if _, before := slices.BinarySearch(was, id); before {
			n.whole = true
		}
		if n.definition == nil {
			continue
		}
		from := names(&n.compiled)
		if n.compiled.Limit == "" {
			from = append(from, event.RootCollection)
		}
		for _, f := range from {
			e.feeds[f] = append(e.feeds[f], id)
		}
	}
}

// dependants returns the ids with all that name one of them, directly or by others,
// sorted, each once.
func (e *Evaluator) dependants(ids []string) []string {
	return e.closure(ids, func(string, *node) bool { return true })
}

// limited returns the ids with all that they limit, directly or by others, sorted.
func (e *Evaluator) limited(ids []string) []string {
	return e.closure(ids, func(from string, n *node) bool {
		return n.compiled.Limit == from || n.compiled.Limit == "" && from == event.RootCollection
	})
}

func (e *Evaluator) closure(ids []string, follows func(from string, n *node) bool) []string {
	seen := make(map[string]bool, len(ids))
	todo := slices.Clone(ids)
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[id] {
			continue
		}
		seen[id] = true
		for _, f := range e.feeds[id] {
			if follows(id, e.nodes[f]) {
				todo = append(todo, f)
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
