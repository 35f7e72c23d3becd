package evaluator

import (
	"context"
	"errors"
	"io"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// lookBack is among how many events before the start a request is looked for that
// was not served.
const lookBack = 20_000

// begin takes over what the views know, and lets what is undone wait.
func (e *Evaluator) begin(ctx context.Context) error {
	head := e.cfg.Journal.Head().Event
	err := e.retry(ctx, "wait for the views", always, func() error {
		if head == 0 {
			return nil
		}
		return e.cfg.Views.Wait(ctx, head, InventoryView, CollectionView)
	})
	if err != nil {
		return err
	}
	var known []Known
	err = e.retry(ctx, "read the collections", always, func() (err error) {
		known, e.cycles, e.defined, err = e.cfg.Collections()
		return err
	})
	if err != nil {
		return err
	}
	read, err := e.fill(ctx)
	if err != nil {
		return err
	}
	e.applied = min(e.defined, read)
	e.clock = wall(e.cfg.Now())
	if err := e.restore(known); err != nil {
		return err
	}
	e.ready = true
	if err := e.undone(known); err != nil {
		return err
	}
	if err := e.requested(ctx, known); err != nil {
		return err
	}
	e.planSchedules()
	e.planTurn()
	e.put(event.IncrementalQueue, &item{cause: event.ByStart})
	e.queues.first(event.IncrementalQueue)
	return nil
}

// fill makes the engine of all devices.
func (e *Evaluator) fill(ctx context.Context) (position uint64, err error) {
	err = e.retry(ctx, "read the inventory", always, func() (err error) {
		position, err = e.cfg.Inventory(func(d Devices) error {
			e.schema = d.Schema()
			e.engine = e.newCore(e.schema)
			return d.Records(func(r *schema.Record) (bool, error) {
				e.hold(r.Device, r)
				return ctx.Err() == nil, ctx.Err()
			})
		})
		return err
	})
	return position, err
}

// restore makes the graph of what the view of collections knows.
func (e *Evaluator) restore(known []Known) error {
	e.nodes = make(map[string]*node, len(known)+1)
	e.nodes[event.RootCollection] = &node{id: event.RootCollection}
	for i := range known {
		k := &known[i]
		n := &node{id: k.ID, definition: k.Definition, took: k.Took}
		e.nodes[k.ID] = n
	}
	for _, n := range e.nodes {
		n.compile(e.schema)
	}
	if err := e.define(); err != nil {
		return err
	}
	for i := range known {
		if !e.nodes[known[i].ID].outside {
			e.engine.Restore(known[i].ID, known[i].Members)
		}
	}
	return nil
}

// undone marks the collections that must be computed for all devices: those that
// follow changes, for nobody knows what changed since; and of the others those that
// were not evaluated as they are defined, since something that they name
// changed, or since their time came. What else changed waits for their schedule.
func (e *Evaluator) undone(known []Known) error {
	now := e.cfg.Now()
	changed := make(map[string]uint64, len(known))
	all := e.engine.Devices().Clone()
	for i := range known {
		changed[known[i].ID] = known[i].Changed
		all.Or(known[i].Members)
	}
	e.changes.add(all)
	e.nodes[event.RootCollection].whole = true
	for i := range known {
		k := &known[i]
		n := e.nodes[k.ID]
		n.unsaid = k.Basis < k.Defined
		n.whole = n.incremental() || n.unsaid || e.overtaken(n, k, changed)
		n.due = e.nextDue(n)
		if at, ok := n.schedule.Next(k.Began); ok && k.Evaluated > 0 && !at.After(now) {
			n.due = at
		}
	}
	return nil
}

// overtaken tells whether something that a collection names changed after it was
// evaluated, and does not wait for its schedule.
func (e *Evaluator) overtaken(n *node, k *Known, changed map[string]uint64) bool {
	if n.waits(e.cfg.Settings.Cascade) {
		return false
	}
	from := names(&n.compiled)
	if n.compiled.Limit == "" {
		from = append(from, event.RootCollection)
	}
	for _, id := range from {
		if changed[id] > k.Evaluated {
			return true
		}
	}
	return false
}

// requested lets the requests wait that were not served before the evaluator stopped.
func (e *Evaluator) requested(ctx context.Context, known []Known) error {
	var all []asked
	err := e.retry(ctx, "look for requests", readable, func() (err error) {
		all, err = requests(ctx, e.cfg.Journal, e.applied)
		return err
	})
	if err != nil {
		return err
	}
	seen := make(map[string]uint64, len(known))
	for i := range known {
		seen[known[i].ID] = known[i].Basis
	}
	for _, a := range all {
		e.again(a.number, a.request, seen)
	}
	return nil
}

// An asked is a request and its event.
type asked struct {
	number  uint64
	request *event.EvaluationRequested
}

// requests are those among the last events up to one.
func requests(ctx context.Context, j Journal, last uint64) (all []asked, err error) {
	from := uint64(1)
	if last > lookBack {
		from = last - lookBack + 1
	}
	r, err := j.Read(ctx, from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range p.Records {
			rec := &p.Records[i]
			if rec.Number > last {
				return all, nil
			}
			if rec.Number < from || rec.Kind() != event.KindEvaluationRequested {
				continue
			}
			ev, err := rec.Event()
			if err != nil {
				return nil, err
			}
			if q, ok := ev.Payload.(*event.EvaluationRequested); ok {
				all = append(all, asked{rec.Number, q})
			}
		}
	}
}

// again asks for the collections of a request that no evaluation has seen: one whose
// results are behind the request may have begun before it.
func (e *Evaluator) again(number uint64, p *event.EvaluationRequested, seen map[string]uint64) {
	left := *p
	left.Collections = nil
	for _, id := range p.Collections {
		if seen[id] < number {
			left.Collections = append(left.Collections, id)
		}
	}
	e.request(number, &left)
}
