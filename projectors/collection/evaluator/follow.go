package evaluator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// maxPages is how many pages of the journal wait for the evaluator.
const maxPages = 16

// A follower hands out the pages of the journal.
type follower struct {
	pages  chan *journal.Page
	failed chan error // why no page comes any more
	ended  chan struct{}
}

// follow begins with the page that has an event, and ends with ctx. A journal that
// cannot be read for the moment is tried again.
func (e *Evaluator) follow(ctx context.Context, from uint64) *follower {
	f := &follower{make(chan *journal.Page, maxPages), make(chan error, 1), make(chan struct{})}
	go func() {
		defer close(f.ended)
		for {
			err := e.pump(ctx, &from, f.pages)
			if ctx.Err() != nil {
				return
			}
			if !readable(err) {
				f.failed <- fmt.Errorf("follow journal: %w", err)
				return
			}
			e.cfg.Log.Warn("follows the journal again", "event", from, "after", lastWait, "err", err)
			idle(ctx, lastWait)
		}
	}()
	return f
}

// pump hands out pages until that fails; from is the first event that was not in one.
func (e *Evaluator) pump(ctx context.Context, from *uint64, pages chan<- *journal.Page) error {
	r, err := e.cfg.Journal.Follow(ctx, *from)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		p, err := r.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case pages <- p:
			*from = p.Records[len(p.Records)-1].Number + 1
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readable is for reads of the journal: they are tried again unless that is useless.
func readable(err error) bool {
	return !errors.Is(err, journal.ErrDamaged) && !errors.Is(err, journal.ErrClosed)
}

// wanted are the kinds that the evaluator acts upon.
func wanted(k event.Kind) bool {
	switch k {
	case event.KindDeviceJoined, event.KindDeviceDiscovered, event.KindDevicesImported, event.KindDeviceRemoved,
		event.KindClassesDefined, event.KindCollectionChanged, event.KindEvaluationRequested:
		return true
	}
	return false
}

// take applies a page. What was known at the start already changes nothing, or is
// looked at once more. What definitions say counts once settle was called.
func (e *Evaluator) take(p *journal.Page) error {
	for i := range p.Records {
		r := &p.Records[i]
		if r.Number <= e.applied {
			continue
		}
		if wanted(r.Kind()) {
			ev, err := r.Event()
			if err != nil {
				return err
			}
			e.apply(ev)
		}
		e.applied = r.Number
	}
	return nil
}

// settle makes what definitions say count.
func (e *Evaluator) settle() error {
	if e.redefinedBy > 0 {
		if err := e.redefine(e.redefinedBy); err != nil {
			return err
		}
	}
	e.appended = slices.DeleteFunc(e.appended, func(a *event.Event) bool { return a.Number <= e.applied })
	return nil
}

// redefine hands the graph to the engine, gives new collections their members and
// lets those wait that must be computed.
func (e *Evaluator) redefine(by uint64) error {
	if err := e.define(); err != nil {
		return err
	}
	for _, b := range e.reborn {
		if n := e.nodes[b.id]; n == nil || n.outside {
			continue
		}
		members, err := e.born(b)
		if err != nil {
			return fmt.Errorf("members of collection %s: %w", b.id, err)
		}
		e.engine.Restore(b.id, members)
	}
	e.reborn, e.redefinedBy = nil, 0
	e.planSchedules()
	e.planTurn()
	e.askWhole(event.ByDefinition, by)
	return nil
}

// apply takes note of what an event says.
func (e *Evaluator) apply(ev *event.Event) {
	switch p := ev.Payload.(type) {
	case *event.DeviceJoined:
		e.changed(ev, p.Device)
	case *event.DeviceDiscovered:
		e.changed(ev, p.Device)
	case *event.DeviceRemoved:
		e.changed(ev, p.Device)
	case *event.DevicesImported:
		for i := range p.Devices {
			e.changed(ev, p.Devices[i].Device)
		}
	case *event.ClassesDefined:
		e.pending.schema = true
		e.pending.heard(ev.Number, e.cfg.Now())
	case *event.CollectionChanged:
		e.changeDefinition(ev.Number, p)
	case *event.EvaluationRequested:
		e.request(ev.Number, p)
	}
}

func (e *Evaluator) changed(ev *event.Event, device uint32) {
	e.pending.add(device)
	e.pending.heard(ev.Number, e.cfg.Now())
}

// changeDefinition takes a definition over.
func (e *Evaluator) changeDefinition(number uint64, p *event.CollectionChanged) {
	if number <= e.defined || p.ID == "" || p.ID == event.RootCollection {
		return
	}
	e.redefinedBy = number
	n := e.nodes[p.ID]
	if p.After == nil {
		delete(e.nodes, p.ID)
		return
	}
	d := *p.After
	d.ID = p.ID
	if n == nil {
		n = &node{id: p.ID}
		e.nodes[p.ID] = n
		e.reborn = append(e.reborn, birth{p.ID, number})
	}
	// A new name, comment or schedule changes no members.
	if n.definition == nil || !sameRules(n.definition, &d) || d.Incremental && !n.definition.Incremental {
		n.whole = true
	}
	n.definition = &d
	n.compile(e.schema)
	n.due = e.nextDue(n)
}

// sameRules tells whether two definitions have the same members.
func sameRules(a, b *event.Collection) bool {
	return a.Limit == b.Limit && bytes.Equal(a.Direct, b.Direct) && slices.Equal(a.Include, b.Include) && slices.Equal(a.Exclude, b.Exclude) &&
		slices.EqualFunc(a.Queries, b.Queries, func(x, y event.CollectionQuery) bool { return x.WQL == y.WQL })
}

// A birth is a collection that is new, with the event that made it.
type birth struct {
	id     string
	number uint64
}

// born returns the members that the view of collections gives a new collection: none,
// but for results of one with the same id before it that were appended behind it.
func (e *Evaluator) born(b birth) (*roaring.Bitmap, error) {
	members := roaring.New()
	for _, a := range e.appended {
		if a.Number <= b.number {
			continue
		}
		for _, r := range a.Payload.(*event.CollectionsEvaluated).Results {
			if r.ID != b.id {
				continue
			}
			added, err := event.ParseSet(r.Added)
			if err != nil {
				return nil, err
			}
			removed, err := event.ParseSet(r.Removed)
			if err != nil {
				return nil, err
			}
			members.Or(added)
			members.AndNot(removed)
		}
	}
	return members, nil
}

// request lets what somebody asked for wait in its queue.
func (e *Evaluator) request(number uint64, p *event.EvaluationRequested) {
	which := event.SingleQueue
	if p.Dependants {
		which = event.ManualQueue
	}
	e.put(which, &item{ids: p.Collections, dependants: p.Dependants, cause: event.ByRequest, by: number})
}

// put lets an item wait, without collections that are not there.
func (e *Evaluator) put(which event.EvaluationQueue, it *item) {
	it.asked = e.cfg.Now()
	it.ids = slices.DeleteFunc(slices.Clone(it.ids), func(id string) bool { return e.nodes[id] == nil })
	slices.Sort(it.ids)
	it.ids = slices.Compact(it.ids)
	if which != event.IncrementalQueue && len(it.ids) == 0 {
		return
	}
	it.estimate = e.estimate(it.ids)
	if which == event.IncrementalQueue {
		it.estimate = e.queues.mean(which)
	}
	e.queues.put(which, it)
}

// askWhole lets the collections wait that must be computed for all devices. Those
// that others depend on wait with these.
func (e *Evaluator) askWhole(cause event.EvaluationCause, by uint64) {
	var alone, followed []string
	for id, n := range e.nodes {
		switch {
		case !n.whole || n.broken != nil:
		case len(e.feeds[id]) > 0:
			followed = append(followed, id)
		default:
			alone = append(alone, id)
		}
	}
	if len(followed) > 0 { // those that are alone need no cycle of their own then
		e.put(event.ManualQueue, &item{ids: append(followed, alone...), dependants: true, cause: cause, by: by})
		return
	}
	if len(alone) > 0 {
		e.put(event.SingleQueue, &item{ids: alone, cause: cause, by: by})
	}
}

// newReader hides the type of the bytes, of which the bitmap would keep parts.
func newReader(b []byte) io.Reader { return bytes.NewReader(b) }
