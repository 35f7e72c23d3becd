package projectors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/journal"
)

// A Journal is what views need of a [journal.Journal].
type Journal interface {
	Timeline
	Follow(ctx context.Context, from uint64) (journal.Reader, error)
}

// Options of [Open].
type Options struct {
	Dir     string   // holds a folder per view; made if it is not there
	Journal Journal  // the truth
	History [16]byte // the journal's identity; views of another are folded anew
	Log     *slog.Logger

	Window  Window
	Keep    Keep
	KeepOld time.Duration // how long [Views.Rollback] can return to the former generation; 0 means 7 days, less none
	Verify  time.Duration // how often rows are compared with their sum; 0 means a day, less never
	Notify  func(Notice)  // is told what operators should know; it must not wait for the views

	CloseWithin time.Duration // how long [Views.Close] waits for the stores, and [Views.Run] for a write under way; 0 means 10 s
	Room        func() error  // tells why the disk has no room for what the stores write when they close
}

func (o Options) orDefault() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.KeepOld == 0 {
		o.KeepOld = week
	}
	if o.Verify == 0 {
		o.Verify = 24 * time.Hour
	}
	if o.Notify == nil {
		o.Notify = func(Notice) {}
	}
	if o.CloseWithin <= 0 {
		o.CloseWithin = closeWithin
	}
	if o.Room == nil {
		o.Room = func() error { return nil }
	}
	o.Window, o.Keep = o.Window.orDefault(), o.Keep.orDefault()
	return o
}

// ErrLocked is wrapped by the error of [Open] if another process has the folder.
var ErrLocked = errors.New("views are in use by another process")

// Views is all views of a site and what keeps them up to date.
type Views struct {
	opt     Options
	lock    *os.File
	runners []*runner
	deep    *deep
	notices chan Notice
	last    atomic.Int64 // when the last event of the journal was accepted, Unix nanoseconds, as far as is known
}

// Open opens every view where it was left. One whose folder is missing, damaged,
// of another schema or of another history is folded anew by [Views.Run], and
// cannot be read until it has reached what is the journal's end now.
func Open(opt Options, views ...*View) (*Views, error) {
	opt = opt.orDefault()
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open views: %w", err)
	}
	l, err := lock(filepath.Join(opt.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("open views: %w", err)
	}
	all := &Views{opt: opt, lock: l, deep: newDeep(opt), notices: make(chan Notice, maxNotices)}
	for _, v := range views {
		r := newRunner(v, all)
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
	former, since, err := r.dir.previous()
	if err != nil {
		return err
	}
	if r.kept, err = openKept(r.dir.file(keptFolder), keptState{view: view.Name, schema: view.Schema, history: r.opt.History}, r.opt.Keep, r.log); err != nil {
		return err
	}
	head := r.opt.Journal.Head().Event
	var why error
	if n != 0 {
		if _, why = os.Stat(r.dir.generation(n)); why == nil {
			r.gen, why = newGeneration(view, n, r.dir.generation(n), r.opt.History, head, false, r.log)
		}
		if why != nil {
			r.tell(Notice{Kind: Bad, Err: why})
		}
	}
	if former != n && r.dir.has(former) {
		r.former = retired{number: former, since: since}
	}
	if err := r.dir.sweep(n, r.former.number); err != nil {
		return err
	}
	if r.gen != nil {
		r.serve()
		return nil
	}
	return r.build(head, why)
}

func validName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return c != '-' && (c < 'a' || c > 'z') })
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
