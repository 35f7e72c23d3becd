package tree

import (
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
)

// A Builder makes the tree over the pages of a journal in memory, page by page.
// It keeps no more than the roots of the complete subtrees, its peaks, some
// dozens of hashes; they and the head are all it takes to go on elsewhere. It is
// for one goroutine. The zero value is the tree of an empty journal.
type Builder struct {
	pages  frontier
	head   journal.Head
	leaf   hasher
	stored []tlog.Hash // of one page, to be used again
}

// NewBuilder returns the tree of an empty journal.
func NewBuilder() *Builder { return new(Builder) }

// RestoreBuilder returns the tree over the pages up to head, whose peaks are as
// [Builder.Peaks] returned them. Whether they are the journal's shows in the
// root alone. The error wraps [ErrFormat] if no tree of so many pages has so many
// peaks.
func RestoreBuilder(peaks []tlog.Hash, head journal.Head) (*Builder, error) {
	if head.Pages > maxPages || len(peaks) != bits.OnesCount64(head.Pages) {
		return nil, fmt.Errorf("restore tree: %w: %d peaks over %d pages", ErrFormat, len(peaks), head.Pages)
	}
	return &Builder{pages: frontier{size: int64(head.Pages), peaks: slices.Clone(peaks)}, head: head}, nil
}

// Add adds the page behind the head. A page that does not follow it is a
// [*journal.DamageError], and is not added. That the page's hash is that of its
// bytes is relied on: [journal.ParsePage] sees to that.
func (b *Builder) Add(p *journal.Page) (err error) {
	b.stored, err = b.add(b.stored[:0], p)
	return err
}

// Root is the root of the tree; that of an empty one is the hash of nothing.
func (b *Builder) Root() tlog.Hash { return b.pages.root() }

// Head is where the pages that were added end.
func (b *Builder) Head() journal.Head { return b.head }

// Peaks returns a copy of the roots of the complete subtrees, the largest first:
// as many as there are ones in the binary number of pages.
func (b *Builder) Peaks() []tlog.Hash { return slices.Clone(b.pages.peaks) }

// add adds the page behind the head, and appends to dst the hashes to store.
func (b *Builder) add(dst []tlog.Hash, p *journal.Page) ([]tlog.Hash, error) {
	damage := func(format string, args ...any) ([]tlog.Hash, error) {
		return dst, &journal.DamageError{Event: b.head.Event + 1, Page: b.head.Pages + 1, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(p.Records) == 0 || len(p.Records) > journal.MaxPageEvents:
		return damage("page of %d events", len(p.Records))
	case p.First != b.head.Event+1:
		return damage("page begins with event %d", p.First)
	case p.Previous != b.head.Hash:
		return damage("page does not follow the one before it: the chain of hashes is broken")
	}
	dst = b.pages.add(dst, b.leaf.page(p).hash())
	b.head = b.head.Next(p)
	return dst, nil
}
