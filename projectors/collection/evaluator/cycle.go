package evaluator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// InventoryView and CollectionView are the names of the views that are waited for.
const (
	InventoryView  = "inventory"
	CollectionView = "collection"
)

// maxRead is how many devices are read from the inventory at once.
const maxRead = 4096

// A round is one cycle while it runs.
type round struct {
	which   event.EvaluationQueue
	item    *item
	cause   event.EvaluationCause
	by      uint64
	began   time.Time
	basis   uint64
	version uint64 // of the changes that it covers
	devices uint64 // how many it looks at

	results   map[string]*engine.Change
	evaluated map[string]bool // once or more
	whole     map[string]bool // for all devices
	updated   map[string]bool // for all devices that it lacked
	// owed is the devices that entered or left what a collection names, after it was
	// evaluated or without that it was.
	owed map[string]*roaring.Bitmap
}

// cycle runs what an item asks for. Results count once they are in the journal.
func (e *Evaluator) cycle(ctx context.Context, which event.EvaluationQueue, it *item) error {
	r := &round{which: which, item: it, cause: it.cause, by: it.by, began: e.cfg.Now(),
		results: map[string]*engine.Change{}, evaluated: map[string]bool{}, whole: map[string]bool{}, updated: map[string]bool{},
		owed: map[string]*roaring.Bitmap{}}
	changed := e.pending.any()
	if which == event.IncrementalQueue && r.by == 0 {
		r.by = e.pending.event
	}
	if err := e.load(ctx); err != nil {
		return err
	}
	turned := e.tick()
	if r.cause == event.ByDevices && !changed && e.behind.IsZero() {
		r.cause = event.ByTime
	}
	e.note(which, changed || turned, r.began)
	r.basis, r.version = e.applied, e.changes.version
	if err := e.evaluate(r); err != nil {
		return err
	}
	events, err := e.events(r)
	if err != nil {
		return err
	}
	if err := e.store(ctx, events); err != nil {
		return err
	}
	e.commit(r)
	e.finish(r)
	return nil
}

// note remembers what of the changes no incremental cycle has seen yet.
func (e *Evaluator) note(which event.EvaluationQueue, changed bool, began time.Time) {
	switch {
	case which == event.IncrementalQueue:
		e.behind, e.last = time.Time{}, began
	case changed && e.behind.IsZero():
		e.behind = began
	}
}

// load brings what is known of devices that changed into the engine.
func (e *Evaluator) load(ctx context.Context) error {
	p := e.pending
	if !p.any() {
		return nil
	}
	err := e.retry(ctx, "wait for the inventory", always, func() error { return e.cfg.Views.Wait(ctx, p.last, InventoryView) })
	if err != nil {
		return err
	}
	if p.devices == nil {
		p.devices = roaring.New()
	}
	left := p.devices.ToArray()
	for first := true; first || len(left) > 0; first = false {
		part := left[:min(len(left), maxRead)]
		left = left[len(part):]
		// The engine is the goroutine's of Run: it is given what was read.
		if err := e.read(ctx, part); err != nil {
			return err
		}
	}
	e.pending = pending{}
	e.changes.add(p.devices)
	return nil
}

// A read is a device as the inventory has it; the record is nil if it is gone.
type read struct {
	device uint32
	record *schema.Record
}

