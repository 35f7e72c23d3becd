package projectors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Bounds of what is folded in memory for reads of the past.
const (
	maxFolds    = 2           // at once
	keepFolded  = time.Minute // how long what was folded may be read again
	maxFolded   = 4           // how many are kept
	maxPastSize = 1 << 30     // bytes of rows of one view
)

// deep folds views as of events that no store holds any more.
type deep struct {
	opt   Options
	turns chan struct{}

	mu     sync.Mutex
	folded map[deepKey]*folded
}

type deepKey struct {
	view  string
	event uint64
}

// folded is a view as of an event, or becomes it until done is closed.
type folded struct {
	done  chan struct{}
	since time.Time
	snap  *Snapshot
	state pastState
	err   error
}

func newDeep(opt Options) *deep {
	return &deep{opt: opt, turns: make(chan struct{}, maxFolds), folded: make(map[deepKey]*folded)}
}

// at returns the view as of the event. Those who ask for the same share one fold;
// if whoever began it gives up, the next one begins anew.
func (d *deep) at(ctx context.Context, r *runner, event uint64, progress func(Progress)) (*Snapshot, *pastState, error) {
	key := deepKey{r.view.Name, event}
	for {
		d.mu.Lock()
		f := d.folded[key]
		mine := f == nil
		if mine {
			f = &folded{done: make(chan struct{}), since: time.Now()}
			d.folded[key] = f
		}
		d.mu.Unlock()
		if mine {
			d.begin(ctx, f, r, event, progress)
			d.settle(key, f)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		if f.err == nil || mine || !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return f.snap, &f.state, f.err
		}
	}
}

func (d *deep) begin(ctx context.Context, f *folded, r *runner, event uint64, progress func(Progress)) {
	select {
	case d.turns <- struct{}{}:
		defer func() { <-d.turns }()
	case <-ctx.Done():
		f.err = ctx.Err()
		return
	}
	rows, err := d.fold(ctx, r, event, progress)
	if err != nil {
		f.err = err
		return
	}
	f.snap = &Snapshot{view: r.view.Name, rows: rows, position: event}
	f.snap.state = func() any { return f.state.of(r.view, f.snap) }
}

// settle lets go of a fold that failed at once, and of any other later.
func (d *deep) settle(key deepKey, f *folded) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.since = time.Now()
	close(f.done)
	if f.err != nil {
		delete(d.folded, key)
		return
	}
	time.AfterFunc(keepFolded, func() { d.drop(key, f) })
	for ready, oldest := d.ready(); ready > maxFolded; ready, oldest = d.ready() {
		delete(d.folded, oldest)
	}
}

func (d *deep) ready() (n int, oldest deepKey) {
	var since time.Time
	for key, f := range d.folded {
		if f.snap == nil {
			continue
		}
		if n == 0 || f.since.Before(since) {
			oldest, since = key, f.since
		}
		n++
	}
	return n, oldest
}

func (d *deep) drop(key deepKey, f *folded) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.folded[key] == f {
		delete(d.folded, key)
	}
}

// forget lets go of what was folded of a view.
func (d *deep) forget(view string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, f := range d.folded {
		if key.view == view && f.snap != nil {
			delete(d.folded, key)
		}
	}
}

func (d *deep) fold(ctx context.Context, r *runner, event uint64, progress func(Progress)) (*memory, error) {
	p, err := d.nearest(r, event)
	if err != nil {
		return nil, err
	}
	m := newMeter(p.position, event, progress)
	switch err := p.follow(ctx, d.opt.Journal, event, m.tell); {
	case errors.Is(err, errLarge):
		return nil, fmt.Errorf("%w: more than %d bytes of rows", err, maxPastSize)
	case err != nil:
		return nil, err
	case p.position != event:
		return nil, fmt.Errorf("the journal ends at event %d", p.position)
	}
	p.rows.freeze()
	return p.rows, nil
}

// nearest begins with what was kept last before the event, and with nothing if
// nothing was.
func (d *deep) nearest(r *runner, event uint64) (*replica, error) {
	for _, number := range r.kept.before(event) {
		k, rows, err := r.kept.read(number)
		if err == nil {
			var p *replica
			if p, err = newReplica(r.view, rows, k.event, k.accepted, maxPastSize); err == nil {
				return p, nil
			}
		}
		r.log.Warn("kept state is not used", "event", number, "err", err)
	}
	return newReplica(r.view, newMemory(), 0, 0, maxPastSize)
}
