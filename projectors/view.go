package projectors

import (
	"errors"
	"sync/atomic"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// A View says what a view is. Its exported fields are set before [Open] and not
// changed after. A View belongs to one [Views] at a time; whoever reads it needs
// nothing but [View.Read].
type View struct {
	Name   string       // names the folder: [a-z-]{1,32}
	Schema uint32       // of keys and rows, from 1; another one than the store's means a rebuild
	Kinds  []event.Kind // the events that the fold is shown; others only move the position
	Fold   func() Fold  // a new, empty fold; every generation has its own

	serving atomic.Pointer[generation]
	suspect atomic.Bool // a read found what cannot be: the rows are to be verified
}

// A Fold turns events into rows. It is used by one goroutine at a time, knows no
// clock, and gives the same rows for the same events, whatever the batches were.
type Fold interface {
	// Load takes from the store what the fold keeps in memory. It is called once,
	// before the first Apply. An error means that the rows do not hold together:
	// the view is then folded anew.
	Load(s *Snapshot) error

	// Apply makes the changes of one event. An error stops the view; it is for a
	// store that cannot be read, never for what an event says.
	Apply(b *Batch, e *event.Event) error

	// Publish returns what readers may use of the fold's memory, or nil. Nobody
	// changes it afterwards. It is called after each commit.
	Publish() any
}

// Errors of [View.Read].
var (
	ErrBuilding = errors.New("view is being built")
	ErrClosed   = errors.New("views are closed")
)

// Read hands read the view as it is after one event: rows and published memory
// belong together. It neither waits for the writer nor makes it wait. The
// snapshot must not be kept.
//
// The error wraps [ErrBuilding] while the view is folded for the first time and
// [ErrClosed] before [Open] and after [Views.Close].
func (v *View) Read(read func(*Snapshot) error) error {
	s, err := v.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	return v.doubt(read(s))
}

// doubt has the rows verified soon if a read met what cannot be.
func (v *View) doubt(err error) error {
	if errors.Is(err, bounded.ErrMalformed) || errors.As(err, new(*storeError)) {
		v.suspect.Store(true)
	}
	return err
}

func (v *View) acquire() (*Snapshot, error) {
	for {
		g, err := v.generation()
		if err != nil {
			return nil, err
		}
		// A generation that was retired since hands out nothing; the next one
		// serves already.
		if s := g.acquire(); s != nil {
			return s, nil
		}
	}
}

// generation returns the one that serves.
func (v *View) generation() (*generation, error) {
	switch g := v.serving.Load(); g {
	case nil:
		return nil, &readError{v.Name, ErrClosed}
	case building:
		return nil, &readError{v.Name, ErrBuilding}
	default:
		return g, nil
	}
}

// building stands for a generation that nobody may read yet.
var building = new(generation)

type readError struct {
	view string
	err  error
}

func (e *readError) Error() string { return "read view " + e.view + ": " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func (v *View) wanted() map[event.Kind]bool {
	m := make(map[event.Kind]bool, len(v.Kinds))
	for _, k := range v.Kinds {
		m[k] = true
	}
	return m
}
