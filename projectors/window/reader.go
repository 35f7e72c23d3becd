package window

import (
	"slices"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/projectors"
)

// A Window is one maintenance window of a collection.
type Window struct {
	Collection string // its id
	Name       string // unique within the collection
	JSON       []byte // as package agent/window reads one; nobody changes it
	Event      uint64 // that set it
	Changed    time.Time
}

// compare is the order in which windows are listed: by collection, then by name.
func compare(a, b Window) int {
	if c := strings.Compare(a.Collection, b.Collection); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// A Reader reads the view. It is safe for concurrent use.
type Reader struct{ view projectors.Source }

// At returns the reader of the view as of one event.
func At(past *projectors.Past) *Reader { return &Reader{past.View(name)} }

// At runs read and returns the number of the event that all it saw was after:
// several reads in it see the same windows.
func (r *Reader) At(read func(*Snapshot) error) (position uint64, err error) {
	err = r.view.Read(func(s *projectors.Snapshot) error {
		position = s.Position()
		return read(&Snapshot{s})
	})
	return position, err
}

// All returns all windows, by collection and name. Nobody changes the slice: it is
// the same one until a window changes.
func (r *Reader) All() (all []Window, err error) {
	_, err = r.At(func(s *Snapshot) error {
		all = s.All()
		return nil
	})
	return all, err
}

// Of returns the windows of a collection by name. Nobody changes the slice.
func (r *Reader) Of(collection string) (all []Window, err error) {
	_, err = r.At(func(s *Snapshot) error {
		all = s.Of(collection)
		return nil
	})
	return all, err
}

// A Snapshot is the windows after one event.
type Snapshot struct{ s *projectors.Snapshot }

// All is [Reader.All].
func (s *Snapshot) All() []Window { return s.s.State().([]Window) }

// Of is [Reader.Of].
func (s *Snapshot) Of(collection string) []Window {
	all := s.All()
	from, _ := slices.BinarySearchFunc(all, Window{Collection: collection}, compare)
	to := from
	for to < len(all) && all[to].Collection == collection {
		to++
	}
	return all[from:to:to]
}
