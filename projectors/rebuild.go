package projectors

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
)

// A Result says what a [Views.Rebuild] or a [Views.Rollback] came to.
type Result struct {
	View       string
	Generation uint32   // that serves now
	Position   uint64   // at which the two were compared
	Digest     [32]byte // there, of the generation that serves now
	Same       bool     // the one before had the same digest there
}

// Errors of [Views.Rebuild] and [Views.Rollback].
var (
	ErrBusy     = errors.New("a rebuild is under way")
	ErrNoFormer = errors.New("no former generation is kept")
)

// Rebuild folds a view anew from the journal's first event, beside the
// generation that serves, compares the two at the same event, and switches: readers
// see the one or the other, whole, and never an earlier event than before. A view
// that had stopped runs again. Progress, which may be nil, is told how many of
// the events that there were at the start are done. If Rebuild fails, what
// served before goes on; if it does not, that is kept for a while
// ([Views.Rollback]).
func (v *Views) Rebuild(ctx context.Context, name string, progress func(Progress)) (Result, error) {
	r, err := v.find(name)
	if err != nil {
		return Result{}, fmt.Errorf("rebuild: %w", err)
	}
	return r.exclusively("rebuild", func() (Result, error) { return r.rebuild(ctx, true, progress) })
}

// RebuildAll rebuilds one view after the other, in the order of [Open], and
// returns what each came to. It goes on with the next one if one fails.
func (v *Views) RebuildAll(ctx context.Context, progress func(name string, p Progress)) ([]Result, error) {
	var all []Result
	var failed error
	for _, r := range v.runners {
		tell := func(p Progress) {
			if progress != nil {
				progress(r.view.Name, p)
			}
		}
		res, err := v.Rebuild(ctx, r.view.Name, tell)
		if err == nil {
			all = append(all, res)
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return all, failed
}

// Rollback makes the generation serve again that served before the last rebuild.
// It is brought up to where the serving one is, verified, compared with it, and
// switched to; the other one is then kept in its place. The error wraps
// [ErrNoFormer] if none is kept.
func (v *Views) Rollback(ctx context.Context, name string) (Result, error) {
	r, err := v.find(name)
	if err != nil {
		return Result{}, fmt.Errorf("roll back: %w", err)
	}
	return r.exclusively("roll back", func() (Result, error) { return r.rollback(ctx) })
}

// exclusively runs what replaces the generation, one at a time.
func (r *runner) exclusively(what string, replace func() (Result, error)) (Result, error) {
	if !r.rebuilding.TryLock() {
		return Result{}, fmt.Errorf("%s view %s: %w", what, r.view.Name, ErrBusy)
	}
	defer r.rebuilding.Unlock()
	res, err := replace()
	if err != nil {
		return Result{}, fmt.Errorf("%s view %s: %w", what, r.view.Name, err)
	}
	r.poke()
	return res, nil
}

func (r *runner) rebuild(ctx context.Context, keepFormer bool, progress func(Progress)) (Result, error) {
	s, err := r.view.acquire()
	if err != nil {
		return Result{}, err // nothing serves: it is being built already
	}
	s.release()
	g, err := r.create()
	if err != nil {
		return Result{}, err
	}
	m := newMeter(0, r.opt.Journal.Head().Event, progress)
	res, err := r.compare(ctx, g, m)
	if err == nil {
		err = r.replace(ctx, g, keepFormer)
	}
	if err != nil {
		return res, errors.Join(err, r.remove(g))
	}
	r.distrust(res)
	return res, nil
}

// distrust lets go of what the generation before has left, if it was another.
func (r *runner) distrust(res Result) {
	if !res.Same {
		r.kept.clear()
		r.deep.forget(r.view.Name)
	}
}

func (r *runner) rollback(ctx context.Context) (Result, error) {
	r.mu.Lock()
	f := r.former
	r.mu.Unlock()
	if f.number == 0 {
		return Result{}, ErrNoFormer
	}
	select {
	case <-f.closed():
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	if _, err := r.view.generation(); err != nil {
		return Result{}, err
	}
	g, err := newGeneration(r.view, f.number, r.dir.generation(f.number), r.opt.History, r.opt.Journal.Head().Event, false, r.log)
	if err != nil {
		return Result{}, err
	}
	res, err := r.compare(ctx, g, newMeter(g.position(), g.position(), nil))
	if err == nil {
		err = r.replace(ctx, g, true)
	}
	if err != nil {
		return res, errors.Join(err, r.dismiss(g))
	}
	r.distrust(res)
	return res, nil
}

// dismiss closes a generation that does not serve. If it does not close, or the disk has
// no room for that, its folder stays locked with the others until the process ends.
func (r *runner) dismiss(g *generation) error {
	if why := r.opt.Room(); why != nil {
		return left([]string{r.view.Name}, why, r.log)
	}
	g.drop()
	g.retire()
	err := g.await(r.opt.CloseWithin)
	if errors.Is(err, ErrNotClosed) {
		r.leaving.Go(func() { <-g.closed })
	}
	return err
}

// remove closes a generation that is of no use and removes it; if it does not close,
// the next start removes it.
func (r *runner) remove(g *generation) error {
	err := r.dismiss(g)
	if errors.Is(err, ErrNotClosed) {
		return err
	}
	return errors.Join(err, os.RemoveAll(g.dir))
}

// compare folds g up to the very event that the serving generation is at, which
// moves on meanwhile: the second pass is short.
func (r *runner) compare(ctx context.Context, g *generation, m *meter) (Result, error) {
	if err := r.fill(ctx, g, r.status().Position, m.tell); err != nil {
		return Result{}, err
	}
	s, err := r.view.acquire()
	if err != nil {
		return Result{}, err
	}
	defer s.release()
	if err := g.follow(ctx, r.opt.Journal, s.position, m.tell); err != nil {
		return Result{}, err
	}
	if g.meta.position < s.position {
		return Result{}, fmt.Errorf("the journal ends at event %d, the view is at %d", g.meta.position, s.position)
	}
	return g.against(s)
}

// against verifies g and compares it with the serving generation at s.
func (g *generation) against(serving *Snapshot) (Result, error) {
	now := g.acquire()
	defer now.release()
	if err := now.verify(); err != nil {
		return Result{}, err
	}
	then := g.acquireAt(serving.position)
	if then == nil {
		return Result{}, fmt.Errorf("it is at event %d and does not know what there was at event %d", now.position, serving.position)
	}
	defer then.release()
	digest, err := then.Digest()
	if err != nil {
		return Result{}, err
	}
	before, err := serving.Digest()
	return Result{View: g.view.Name, Generation: g.number, Position: then.position, Digest: digest, Same: err == nil && before == digest}, nil
}

// replace brings g to where the serving generation is, which waits for that, or
// to the journal's end if it has stopped, and switches.
func (r *runner) replace(ctx context.Context, g *generation, keepFormer bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gen == nil {
		return ErrClosed
	}
	if err := g.follow(ctx, r.opt.Journal, math.MaxUint64, nil); err != nil {
		return err
	}
	if err := r.promote(g, keepFormer); err != nil {
		return err
	}
	r.slid, r.slidAt = 0, time.Time{}
	r.note()
	return nil
}

// A retired generation served once. It is on disk, and open as long as somebody
// reads it.
type retired struct {
	number uint32
	since  time.Time   // when it ceased to serve
	gen    *generation // nil if this process did not open it
}

// closed is closed when the files may be opened or removed.
func (f retired) closed() <-chan struct{} {
	if f.gen != nil {
		return f.gen.closed
	}
	done := make(chan struct{})
	close(done)
	return done
}

// promote makes g the generation that serves, here and after a restart. The one
// before is closed when its last reader leaves; then it is kept as the former one
// or removed.
func (r *runner) promote(g *generation, keepFormer bool) error {
	old, now := r.gen, time.Now()
	keepFormer = keepFormer && r.opt.KeepOld > 0
	if keepFormer {
		if err := r.dir.setPrevious(old.number, now); err != nil {
			return fmt.Errorf("keep generation %d: %w", old.number, err)
		}
	}
	if err := r.dir.setCurrent(g.number); err != nil {
		return fmt.Errorf("switch view %s to generation %d: %w", r.view.Name, g.number, err)
	}
	if r.view.serving.Load() == building {
		err := r.dir.sweep(g.number, r.former.number) // before somebody can begin a rebuild
		r.view.serving.Store(g)
		return err
	}
	r.gen = g
	r.view.serving.Store(g)
	if err := old.end(); err != nil {
		r.log.Warn("position of the former generation is not stored", "err", err)
	}
	leaving := retired{old.number, now, old}
	if keepFormer {
		leaving, r.former = r.former, leaving
	}
	r.discard(leaving, g.number)
	return nil
}

// discard removes a retired generation once nobody reads it, unless it is the one
// that serves.
func (r *runner) discard(f retired, serving uint32) {
	if f.number == 0 || f.number == serving {
		return
	}
	r.leaving.Go(func() {
		<-f.closed()
		if err := os.RemoveAll(r.dir.generation(f.number)); err != nil {
			r.log.Warn("remove former generation", "generation", f.number, "err", err)
		}
	})
}