// read takes devices over as the inventory has them.
func (e *Evaluator) read(ctx context.Context, devices []uint32) error {
	var records []read
	now := e.schema
	err := e.retry(ctx, "read the inventory", always, func() error {
		records = records[:0]
		_, err := e.cfg.Inventory(func(d Devices) error {
			now = d.Schema()
			for _, device := range devices {
				r, ok, err := d.Record(device)
				if err != nil {
					return err
				}
				if !ok {
					r = nil
				}
				records = append(records, read{device, r})
			}
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	if err := e.extend(now); err != nil {
		return err
	}
	for _, r := range records {
		e.hold(r.device, r.record)
	}
	return nil
}

// hold gives the engine the record of a device, nil if it is gone. One that it does
// not take is as gone.
func (e *Evaluator) hold(device uint32, r *schema.Record) {
	if r != nil {
		err := e.engine.Put(r)
		if err == nil {
			return
		}
		e.cfg.Log.Error("a device is in no collection", "device", device, "err", err)
	}
	e.engine.Remove(device)
}

// extend takes a schema over that has classes or properties more. What could not be
// read without them may be well now.
func (e *Evaluator) extend(s *schema.Schema) error {
	if s == e.schema {
		return nil
	}
	e.schema = s
	e.engine.Extend(s)
	for _, n := range e.nodes {
		n.compile(s)
	}
	return e.redefine(e.pending.event)
}

// evaluate computes what the item asks for, and whatever follows from it.
func (e *Evaluator) evaluate(r *round) error {
	e.clearBroken(r)
	ids, devices := e.asked(r)
	estimate := r.item.estimate
	if r.which != event.IncrementalQueue {
		estimate = e.estimate(ids)
	}
	e.queues.counted(r.which, len(ids), estimate)
	if r.which != event.IncrementalQueue && !slices.Contains(ids, event.RootCollection) {
		// Devices that are new, or gone, are so for all collections below.
		root := e.nodes[event.RootCollection]
		if err := e.step(r, []string{root.id}, e.changes.since(root.seen)); err != nil {
			return err
		}
		r.updated[root.id] = true
	}
	if err := e.step(r, ids, devices); err != nil {
		return err
	}
	return e.cascade(r)
}

// asked returns the collections that the cycle is for, and the devices to look at:
// nil for all.
func (e *Evaluator) asked(r *round) (ids []string, devices *roaring.Bitmap) {
	switch {
	case r.which == event.IncrementalQueue && r.cause == event.ByStart:
		for id, n := range e.nodes {
			if n.whole {
				ids = append(ids, id)
			}
		}
	case r.which == event.IncrementalQueue:
		seen := r.version
		for id, n := range e.nodes {
			if n.incremental() && n.seen < r.version && n.broken == nil && !n.whole {
				ids = append(ids, id)
				seen = min(seen, n.seen)
			}
		}
		devices = e.changes.since(seen)
	case r.which == event.FullQueue:
		ids = e.limited(r.item.ids)
	case r.item.dependants:
		ids = e.dependants(r.item.ids)
		if r.cause == event.ByDefinition {
			ids = slices.DeleteFunc(ids, func(id string) bool {
				_, asked := slices.BinarySearch(r.item.ids, id)
				return !asked && e.nodes[id].waits(e.cfg.Settings.Cascade)
			})
		}
	default:
		ids = r.item.ids
	}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return e.nodes[id] == nil || e.nodes[id].broken != nil })
	slices.Sort(ids)
	for _, id := range ids {
		if devices == nil {
			r.whole[id] = true
		}
		r.updated[id] = true
	}
	return ids, devices
}

// cascade evaluates the collections that name one that changed, until none is left.
// Those that wait for their schedule remember what they miss.
func (e *Evaluator) cascade(r *round) error {
	for {
		var ids []string
		devices := roaring.New()
		for id, owed := range r.owed {
			n := e.nodes[id]
			if n.broken != nil {
				continue
			}
			if !r.updated[id] && (n.whole || n.waits(e.cfg.Settings.Cascade)) {
				continue // it will be computed for all devices, now that it is asked for or at its schedule
			}
			ids = append(ids, id)
			devices.Or(owed)
			if !n.incremental() && !r.updated[id] {
				// It is brought up to date, as its schedule would.
				devices.Or(e.changes.since(n.seen))
				if n.missed != nil {
					devices.Or(n.missed)
				}
				r.updated[id] = true
			}
		}
		if len(ids) == 0 {
			return nil
		}
		slices.Sort(ids)
		if err := e.step(r, ids, devices); err != nil {
			return err
		}
	}
}

// step evaluates collections, sorted by id, for some devices, nil for all.
func (e *Evaluator) step(r *round, ids []string, devices *roaring.Bitmap) error {
	if len(ids) == 0 || devices != nil && devices.IsEmpty() {
		return nil
	}
	if devices == nil {
		r.devices = e.engine.Devices().GetCardinality()
	} else {
		r.devices = max(r.devices, devices.GetCardinality())
	}
	changes, err := e.compute(r, ids, devices)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r.evaluated[id] = true
		delete(r.owed, id) // devices has all of it
	}
	for i := range changes {
		c := &changes[i]
		e.merge(r, c)
		e.owe(r, c, ids)
	}
	return nil
}

// compute has the engine evaluate collections. If it refuses, for a query that would
// take for ever, the collection that is to blame is found and is broken from now on.
func (e *Evaluator) compute(r *round, ids []string, devices *roaring.Bitmap) ([]engine.Change, error) {
	changes, err := e.engine.Evaluate(engine.Request{Collections: ids, Devices: devices, Now: e.clock})
	switch {
	case err == nil:
		return changes, nil
	case len(ids) == 1:
		n := e.nodes[ids[0]]
		if n.definition == nil {
			return nil, fmt.Errorf("evaluate collection %s: %w", n.id, err)
		}
		n.wrong = err
		delete(r.whole, n.id)
		delete(r.updated, n.id)
		return nil, e.define()
	}
	// What depends on others is in the second half, or behind them in the first.
	rank := map[string]int{}
	for i, id := range e.engine.Order() {
		rank[id] = i
	}
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b string) int { return rank[a] - rank[b] })
	for _, half := range [][]string{ids[:len(ids)/2], ids[len(ids)/2:]} {
		some, err := e.compute(r, half, devices)
		if err != nil {
			return nil, err
		}
		changes = append(changes, some...)
	}
	return changes, nil
}

