package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
)

// A Saved is what a journal knows of its pages up to one of them: with it,
// [OpenSaved] need not read those. It is a cache; whoever keeps it makes sure that
// it comes back unaltered.
type Saved struct {
	Head     journal.Head
	Accepted int64             // of the last event, Unix nanoseconds
	Index    []byte            // how many events each page has, as unsigned varints
	Folds    map[string][]byte // what the folds saved, by journal.SavingFold.Saves

	// Missing says why a fold is not among Folds, or is nil: it does not save, or
	// could not. When the journal is opened again such a fold is told everything.
	Missing error
}

// ErrSaved is wrapped by the error for a Saved that is not of the pages it is used
// with, or does not hold together.
var ErrSaved = errors.New("what was saved is not of this journal")

// Save returns what [OpenSaved] takes. The folds are asked on the appender's
// goroutine, between two pages; after Close, on the caller's.
func (j *Journal) Save(ctx context.Context) (*Saved, error) {
	var saved *Saved
	var counts []uint16
	err := j.AppendIf(ctx, func() error {
		saved, counts = j.save()
		return nil
	})
	if errors.Is(err, journal.ErrClosed) {
		<-j.stopped
		saved, counts = j.save()
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("save journal: %w", err)
	}
	saved.Index = encodeIndex(counts)
	return saved, nil
}

// save is what the appender does for Save: as little as it can.
func (j *Journal) save() (*Saved, []uint16) {
	s := &Saved{Head: j.head, Accepted: j.accepted}
	s.Folds, s.Missing = j.folds.save()
	return s, j.tail.counts()
}
