package projectors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/bugle-fleet/bugle/journal"
)

// A Journal is what views need of a [journal.Journal].
type Journal interface {
	Read(ctx context.Context, from uint64) (journal.Reader, error)
	Follow(ctx context.Context, from uint64) (journal.Reader, error)
	Head() journal.Head
}

// Options of [Open].
type Options struct {
	Dir     string   // holds a folder per view; made if it is not there
	Journal Journal  // the truth
	History [16]byte // the journal's identity; views of another are folded anew
	Log     *slog.Logger
}

// ErrLocked is wrapped by the error of [Open] if another process has the folder.
var ErrLocked = errors.New("views are in use by another process")

// Views is all views of a site and what keeps them up to date.
type Views struct {
	opt     Options
	lock    *os.File
	runners []*runner
	closing sync.WaitGroup // of retired generations
}

// Open opens every view where it was left. One whose folder is missing, damaged,
// of another schema or of another history is folded anew by [Views.Run], and
// cannot be read until it has reached what is the journal's end now.
func Open(opt Options, views ...*View) (*Views, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open views: %w", err)
	}
	l, err := lock(filepath.Join(opt.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("open views: %w", err)
	}
	all := &Views{opt: opt, lock: l}
	for _, v := range views {
		r := newRunner(v, opt, &all.closing)
		all.runners = append(all.runners, r)
		if err := r.open(); err != nil {
			return nil, errors.Join(fmt.Errorf("open view %s: %w", v.Name, err), all.Close())
		}
	}
	return all, nil
}

// open finds the generation that serves or begins one. After an error, too, the
// runner is to be closed.
func (r *runner) open() error {
	view := r.view
	if !validName(view.Name) || view.Schema == 0 || view.Fold == nil {
		return errors.New("view lacks a name, a schema or a fold")
	}
	if err := os.MkdirAll(string(r.dir), 0o700); err != nil {
		return err
	}
	n, err := r.dir.current()
	if err != nil {
		return err
	}
	head := r.opt.Journal.Head().Event
	if n != 0 {
		if _, err = os.Stat(r.dir.generation(n)); err == nil {
			r.gen, err = newGeneration(view, n, r.dir.generation(n), r.opt.History, head, false, r.log)
		}
		if err != nil {
			r.log.Warn("view is folded anew", "generation", n, "err", err)
		}
	}
	if err := r.dir.sweep(n); err != nil {
		return err
	}
	if r.gen != nil {
		r.serve()
		return nil
	}
	return r.build(head)
}

func validName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return c != '-' && (c < 'a' || c > 'z') })
}

// Close stores the positions, waits for readers under way, and closes the
// stores. [Views.Run] and [Views.Rebuild] must have returned.
func (v *Views) Close() error {
	var err error
	for _, r := range v.runners {
		err = errors.Join(err, r.close())
	}
	v.closing.Wait()
	return errors.Join(err, v.lock.Close())
}

// A Status says how a view does.
type Status struct {
	Name       string
	Generation uint32
	Position   uint64 // the last event that readers see
	Lag        uint64 // durable events behind Position
	Rows       uint64
	Building   bool  // it is folded for the first time and cannot be read
	Err        error // what stopped it, or nil
}

// Status returns how each view does, in the order of [Open].
func (v *Views) Status() []Status {
	head := v.opt.Journal.Head().Event
	all := make([]Status, len(v.runners))
	for i, r := range v.runners {
		all[i] = r.status()
		if s := &all[i]; head > s.Position {
			s.Lag = head - s.Position
		}
	}
	return all
}

// Wait returns when every named view, or every view if none is named, holds
// event: a reader then sees what the event did. It fails at once if one of them
// has stopped before it.
func (v *Views) Wait(ctx context.Context, event uint64, names ...string) error {
	for _, r := range v.runners {
		if len(names) > 0 && !slices.Contains(names, r.view.Name) {
			continue
		}
		if err := r.wait(ctx, event); err != nil {
			return fmt.Errorf("wait for view %s at event %d: %w", r.view.Name, event, err)
		}
	}
	return nil
}

// ErrNoView is wrapped by errors for a name that no view has.
var ErrNoView = errors.New("no such view")

func (v *Views) find(name string) (*runner, error) {
	for _, r := range v.runners {
		if r.view.Name == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNoView, name)
}
