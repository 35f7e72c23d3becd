package projectors

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bugle-fleet/bugle/journal"
)

// pages hands visit the journal's pages from event from on, up to the one that
// holds through, or to the end of what is durable now.
func pages(ctx context.Context, j Journal, from, through uint64, visit func(*journal.Page) error) error {
	r, err := j.Read(ctx, from)
	if err != nil {
		return fmt.Errorf("read journal from event %d: %w", from, err)
	}
	defer r.Close()
	for from <= through {
		p, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read journal from event %d: %w", from, err)
		}
		if err := visit(p); err != nil {
			return err
		}
		from = p.Last() + 1
	}
	return nil
}

// follow applies what j has, from the position up to event through or the end of
// what is durable now, and commits it. After each page it calls progress, which
// may be nil.
func (g *generation) follow(ctx context.Context, j Journal, through uint64, progress func(position uint64)) error {
	if g.broken != nil {
		return g.broken
	}
	through = min(through, j.Head().Event)
	if g.position() >= through {
		return g.flush()
	}
	err := pages(ctx, j, g.position()+1, through, func(p *journal.Page) error {
		if err := g.apply(p, through); err != nil {
			return err
		}
		if progress != nil {
			progress(g.position())
		}
		return nil
	})
	if err != nil && g.broken != nil {
		return err
	}
	return errors.Join(err, g.flush())
}
