package projectors

import (
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// A Status says how a view does.
type Status struct {
	Name       string
	Generation uint32
	Former     uint32        // that [Views.Rollback] returns to, or 0
	Position   uint64        // the last event that readers see
	Accepted   time.Time     // when the journal accepted that event
	Window     uint64        // the first event as of which the store is read
	Lag        uint64        // durable events behind Position
	Behind     time.Duration // between Position and the last event, as they were accepted
	Rows       uint64
	Building   bool       // it is folded for the first time and cannot be read
	Err        error      // what stopped it, or nil
	Since      time.Time  // when it stopped, began to be built, or began to serve
	StoppedAt  uint64     // the event that stopped it, or 0
	StoppedBy  event.Kind // of that event, as far as it is known
}

// Status returns how each view does, in the order of [Open].
func (v *Views) Status() []Status {
	head, last := v.opt.Journal.Head().Event, time.Unix(0, v.last.Load())
	all := make([]Status, len(v.runners))
	for i, r := range v.runners {
		all[i] = r.status()
		if s := &all[i]; head > s.Position {
			s.Lag = head - s.Position
			s.Behind = max(last.Sub(s.Accepted), 0)
		}
	}
	return all
}

// note shows how the generation is; it is called with mu held, or before Run.
func (r *runner) note() {
	g := r.gen
	next := Status{Name: r.view.Name, Generation: g.number, Former: r.former.number, Position: g.meta.position, Window: max(g.meta.floor, 1),
		Rows: g.meta.rows, Building: r.view.serving.Load() == building, Err: g.broken, StoppedAt: g.brokenAt, StoppedBy: g.brokenFor}
	if g.meta.accepted != 0 {
		next.Accepted = time.Unix(0, g.meta.accepted).UTC()
	}
	r.noted.Lock()
	defer r.noted.Unlock()
	next.Since = r.now.Since
	if next.Since.IsZero() || next.Building != r.now.Building || (next.Err == nil) != (r.now.Err == nil) || next.Generation != r.now.Generation {
		next.Since = time.Now()
	}
	r.now = next
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *runner) status() Status {
	r.noted.Lock()
	defer r.noted.Unlock()
	return r.now
}
