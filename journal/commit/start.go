package commit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal"
)

// Open reads and checks every page of the store, hands the events to the folds,
// and returns the journal, which owns the store from then on. What does not hold
// is a [*journal.DamageError]; the store is then still the caller's.
func Open(ctx context.Context, store Store, opts journal.Options) (*Journal, error) {
	s := Begin(opts)
	if err := s.replay(ctx, store); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return s.Open(store), nil
}

// OpenSaved is [Open] for a store whose pages are known up to one of them. Only
// the pages behind that are read, unless there are folds that cannot be restored:
// these are told everything, see [Start.Anew]. The error wraps [ErrSaved] if what
// was saved is not of this store; no fold was touched then.
func OpenSaved(ctx context.Context, store Store, opts journal.Options, saved *Saved) (*Journal, error) {
	s := Begin(opts)
	err := holds(ctx, store, saved.Head)
	if err == nil {
		err = s.Restore(saved)
	}
	if err == nil {
		err = s.replay(ctx, store)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return s.Open(store), nil
}

// A Start is a journal that is about to open: it is given what was saved, if
// there is anything, then the pages, in order.
type Start struct {
	j    *Journal
	anew error
}

// Begin begins with a journal that has no pages.
func Begin(opts journal.Options) *Start {
	j := &Journal{
		folds: newFolds(opts.Folds), now: opts.Now,
		queue: newQueue(), stopped: make(chan struct{}), broken: make(chan struct{}),
	}
	if j.now == nil {
		j.now = time.Now
	}
	j.tail.changed, j.tail.pages = make(chan struct{}), newIndex()
	return &Start{j: j}
}

// Restore takes what was saved. It must come before the first page. The error
// wraps [ErrSaved]; no fold was touched then. Whether the saved head is that of a
// prefix of the journal is for the caller to see to.
func (s *Start) Restore(saved *Saved) error {
	x, err := decodeIndex(saved.Index, saved.Head)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSaved, err)
	}
	if s.anew = s.j.folds.restore(saved); s.anew != nil {
		return nil
	}
	s.j.head, s.j.accepted = saved.Head, saved.Accepted
	s.j.tail.head, s.j.tail.pages = saved.Head, x
	return nil
}

// Anew says why some folds must be told everything although there was a Saved, or
// is nil.
func (s *Start) Anew() error { return s.anew }

// Head is behind the last page that was given, or restored: the next one must
// follow it.
func (s *Start) Head() journal.Head { return s.j.head }

// Page takes the next page. What does not hold is a [*journal.DamageError].
func (s *Start) Page(page *journal.Page) error {
	j := s.j
	if page.First != j.head.Event+1 || page.Previous != j.head.Hash {
		return &journal.DamageError{Event: j.head.Event + 1, Page: j.head.Pages + 1, Reason: "page does not follow the one before it"}
	}
	for i := range page.Records {
		r := &page.Records[i]
		if r.Accepted <= j.accepted {
			return &journal.DamageError{Event: r.Number, Page: j.head.Pages + 1, Reason: "event was accepted before the one before it"}
		}
		j.accepted = r.Accepted
		if err := j.folds.apply(r); err != nil {
			return &journal.DamageError{Event: r.Number, Page: j.head.Pages + 1, Reason: err.Error()}
		}
	}
	j.head = j.head.Next(page)
	j.tail.begin(j.head, len(page.Records))
	return nil
}

// Open returns the journal, which owns the store from then on. It must have been
// given every page that the store holds.
func (s *Start) Open(store Store) *Journal {
	s.j.store = store
	go s.j.run()
	return s.j
}

// replay gives it what the store holds.
func (s *Start) replay(ctx context.Context, store Store) error {
	n, err := store.Len(ctx)
	if err != nil {
		return err
	}
	for s.j.head.Pages < n {
		raws, err := store.Load(ctx, s.j.head.Pages+1, n)
		if err != nil {
			return missing(err, s.j.head)
		}
		for _, raw := range raws {
			page, err := journal.ParsePage(raw, s.j.head)
			if err != nil {
				return err
			}
			if err := s.Page(page); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds tells whether head is the end of a prefix of the store.
func holds(ctx context.Context, store Store, head journal.Head) error {
	n, err := store.Len(ctx)
	switch {
	case err != nil:
		return err
	case n < head.Pages:
		return fmt.Errorf("%w: it has %d pages, there are %d", ErrSaved, head.Pages, n)
	case head.Pages == 0:
		return nil
	}
	raws, err := store.Load(ctx, head.Pages, head.Pages)
	if err != nil {
		return missing(err, journal.Head{Event: head.Event - 1, Pages: head.Pages - 1})
	}
	if journal.HashPage(raws[0]) != head.Hash {
		return fmt.Errorf("%w: page %d is another one", ErrSaved, head.Pages)
	}
	return nil
}

// missing is what it means that the page behind head cannot be loaded although
// it must be there.
func missing(err error, head journal.Head) error {
	if errors.Is(err, ErrNoPage) {
		return &journal.DamageError{Event: head.Event + 1, Page: head.Pages + 1, Reason: "the page is missing"}
	}
	return err
}
