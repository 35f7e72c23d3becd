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
	view      *View
	opt       Options
	dir       directory
	log       *slog.Logger
	notices   chan<- Notice
	trouble   trouble
	healEvery time.Duration

	pages chan *journal.Page
	wake  chan struct{} // something was missed: read the journal

	kept *kept
	deep *deep

	running sync.WaitGroup // what [Views.Run] began
	leaving sync.WaitGroup // removal of retired generations

	mu     sync.Mutex  // held while the generation is written or replaced
	gen    *generation // nil after close
	target uint64      // a building generation serves from here on
	why    error       // it is built by itself, nil if it is the first one
	former retired     // that [Views.Rollback] returns to
	slid   uint64      // where the window was moved last, and what time it was
	slidAt time.Time

	rebuilding sync.Mutex

	noted   sync.Mutex
	now     Status        // what Status and wait see
	changed chan struct{} // closed when now changes
	closed  bool
	failed  error // of closing
}

func newRunner(view *View, v *Views) *runner {
	opt := v.opt
	return &runner{view: view, opt: opt, notices: v.notices, deep: v.deep, healEvery: healEvery,
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
	var watching sync.WaitGroup
	watching.Go(func() { v.watch(ctx) })
	for _, r := range v.runners {
		r.running.Go(func() { r.run(ctx) })
		r.running.Go(func() { r.tend(ctx) })
	}
	err := v.feed(ctx)
	cancel()
	watching.Wait()
	v.rest()
	return err
}

// rest waits until no view writes any more, but not without end: a write for which
// Badger cannot make room does not return. [Views.Close] names the view then.
func (v *Views) rest() {
	resting := make(chan struct{})
	go func() {
		defer close(resting)
		for _, r := range v.runners {
			r.running.Wait()
		}
	}()
	select {
	case <-resting:
	case <-time.After(v.opt.CloseWithin):
	}
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
	head := v.opt.Journal.Head().Event
	f, err := v.opt.Journal.Follow(ctx, head+1)
	if err != nil {
		return err
	}
	defer f.Close()
	if accepted, err := TimeOf(ctx, v.opt.Journal, head); err == nil { // else the first page will tell
		v.last.Store(accepted.UnixNano())
	}
	for _, r := range v.runners {
		r.poke() // for what came before the first page that follows
	}
	for {
		p, err := f.Next(ctx)
		if err != nil {
			return err
		}
		v.last.Store(p.Records[len(p.Records)-1].Accepted)
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
	return r.settle(ctx, r.fill(ctx, r.gen, math.MaxUint64, func(uint64) { r.note() }))
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
				return r.settle(ctx, err)
			}
		}
		if err := g.apply(p, math.MaxUint64); err != nil {
			return r.settle(ctx, err)
		}
		if p = nil; g.batch != nil {
			select {
			case p = <-r.pages:
			default:
			}
		}
	}
	return r.settle(ctx, g.flush())
}

// settle decides what an error means: one that broke the generation, or a
// damaged journal, stops the view and is on record; any other is returned, to be
// tried again.
func (r *runner) settle(ctx context.Context, err error) error {
	g := r.gen
	if g.broken == nil && errors.Is(err, journal.ErrDamaged) {
		err = g.stop(fmt.Errorf("view %s stops: %w", r.view.Name, err), g.position()+1, "")
	}
	if g.broken == nil && err == nil && r.view.serving.Load() == building && g.position() >= r.target {
		if err = r.promote(g, false); err == nil && r.why != nil {
			r.tell(Notice{Kind: Rebuilt, Event: g.position(), Err: r.why})
		}
	}
	if g.broken == nil && err == nil {
		err = r.slide(ctx)
	}
	r.note()
	if g.broken != nil {
		r.log.Error("view has stopped", "position", g.meta.position, "err", g.broken)
		return nil
	}
	return err
}

// serve begins with the generation that was found.
func (r *runner) serve() {
	r.view.serving.Store(r.gen)
	r.note()
}

// build begins a generation that serves once it has reached target.
func (r *runner) build(target uint64, why error) error {
	g, err := r.create()
	if err != nil {
		return err
	}
	r.why = why
	r.gen, r.target = g, target
	r.view.serving.Store(building)
	if target == 0 {
		err = r.promote(g, false)
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
