package projectors

import (
	"context"
	"fmt"
	"time"
)

// A Window says as of which events views are read from their stores: those that
// were accepted in the last Age, and at least the last Events, counted from the
// last event that a view holds.
type Window struct {
	Age    time.Duration // 0 means a day
	Events uint64        // 0 means 100,000
}

func (w Window) orDefault() Window {
	if w.Age <= 0 {
		w.Age = 24 * time.Hour
	}
	if w.Events == 0 {
		w.Events = 100_000
	}
	return w
}

// start returns the event with which the window of a view begins that is at
// position, an event that was accepted then; 0 means that it holds everything.
func (w Window) start(ctx context.Context, j Timeline, position uint64, accepted time.Time) (uint64, error) {
	if position <= w.Events {
		return 0, nil
	}
	old, err := EventAt(ctx, j, accepted.Add(-w.Age))
	if err != nil {
		return 0, fmt.Errorf("find the window: %w", err)
	}
	return min(old, position-w.Events), nil
}

// slideEvery says how far a view goes on before its window is moved: a fraction
// of the window, for every move is a commit of its own.
const slideEvery = 16

// slide moves the window of the generation when it is time.
func (r *runner) slide(ctx context.Context) error {
	g, w := r.gen, r.opt.Window
	position, accepted := g.meta.position, time.Unix(0, g.meta.accepted)
	if g.broken != nil || g.batch != nil || position <= w.Events ||
		position-r.slid < max(w.Events/slideEvery, 1) && accepted.Sub(r.slidAt) < w.Age/slideEvery {
		return nil
	}
	event, err := w.start(ctx, r.opt.Journal, position, accepted)
	if err != nil {
		return err
	}
	r.slid, r.slidAt = position, accepted
	return g.slide(event)
}
