package tree

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
)

// A Report is what [Verify] found, or has found so far.
type Report struct {
	Events  uint64    // number of the last event
	Pages   uint64    // how many pages
	Head    [32]byte  // hash of the last page
	Root    tlog.Hash // of the tree over the pages; zero in progress
	Matched int       // checkpoints that the journal was compared with and holds
	Covered uint64    // events up to this one are as they were signed, 0 if none is
	OK      bool      // all was read, and all checkpoints match
}

// Verify reads all pages of a journal, from a reader that begins with event 1,
// and makes the chain and the tree anew from their bytes. The checkpoints may be
// in any order; each must have been opened with [OpenCheckpoint]. One that was
// kept elsewhere finds any change, made after it, of what it covers. For the last
// page nothing else vouches, if no checkpoint covers it: compare Report.Head with
// the journal's Head.
//
// The error is a [*journal.DamageError] where the chain does not hold, a
// [*TamperError] at the first checkpoint that the journal does not hold, else
// that of the reader. The report says how far it came. Progress, which may be
// nil, is called after every page.
func Verify(ctx context.Context, r journal.Reader, checkpoints []Checkpoint, progress func(Report)) (Report, error) {
	left := slices.Clone(checkpoints)
	slices.SortStableFunc(left, func(a, b Checkpoint) int {
		return cmp.Compare(a.Pages, b.Pages)
	})
	ctx, cancel := context.WithCancel(ctx)
	pages, stopped := make(chan *journal.Page, verifyAhead), make(chan error, 1)
	go func() { stopped <- read(ctx, r, pages) }()
	v := &verification{left: left, progress: progress}
	err := v.run(pages, stopped)
	cancel()
	for range pages { // until read has ended: the reader is the caller's again
	}
	v.report.Root = v.built.pages.root()
	v.report.OK = err == nil
	if err != nil {
		return v.report, fmt.Errorf("verify journal: %w", err)
	}
	return v.report, nil
}

// verifyAhead is how many pages are read while one is checked.
const verifyAhead = 4

// A verification is one under way.
type verification struct {
	built    Builder
	hashes   []tlog.Hash
	left     []Checkpoint // not reached yet, the shortest first
	report   Report
	progress func(Report)
}

func (v *verification) run(pages <-chan *journal.Page, stopped <-chan error) error {
	for given := range pages {
		// What the reader made of the bytes is not relied on.
		p, err := journal.ParsePage(given.Bytes(), v.built.head)
		if err != nil {
			return err
		}
		if v.hashes, err = v.built.add(v.hashes[:0], p); err != nil {
			return err
		}
		head := v.built.head
		v.report.Events, v.report.Pages, v.report.Head = head.Event, head.Pages, head.Hash
		if err := v.compare(head.Pages); err != nil {
			return err
		}
		if v.progress != nil {
			v.progress(v.report)
		}
	}
	if err := <-stopped; err != io.EOF {
		return err
	}
	return v.compare(math.MaxUint64)
}

// compare compares with the checkpoints of at most n pages.
func (v *verification) compare(n uint64) error {
	for len(v.left) > 0 && v.left[0].Pages <= n {
		c := v.left[0]
		if what := c.differs(v.built.head, v.built.pages.root()); what != "" {
			return &TamperError{Signed: c, Found: v.built.head, What: what, Good: v.report.Covered}
		}
		v.left = v.left[1:]
		v.report.Matched++
		v.report.Covered = c.Events
	}
	return nil
}
