package projectors

import (
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A replica is a view in memory on its way through the journal. It is for one
// goroutine.
type replica struct {
	view     *View
	wants    map[event.Kind]bool
	fold     Fold
	rows     *memory
	batch    *Batch
	position uint64
	accepted int64 // of the event at position
	limit    int64 // of rows.bytes
}

// errLarge says that a replica came to its limit, at the end of an event.
var errLarge = errors.New("view is too large to be kept in memory")

// newReplica begins with rows, as they are right after an event.
func newReplica(v *View, rows *memory, position uint64, accepted, limit int64) (*replica, error) {
	p := &replica{view: v, wants: v.wanted(), fold: v.Fold(), rows: rows, position: position, accepted: accepted, limit: limit}
	p.batch = newBatch(rows, meta{}, room{})
	p.batch.into = rows
	rows.freeze()
	if err := p.fold.Load(&Snapshot{view: v.Name, rows: rows, position: position}); err != nil {
		return nil, fmt.Errorf("load at position %d: %w", position, err)
	}
	return p, nil
}

// follow applies what j has behind the position, up to event through.
func (p *replica) follow(ctx context.Context, j Journal, through uint64, progress func(position uint64)) error {
	if p.position >= through {
		return nil
	}
	return pages(ctx, j, p.position+1, through, func(page *journal.Page) error {
		for i := range page.Records {
			r := &page.Records[i]
			if r.Number <= p.position {
				continue
			}
			if r.Number > through {
				break
			}
			if err := p.one(r); err != nil {
				return err
			}
		}
		if progress != nil {
			progress(p.position)
		}
		return nil
	})
}

func (p *replica) one(r *journal.Record) error {
	e, err := p.view.decode(r, p.wants, p.position)
	if err != nil {
		return err
	}
	if e != nil {
		p.batch.event = r.Number
		err := p.fold.Apply(p.batch, e)
		if p.batch.err != nil {
			err = p.batch.err
		}
		if err != nil {
			return fmt.Errorf("view %s stops at event %d (%s): %w", p.view.Name, r.Number, e.Kind(), err)
		}
	}
	p.position, p.accepted = r.Number, r.Accepted
	if p.rows.bytes > p.limit {
		return errLarge
	}
	return nil
}
