package projectors

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
)

// A Result says what a [Views.Rebuild] came to.
type Result struct {
	Generation uint32   // that serves now
	Position   uint64   // at which the two were compared
	Digest     [32]byte // of the new generation there
	Same       bool     // the one before had the same digest there
}

// ErrBusy is wrapped by the error of a rebuild while another of the same view
// runs.
var ErrBusy = errors.New("a rebuild is under way")

// Rebuild folds a view anew from the journal's first event, beside the
// generation that serves, compares the two at the same event, and switches: readers
// see the one or the other, whole, and never an earlier event than before. A view
// that had stopped runs again. Progress, which may be nil, is told how many of
// the events that there were at the start are done. If Rebuild fails, what
// served before goes on.
func (v *Views) Rebuild(ctx context.Context, name string, progress func(done, total uint64)) (Result, error) {
	r, err := v.find(name)
	if err != nil {
		return Result{}, fmt.Errorf("rebuild: %w", err)
	}
	if !r.rebuilding.TryLock() {
		return Result{}, fmt.Errorf("rebuild view %s: %w", name, ErrBusy)
	}
	defer r.rebuilding.Unlock()
	res, err := r.rebuild(ctx, progress)
	if err != nil {
		return Result{}, fmt.Errorf("rebuild view %s: %w", name, err)
	}
	r.poke()
	return res, nil
}

func (r *runner) rebuild(ctx context.Context, progress func(done, total uint64)) (Result, error) {
	s, err := r.view.acquire()
	if err != nil {
		return Result{}, err // nothing serves: it is being built already
	}
	s.release()
	g, err := r.create()
	if err != nil {
		return Result{}, err
	}
	res, err := r.compare(ctx, g, progress)
	if err == nil {
		err = r.replace(ctx, g)
	}
	if err != nil {
		g.retire()
		<-g.closed
		return res, errors.Join(err, g.failed, os.RemoveAll(g.dir))
	}
	return res, nil
}

// compare folds g up to the very event that the serving generation is at, which
// moves on meanwhile: the second pass is short.
func (r *runner) compare(ctx context.Context, g *generation, progress func(done, total uint64)) (Result, error) {
	total := r.opt.Journal.Head().Event
	report := func(position uint64) {
		if progress != nil {
			progress(min(position, total), total)
		}
	}
	pass := func() (Result, error) {
		s, err := r.view.acquire()
		if err != nil {
			return Result{}, err
		}
		defer s.release()
		if err := g.follow(ctx, r.opt.Journal, s.position, report); err != nil {
			return Result{}, err
		}
		if g.meta.position != s.position {
			return Result{}, fmt.Errorf("the journal ends at event %d, the view is at %d", g.meta.position, s.position)
		}
		return digests(g, s)
	}
	if err := g.follow(ctx, r.opt.Journal, r.status().Position, report); err != nil {
		return Result{}, err
	}
	return pass()
}

func digests(g *generation, serving *Snapshot) (Result, error) {
	mine := g.acquire()
	defer mine.release()
	if err := mine.verify(); err != nil {
		return Result{}, err
	}
	digest, err := mine.Digest()
	if err != nil {
		return Result{}, err
	}
	before, err := serving.Digest()
	res := Result{Generation: g.number, Position: mine.position, Digest: digest, Same: err == nil && before == digest}
	return res, nil
}

// replace brings g to where the serving generation is, which waits for that, or
// to the journal's end if it has stopped, and switches.
func (r *runner) replace(ctx context.Context, g *generation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gen == nil {
		return ErrClosed
	}
	if err := g.follow(ctx, r.opt.Journal, math.MaxUint64, nil); err != nil {
		return err
	}
	if err := r.promote(g); err != nil {
		return err
	}
	r.note()
	return nil
}
