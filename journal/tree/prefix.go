package tree

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
)

// BuilderAt returns the tree over the pages up to an earlier head of the journal,
// from the hashes that are stored: what it takes to go on from there, or to make
// an archive of what is behind it. The error wraps [ErrNotCovered] if no
// checkpoint covers the head yet (see [Tree.Wait]), [ErrNotPrefix] if no page of
// the journal ends there, [ErrCache] if the file hashes is damaged; it is a
// [*TamperError] if the journal is not the one that was signed.
func (t *Tree) BuilderAt(ctx context.Context, head journal.Head) (*Builder, error) {
	b, err := t.at(ctx, head)
	if err != nil {
		return nil, fmt.Errorf("make tree up to event %d: %w", head.Event, err)
	}
	return b, nil
}

// RootAt returns the root of the tree over the pages up to an earlier head of the
// journal. The errors are those of [Tree.BuilderAt].
func (t *Tree) RootAt(ctx context.Context, head journal.Head) (tlog.Hash, error) {
	b, err := t.BuilderAt(ctx, head)
	if err != nil {
		return tlog.Hash{}, err
	}
	return b.Root(), nil
}

// CheckpointAt signs a checkpoint of exactly the pages up to an earlier head of
// the journal, and returns it as text and as it reads. It is written nowhere: the
// last checkpoint ([Tree.Checkpoint]) stays what it is. The errors are those of
// [Tree.BuilderAt]; of an empty journal there is no checkpoint ([ErrNotPrefix]).
func (t *Tree) CheckpointAt(ctx context.Context, head journal.Head) (text []byte, c Checkpoint, err error) {
	if head.Pages == 0 {
		return nil, c, fmt.Errorf("sign checkpoint of event %d: %w", head.Event, ErrNotPrefix)
	}
	b, err := t.at(ctx, head)
	if err == nil {
		text, c, err = t.checkpoint(head, b.Root())
	}
	if err != nil {
		return nil, Checkpoint{}, fmt.Errorf("sign checkpoint of event %d: %w", head.Event, err)
	}
	return text, c, nil
}

func (t *Tree) at(ctx context.Context, head journal.Head) (*Builder, error) {
	if head == (journal.Head{}) {
		return NewBuilder(), nil
	}
	if head.Event == 0 || head.Pages == 0 || head.Pages > head.Event {
		return nil, ErrNotPrefix
	}
	_, signed, err := t.covered(head.Event)
	if err != nil {
		return nil, err
	}
	if head.Pages > signed.Pages {
		return nil, ErrNotPrefix
	}
	if err := t.endsAt(ctx, head, signed); err != nil {
		return nil, err
	}
	f, err := t.cache.frontier(head.Pages)
	if err != nil {
		return nil, err
	}
	if !t.leads(f, signed) {
		return nil, ErrCache
	}
	return &Builder{pages: f, head: head}, nil
}

// endsAt checks that a page of the journal ends at head, and that it is the page
// that was signed in that place.
func (t *Tree) endsAt(ctx context.Context, head journal.Head, signed Checkpoint) error {
	if head == signed.Head() {
		return nil
	}
	last, err := t.cache.last(head.Pages)
	if err != nil {
		return err
	}
	page, err := t.load(ctx, head.Event)
	if err != nil {
		return err
	}
	if page.Last() != head.Event || page.Hash != head.Hash || last != head.Event {
		return ErrNotPrefix
	}
	n := int64(head.Pages - 1)
	path, err := tlog.ProveRecord(int64(signed.Pages), n, t.cache)
	if err != nil {
		return err
	}
	var h hasher
	if tlog.CheckRecord(path, int64(signed.Pages), signed.Root, n, h.page(page).hash()) == nil {
		return nil
	}
	// Only the whole journal tells whether it or the file hashes is to blame.
	if err := t.examine(ctx, signed, true); err != nil {
		return err
	}
	return ErrCache
}

// leads tells whether the tree f is the beginning of the one that was signed.
func (t *Tree) leads(f frontier, signed Checkpoint) bool {
	p, err := tlog.ProveTree(int64(signed.Pages), f.size, t.cache)
	return err == nil && tlog.CheckTree(p, int64(signed.Pages), signed.Root, f.size, f.root()) == nil
}

// checkpoint signs what the journal is at head.
func (t *Tree) checkpoint(head journal.Head, root tlog.Hash) (text []byte, c Checkpoint, err error) {
	c = Checkpoint{Origin: t.opts.Origin, Pages: head.Pages, Root: root, Events: head.Event, Chain: head.Hash,
		Signed: t.opts.Now().UTC().Truncate(time.Second)}
	if text, err = c.Sign(t.opts.Key); err != nil {
		return nil, c, err
	}
	// What is given away must be readable, or nobody could open it again.
	_, err = OpenCheckpoint(text, t.public(), c.Origin)
	return text, c, err
}
