package archive

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Report is what a verification found, or has found so far.
type Report struct {
	Info       Info            // while it is under way: the header, and End as far as it came
	Read       int64           // bytes
	Checkpoint tree.Checkpoint // what was signed; zero if nothing was
	Signed     bool            // the key that was given signed exactly these pages
	OK         bool            // every byte is as it was written
}

// Verify reads what is left of the stream, which must be all of it, and checks
// every byte: the hash of the whole, the chain, the tree from the peaks in the
// header to the root in the end, and that the checkpoint is signed by key and of
// exactly these pages. Without a key the signature alone is not checked; without
// a checkpoint the report has Signed false and is fine otherwise: whoever needs a
// signature must look. The report says how far it came. Progress, which may be
// nil, is called after every frame.
//
// The error is a [*DamageError] with the first event that cannot be trusted; it
// wraps [ErrHistory] or [ErrSeal] if the checkpoint is of another journal or of
// other pages, else it is that of [tree.OpenCheckpoint], of the reader, or of
// ctx.
func (s *Stream) Verify(ctx context.Context, key ed25519.PublicKey, progress func(Report)) (Report, error) {
	r, err := s.verify(ctx, key, progress)
	if err != nil {
		return r, fmt.Errorf("verify archive: %w", err)
	}
	return r, nil
}

// treeAhead is how many pages are read while one is added to the tree.
const treeAhead = 64

func (s *Stream) verify(ctx context.Context, key ed25519.PublicKey, progress func(Report)) (r Report, err error) {
	if s.head != s.info.Before || s.err != nil {
		return r, fmt.Errorf("some of it was read already, up to event %d", s.head.Event)
	}
	// The tree costs as much as all the rest: another processor makes it.
	built := s.built
	s.built = nil
	pages, added := make(chan *journal.Page, treeAhead), make(chan error, 1)
	go func() {
		var failed error
		for p := range pages {
			if failed == nil {
				failed = built.Add(p)
			}
		}
		added <- failed
	}()
	err = s.drain(ctx, pages, &r, progress)
	close(pages)
	if failed := <-added; err == io.EOF && failed != nil {
		err = failed
	}
	r.Info, r.Read = s.info.clone(), s.at
	if err != io.EOF {
		r.Info.End = s.head
		return r, err
	}
	if built.Root() != s.info.Root {
		return r, s.damage(s.info.Size-int64(footerSize), errRoot)
	}
	if len(s.info.Checkpoint) > 0 {
		if r.Checkpoint, err = s.info.checkpoint(key); err != nil {
			return r, err
		}
		r.Signed = key != nil
	}
	r.OK = true
	return r, nil
}

// drain reads all pages and returns why it ended.
func (s *Stream) drain(ctx context.Context, pages chan<- *journal.Page, r *Report, progress func(Report)) error {
	for {
		p, err := s.Next(ctx)
		if err != nil {
			return err
		}
		pages <- p
		if len(s.pages) == 0 && progress != nil {
			r.Info, r.Read = s.info, s.at
			r.Info.End = s.head
			progress(*r)
		}
	}
}
