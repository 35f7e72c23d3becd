package archive

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Tree is what it takes to seal an archive; [*tree.Tree] is one.
type Tree interface {
	BuilderAt(ctx context.Context, head journal.Head) (*tree.Builder, error)
	CheckpointAt(ctx context.Context, head journal.Head) (text []byte, c tree.Checkpoint, err error)
}

// PeaksBefore returns the peaks of the tree over the pages up to before: what a
// [Header] needs. The errors are those of [tree.Tree.BuilderAt].
func PeaksBefore(ctx context.Context, t Tree, before journal.Head) ([]tlog.Hash, error) {
	b, err := t.BuilderAt(ctx, before)
	if err != nil {
		return nil, err
	}
	return b.Peaks(), nil
}

// SealAt returns a seal with a checkpoint of exactly the pages up to end. The
// errors are those of [tree.Tree.CheckpointAt].
func SealAt(ctx context.Context, t Tree, end journal.Head) (Seal, error) {
	text, c, err := t.CheckpointAt(ctx, end)
	if err != nil {
		return Seal{}, err
	}
	return Seal{Root: c.Root, Checkpoint: text}, nil
}

// signed checks that a checkpoint is of exactly the pages up to the end, and of
// this journal: its origin ends with the history in hexadecimal.
func (i *Info) signed(c tree.Checkpoint) error {
	switch {
	case !strings.HasSuffix(c.Origin, fmt.Sprintf("/%x", i.History)):
		return fmt.Errorf("%w: its checkpoint is of %s, its history is %x", ErrHistory, c.Origin, i.History)
	case c.Head() != i.End:
		return fmt.Errorf("%w: the checkpoint is of %d events in %d pages, the archive ends with event %d, page %d", ErrSeal, c.Events, c.Pages, i.End.Event, i.End.Pages)
	case c.Root != i.Root:
		return fmt.Errorf("%w: the checkpoint signs another root", ErrSeal)
	}
	return nil
}

// checkpoint opens the checkpoint with key, or without one if that is nil, and
// checks that it is that of the pages.
func (i *Info) checkpoint(key ed25519.PublicKey) (c tree.Checkpoint, err error) {
	if key == nil {
		c, err = tree.ParseCheckpoint(i.Checkpoint)
	} else {
		c, err = tree.OpenCheckpoint(i.Checkpoint, key, "")
	}
	if err != nil {
		return c, err
	}
	return c, i.signed(c)
}
