package commit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A Journal is a [journal.Journal] on a [Store].
type Journal struct {
	store Store
	folds folds
	now   func() time.Time
	queue *queue
	tail  tail

	// The appender's alone, once it runs.
	head     journal.Head
	accepted int64 // of the last event, Unix nanoseconds
	failed   error // what every batch gets once an outcome is unknown

	broken   chan struct{} // closed when failed is set
	stopped  chan struct{} // closed when the appender has ended
	closing  sync.Once
	closeErr error
}

// Failed is closed when the outcome of an append is unknown: the journal takes no
// more events then, and must be closed and opened anew.
func (j *Journal) Failed() <-chan struct{} { return j.broken }

// Append implements [journal.Journal].
func (j *Journal) Append(ctx context.Context, events ...*event.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(events) == 0 {
		return j.queue.refusal()
	}
	b := batches.Get().(*batch)
	defer b.free()
	if err := b.encode(events); err != nil {
		return err
	}
	g, at, err := j.queue.join(ctx, *b)
	if err != nil {
		return err
	}
	if err := g.wait(ctx); err != nil {
		return err
	}
	if g.err == nil {
		stamp(events, g.first+uint64(at), g.accepted+int64(at))
	}
	return g.err
}

// AppendIf implements [journal.Journal]. With no events it runs the guard behind
// everything that was appended before, and stores nothing.
func (j *Journal) AppendIf(ctx context.Context, guard func() error, events ...*event.Event) error {
	if guard == nil {
		return j.Append(ctx, events...)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b := batch{guard: &guarded{check: guard, events: events, encoded: make(chan struct{})}}
	g, _, err := j.queue.join(ctx, b)
	if err != nil {
		return err
	}
	if err := g.wait(ctx); err != nil {
		b.guard.giveUp()
		return err
	}
	if g.err == nil {
		stamp(events, g.first, g.accepted)
	}
	return g.err
}

// Head implements [journal.Journal].
func (j *Journal) Head() journal.Head { return j.tail.end() }

// Close implements [journal.Journal]. It closes the store.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		j.queue.stop(journal.ErrClosed, true)
		<-j.stopped
		j.tail.close()
		if err := j.store.Close(); err != nil {
			j.closeErr = fmt.Errorf("close journal: %w", err)
		}
	})
	return j.closeErr
}
