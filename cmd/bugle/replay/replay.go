// Package replay folds a history anew, with the folds of the views and nothing
// that a site has kept, up to an event: what an auditor does to redo what the site
// says.
//
//	history ──> pages up to the event ──> fold, in a temporary store ──> rows, digest
//
// The digest is that of the same view at the same event everywhere else: views are
// pure folds.
package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/bugle-fleet/bugle/projectors"
)

// A Result is a view as of an event, while [Fold] runs.
type Result struct {
	Event    uint64
	Accepted time.Time // when the journal took that event
	Digest   [32]byte
	view     folded
}

// Rows hands show every row of the view, as JSON has it: the field "row" says
// what it is, names begin with a small letter, states and kinds are words, bytes
// are hexadecimal, and what is zero or empty is left out.
func (r *Result) Rows(show func(row map[string]any) error) error {
	return r.view.rows(func(row string, v any) error { return show(readable(row, v)) })
}

// Dump writes the canonical bytes that the digest is of.
func (r *Result) Dump(w io.Writer) error {
	return r.view.view.Read(func(s *projectors.Snapshot) error { return s.Dump(w) })
}

// Fold folds the view with that name, one of [Views], up to an event that the
// history has, and calls use with what it came to. The folder dir is made, and
// used for temporary files; to remove it is the caller's.
func Fold(ctx context.Context, h History, last uint64, view, dir string, use func(*Result) error) (err error) {
	if head := h.Head().Event; last == 0 || last > head {
		return fmt.Errorf("fold %s up to event %d: %w", view, last, &projectors.RangeError{Event: last, Last: head})
	}
	make, ok := views[view]
	if !ok {
		return fmt.Errorf("fold %q: %w", view, projectors.ErrNoView)
	}
	v := make()
	all, err := projectors.Open(projectors.Options{
		Dir: dir, Journal: prefix{h, last}, Log: slog.New(slog.DiscardHandler),
		Window: projectors.Window{Age: time.Nanosecond, Events: 1}, KeepOld: -1, Verify: -1,
	}, v.view)
	if err != nil {
		return fmt.Errorf("fold %s: %w", view, err)
	}
	running, cancel := context.WithCancel(ctx)
	ended := run(running, all)
	defer func() { err = errors.Join(err, all.Close()) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	r, err := v.result(ctx, all, h, last)
	if err != nil {
		return fmt.Errorf("fold %s: %w", view, cmp.Or(failure(all), err))
	}
	return use(r)
}

// run lets views follow until ctx ends.
func run(ctx context.Context, all *projectors.Views) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- all.Run(ctx) }()
	return ended
}

// failure is what has stopped the fold, or nil.
func failure(all *projectors.Views) error {
	for _, s := range all.Status() {
		if s.Err != nil {
			return s.Err
		}
	}
	return nil
}

// result waits until the view holds the event.
func (v folded) result(ctx context.Context, all *projectors.Views, h History, last uint64) (*Result, error) {
	if err := all.Wait(ctx, last); err != nil {
		return nil, err
	}
	accepted, err := projectors.TimeOf(ctx, h, last)
	if err != nil {
		return nil, err
	}
	position, digest, err := all.Digest(v.view.Name)
	if err == nil && position != last {
		err = fmt.Errorf("the fold stands at event %d, not at %d", position, last)
	}
	return &Result{Event: last, Accepted: accepted.UTC(), Digest: digest, view: v}, err
}
