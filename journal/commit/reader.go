package commit

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/bugle-fleet/bugle/journal"
)

// Read implements [journal.Journal].
func (j *Journal) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	return j.reader(ctx, from, false)
}

// Follow implements [journal.Journal].
func (j *Journal) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	return j.reader(ctx, from, true)
}

func (j *Journal) reader(ctx context.Context, from uint64, follow bool) (*reader, error) {
	before, end, err := j.tail.find(max(from, 1))
	if err != nil {
		return nil, fmt.Errorf("read journal from event %d: %w", from, err)
	}
	if before.Pages > 0 && before.Hash == [32]byte{} {
		if before.Hash, err = j.hash(ctx, before); err != nil {
			return nil, fmt.Errorf("read journal from event %d: %w", from, err)
		}
	}
	r := &reader{j: j, at: before, last: end.Pages}
	if follow {
		r.last = math.MaxUint64
	}
	return r, nil
}

// hash returns the hash of the last page of a prefix.
func (j *Journal) hash(ctx context.Context, prefix journal.Head) ([32]byte, error) {
	if v := j.tail.look(prefix.Pages); v.page != nil {
		return v.page.Head.Hash, nil
	}
	raws, err := j.store.Load(ctx, prefix.Pages, prefix.Pages)
	if err != nil {
		return [32]byte{}, missing(err, journal.Head{Event: prefix.Event - 1, Pages: prefix.Pages - 1})
	}
	return journal.HashPage(raws[0]), nil
}

// A reader hands out the pages behind at, up to number last.
type reader struct {
	j      *Journal
	at     journal.Head
	last   uint64
	loaded [][]byte // pages behind at that came from the store
}

func (r *reader) Next(ctx context.Context) (*journal.Page, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.at.Pages >= r.last {
			return nil, io.EOF
		}
		v := r.j.tail.look(r.at.Pages + 1)
		switch {
		case v.err != nil:
			return nil, v.err
		case len(r.loaded) > 0:
			return r.parse(v.head)
		case v.page != nil:
			return r.take(v.page)
		case v.head.Pages > r.at.Pages:
			if err := r.load(ctx, min(v.head.Pages, r.last)); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
		}
	}
}

// take hands out a page that is in memory.
func (r *reader) take(s *journal.Sealed) (*journal.Page, error) {
	if s.Before != r.at {
		return nil, &journal.DamageError{Event: r.at.Event + 1, Page: r.at.Pages + 1, Reason: "the pages on disk do not lead to those in memory"}
	}
	r.at = s.Head
	return s.Page(), nil
}

// parse hands out the next page that was loaded. The last one of the journal has
// no page behind it that holds its hash: it must be what end says.
func (r *reader) parse(end journal.Head) (*journal.Page, error) {
	page, err := journal.ParsePage(r.loaded[0], r.at)
	if err != nil {
		return nil, err
	}
	if at := r.at.Next(page); at.Pages == end.Pages && at != end {
		return nil, &journal.DamageError{Event: page.First, Page: at.Pages, Reason: "the journal ends with another page on disk than in memory"}
	}
	r.loaded[0] = nil
	r.loaded = r.loaded[1:]
	r.at = r.at.Next(page)
	return page, nil
}

func (r *reader) load(ctx context.Context, last uint64) (err error) {
	r.loaded, err = r.j.store.Load(ctx, r.at.Pages+1, last)
	if err == nil {
		return nil
	}
	if v := r.j.tail.look(0); v.err != nil {
		return v.err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("read journal behind event %d: %w", r.at.Event, missing(err, r.at))
}

func (r *reader) Close() error {
	r.loaded = nil
	return nil
}
