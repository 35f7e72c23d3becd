package projectors

import (
	"context"
	"errors"
	"fmt"
)

// A Source hands out snapshots: a [View] those of now, what [Past.View] returns
// those of one event.
type Source interface {
	Read(read func(*Snapshot) error) error
}

// A RangeError says that the journal has no such event.
type RangeError struct {
	Event uint64 // that was asked for
	Last  uint64 // of the journal
}

func (e *RangeError) Error() string {
	if e.Event == 0 {
		return fmt.Sprintf("there is no event 0: the journal has the events 1 to %d", e.Last)
	}
	return fmt.Sprintf("there is no event %d: the journal ends with event %d", e.Event, e.Last)
}

// A Past is all views as of one event, exactly. It holds nothing that has to be
// given back and reads while the context lives that it was made with. It is safe
// for concurrent use.
type Past struct {
	ctx   context.Context
	event uint64
	views map[string]*pastView
}

// At returns all views as they were right after an event. What is in the window
// ([Window]) is read from the store, and costs what a read of now costs; for what
// is older a view is folded in memory, beginning with the nearest kept state,
// when it is first read. The error wraps [*RangeError] if there is no such event.
func (v *Views) At(ctx context.Context, event uint64) (*Past, error) {
	if last := v.opt.Journal.Head().Event; event == 0 || event > last {
		return nil, fmt.Errorf("read views as of event %d: %w", event, &RangeError{event, last})
	}
	p := &Past{ctx: ctx, event: event, views: make(map[string]*pastView, len(v.runners))}
	for _, r := range v.runners {
		p.views[r.view.Name] = &pastView{past: p, r: r}
	}
	return p, nil
}

// Event is the event that all reads are as of.
func (p *Past) Event() uint64 { return p.event }

// View returns one view as of the event. Reading a view that is not there fails
// with [ErrNoView]; one that is being built with [ErrBuilding]; one that has
// stopped before the event with what stopped it.
func (p *Past) View(name string) Source {
	if v := p.views[name]; v != nil {
		return v
	}
	return missing(name)
}

type missing string

func (m missing) Read(func(*Snapshot) error) error { return fmt.Errorf("%w: %q", ErrNoView, string(m)) }

// Prepare makes a view ready for reads that do not wait. Progress, which may be
// nil, is told how far it is; if nothing has to be folded, it is not called.
func (p *Past) Prepare(name string, progress func(Progress)) error {
	v := p.views[name]
	if v == nil {
		return missing(name).Read(nil)
	}
	return v.read(progress, func(*Snapshot) error { return nil })
}

type pastView struct {
	past  *Past
	r     *runner
	state pastState // of reads from the store
}

func (v *pastView) Read(read func(*Snapshot) error) error { return v.read(nil, read) }

func (v *pastView) read(progress func(Progress), read func(*Snapshot) error) error {
	if err := v.reached(); err != nil {
		return fmt.Errorf("read view %s as of event %d: %w", v.r.view.Name, v.past.event, err)
	}
	s, err := v.r.view.acquireAt(v.past.event)
	if err != nil {
		return err
	}
	state := &v.state
	if s != nil {
		defer s.release()
		s.state = func() any { return state.of(v.r.view, s) }
	} else if s, state, err = v.r.deep.at(v.past.ctx, v.r, v.past.event, progress); err != nil {
		return fmt.Errorf("read view %s as of event %d: %w", v.r.view.Name, v.past.event, err)
	}
	return v.r.view.doubt(errors.Join(read(s), state.failed()))
}

// reached waits until the view holds the event, which is durable already.
func (v *pastView) reached() error {
	if v.r.status().Building {
		return ErrBuilding
	}
	err := v.r.wait(v.past.ctx, v.past.event)
	if err == nil || v.past.ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("the view has stopped before it: %w", err)
}

// acquireAt returns a snapshot from the store of the generation that serves, nil
// if that does not hold the event exactly.
func (v *View) acquireAt(event uint64) (*Snapshot, error) {
	for {
		g, err := v.generation()
		if err != nil {
			return nil, err
		}
		if s := g.acquireAt(event); s != nil || v.serving.Load() == g {
			return s, nil
		}
	}
}
