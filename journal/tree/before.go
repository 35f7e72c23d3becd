package tree

import (
	"context"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
)

// BuilderBefore returns the tree over the pages before the one that holds the
// event, as [Tree.BuilderAt] does; its head is where that page begins. The error
// wraps [ErrNotCovered] if no checkpoint covers the event.
func (t *Tree) BuilderBefore(ctx context.Context, event uint64) (*Builder, error) {
	b, err := t.before(ctx, event)
	if err != nil {
		return nil, fmt.Errorf("make tree before event %d: %w", event, err)
	}
	return b, nil
}

func (t *Tree) before(ctx context.Context, event uint64) (*Builder, error) {
	_, signed, err := t.covered(event)
	if err != nil {
		return nil, err
	}
	page, err := t.load(ctx, event)
	if err != nil {
		return nil, err
	}
	n, err := t.cache.page(event, signed.Pages)
	if err != nil {
		return nil, err
	}
	return t.at(ctx, journal.Head{Event: page.First - 1, Pages: n, Hash: page.Previous})
}