// owe remembers that collections which name one that changed have not seen it, but
// for those that were evaluated behind it in the same step.
func (e *Evaluator) owe(r *round, c *engine.Change, step []string) {
	if c.Added.IsEmpty() && c.Removed.IsEmpty() {
		return
	}
	for _, id := range e.feeds[c.ID] {
		if _, found := slices.BinarySearch(step, id); found {
			continue
		}
		if r.owed[id] == nil {
			r.owed[id] = roaring.New()
		}
		r.owed[id].Or(c.Added)
		r.owed[id].Or(c.Removed)
	}
}

// merge adds to what became of a collection what a further step made of it.
func (e *Evaluator) merge(r *round, c *engine.Change) {
	was := r.results[c.ID]
	if was == nil {
		r.results[c.ID] = c
		return
	}
	// What came and went again did neither.
	added, removed := roaring.AndNot(c.Added, was.Removed), roaring.AndNot(c.Removed, was.Added)
	was.Added.AndNot(c.Removed)
	was.Removed.AndNot(c.Added)
	was.Added.Or(added)
	was.Removed.Or(removed)
	was.Members = c.Members
	was.Took += c.Took
	was.Computed += c.Computed
	was.Reused += c.Reused
}

// clearBroken takes devices that are gone out of the collections that cannot be
// evaluated; their other members stay.
func (e *Evaluator) clearBroken(r *round) {
	if len(e.broken) == 0 {
		return
	}
	devices := e.engine.Devices()
	for _, id := range e.broken {
		if e.nodes[id].outside {
			continue
		}
		members := e.engine.Members(id)
		gone := roaring.AndNot(members, devices)
		if gone.IsEmpty() {
			continue
		}
		rest := roaring.AndNot(members, gone)
		e.engine.Restore(id, rest)
		c := &engine.Change{ID: id, Added: roaring.New(), Removed: gone, Members: int(rest.GetCardinality())}
		e.merge(r, c)
		e.owe(r, c, nil)
	}
}

// commit makes what the cycle computed count: its results are durable.
func (e *Evaluator) commit(r *round) {
	for id := range r.updated {
		n := e.nodes[id]
		n.seen, n.missed = r.version, nil
	}
	for id := range r.whole {
		n := e.nodes[id]
		n.whole, n.unsaid = false, false
		if c := r.results[id]; c != nil {
			n.took = c.Took
		}
	}
	for id, owed := range r.owed { // what is left is computed later
		e.nodes[id].miss(owed)
	}
	least := r.version
	for _, n := range e.nodes {
		if n.broken == nil && !n.whole {
			least = min(least, n.seen)
		}
	}
	e.changes.forget(least)
}
