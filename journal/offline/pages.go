package offline

import (
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
)

// Pages reads the pages that can be proved again, in the order of their events,
// and calls visit for each. Between two of them may be a [Loss]. An error of visit
// ends it and is returned.
func (s *Survey) Pages(ctx context.Context, visit func(*journal.Page) error) error {
	for _, p := range s.pieces {
		if err := s.piece(ctx, p, visit); err != nil {
			return fmt.Errorf("read events %d to %d of %s: %w", p.from, p.to, s.dir, err)
		}
	}
	return nil
}

func (s *Survey) piece(ctx context.Context, p piece, visit func(*journal.Page) error) error {
	head := journal.Head{Event: p.part.first - 1, Hash: p.part.before}
	changed := &journal.DamageError{Event: p.from, Reason: "the files have changed meanwhile"}
	err := scan(ctx, s.all, p.part.at, visitor{skipped: func(Damage) error { return nil }, page: func(page *journal.Page, _, _ place) error {
		if page.First != head.Event+1 || page.Previous != head.Hash {
			return changed
		}
		head = head.Next(page)
		if page.First >= p.from {
			if err := visit(page); err != nil {
				return err
			}
		}
		if page.Last() == p.part.last && page.Hash != p.part.hash {
			return changed
		}
		if page.Last() >= p.to {
			return errStop
		}
		return nil
	}})
	switch {
	case errors.Is(err, errStop):
		return nil
	case err == nil:
		return changed
	}
	return err
}
