package projectors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal"
)

const (
	// waitingPages is how many pages wait for a view that is busy. What does not
	// fit is not waited for: the view reads it from the journal itself.
	waitingPages = 64
	retryAfter   = time.Second
)

// A runner keeps one view up to date.
type runner struct {
	view    *View
	opt     Options
	dir     directory
	log     *slog.Logger
	closing *sync.WaitGroup

	pages chan *journal.Page
	wake  chan struct{} // something was missed: read the journal

	mu     sync.Mutex  // held while the generation is written or replaced
	gen    *generation // nil after close
	target uint64      // a building generation serves from here on

	rebuilding sync.Mutex

	noted   sync.Mutex
	now     Status        // what Status and wait see
	changed chan struct{} // closed when now changes
	closed  bool
}

func newRunner(view *View, opt Options, closing *sync.WaitGroup) *runner {
	return &runner{view: view, opt: opt, closing: closing,
		dir:     directory(opt.Dir + string(os.PathSeparator) + view.Name),
		log:     opt.Log.With("view", view.Name),
		pages:   make(chan *journal.Page, waitingPages),
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{})}
}

// Run follows the journal until ctx ends or the journal is closed, and returns
// nil then. It returns the error of a journal that is damaged. A view that
// cannot go on stops alone and says so in [Views.Status]; the others run on. A
// journal that cannot be read for the moment is tried again.
func (v *Views) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	for _, r := range v.runners {
		running.Go(func() { r.run(ctx) })
	}
	err := v.feed(ctx)
	cancel()
	running.Wait()
	return err
}

func (v *Views) feed(ctx context.Context) error {
	for {
		err := v.pump(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, journal.ErrClosed):
			return nil
		case errors.Is(err, journal.ErrDamaged):
			return fmt.Errorf("follow journal: %w", err)
		}
		v.opt.Log.Warn("views follow the journal again", "after", retryAfter, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}

// pump hands every new page to every view.
func (v *Views) pump(ctx context.Context) error {
	f, err := v.opt.Journal.Follow(ctx, v.opt.Journal.Head().Event+1)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, r := range v.runners {
		r.poke() // for what came before the first page that follows
	}
	for {
		p, err := f.Next(ctx)
		if err != nil {
			return err
		}
		for _, r := range v.runners {
			r.offer(p)
		}
	}
}

func (r *runner) offer(p *journal.Page) {
	select {
	case r.pages <- p:
	default:
		r.poke()
	}
}

func (r *runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *runner) run(ctx context.Context) {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case p := <-r.pages:
			err = r.take(ctx, p)
		case <-r.wake:
			err = r.catchUp(ctx)
		case <-retry.C:
			err = r.catchUp(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn("view reads the journal again", "after", retryAfter, "err", err)
			retry.Reset(retryAfter)
		}
	}
}

// catchUp applies what is durable now.
func (r *runner) catchUp(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gen == nil || r.gen.broken != nil {
		return nil
	}
	return r.settle(r.gen.follow(ctx, r.opt.Journal, math.MaxUint64, func(uint64) { r.note() }))
}

// take applies p and the pages that wait behind it as far as one commit goes.
func (r *runner) take(ctx context.Context, p *journal.Page) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.gen
	if g == nil || g.broken != nil {
		return nil
	}
	for p != nil {
		if p.First > g.position()+1 {
			if err := g.follow(ctx, r.opt.Journal, p.First-1, func(uint64) { r.note() }); err != nil {
				return r.settle(err)
			}
		}
		if err := g.apply(p, math.MaxUint64); err != nil {
			return r.settle(err)
		}
		if p = nil; g.batch != nil {
			select {
			case p = <-r.pages:
			default:
			}
		}
	}
	return r.settle(g.flush())
}

// settle decides what an error means: one that broke the generation, or a
// damaged journal, stops the view and is on record; any other is returned, to be
// tried again.
func (r *runner) settle(err error) error {
	g := r.gen
	if g.broken == nil && errors.Is(err, journal.ErrDamaged) {
		err = g.stop(fmt.Errorf("view %s stops: %w", r.view.Name, err))
	}
	if g.broken == nil && err == nil && r.view.serving.Load() == building && g.position() >= r.target {
		err = r.promote(g)
	}
	r.note()
	if g.broken != nil {
		r.log.Error("view has stopped", "position", g.meta.position, "err", g.broken)
		return nil
	}
	return err
}

// promote makes g the generation that serves, here and after a restart. The one
// before is closed and removed when its last reader leaves.
func (r *runner) promote(g *generation) error {
	if err := r.dir.setCurrent(g.number); err != nil {
		return fmt.Errorf("switch view %s to generation %d: %w", r.view.Name, g.number, err)
	}
	r.gen = g
	old := r.view.serving.Swap(g)
	if old == building || old == nil {
		return r.dir.sweep(g.number)
	}
	old.retire()
	r.closing.Go(func() {
		<-old.closed
		if err := errors.Join(old.failed, os.RemoveAll(old.dir)); err != nil {
			r.log.Warn("remove former generation", "generation", old.number, "err", err)
		}
	})
	return nil
}

// serve begins with the generation that was found.
func (r *runner) serve() {
	r.view.serving.Store(r.gen)
	r.note()
}

// build begins a generation that serves once it has reached target.
func (r *runner) build(target uint64) error {
	g, err := r.create()
	if err != nil {
		return err
	}
	r.gen, r.target = g, target
	r.view.serving.Store(building)
	if target == 0 {
		err = r.promote(g)
	}
	r.note()
	return err
}

func (r *runner) create() (*generation, error) {
	n, err := r.dir.next()
	if err != nil {
		return nil, err
	}
	return newGeneration(r.view, n, r.dir.generation(n), r.opt.History, math.MaxUint64, true, r.log)
}

// note shows how the generation is; it is called with mu held, or before Run.
func (r *runner) note() {
	g := r.gen
	r.noted.Lock()
	defer r.noted.Unlock()
	r.now = Status{Name: r.view.Name, Generation: g.number, Position: g.meta.position, Rows: g.meta.rows,
		Building: r.view.serving.Load() == building, Err: g.broken}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *runner) status() Status {
	r.noted.Lock()
	defer r.noted.Unlock()
	return r.now
}

func (r *runner) wait(ctx context.Context, event uint64) error {
	for {
		r.noted.Lock()
		s, changed, closed := r.now, r.changed, r.closed
		r.noted.Unlock()
		switch {
		case s.Position >= event && !s.Building:
			return nil
		case s.Err != nil:
			return s.Err
		case closed:
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *runner) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.gen
	if g == nil {
		return nil
	}
	r.view.serving.Store(nil)
	err := g.end()
	<-g.closed
	r.gen = nil
	r.noted.Lock()
	defer r.noted.Unlock()
	r.closed = true
	close(r.changed)
	r.changed = make(chan struct{})
	return errors.Join(err, g.failed)
}
