package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/projectors"
)

// A History is a journal that nobody writes any more.
type History interface {
	projectors.Timeline
	io.Closer
}

// archives are archives that follow one another, as one history.
type archives []*archive.Reader

// OpenArchives opens archives, which may be named in any order; together they must
// be a history from its first event on.
func OpenArchives(names []string) (History, error) {
	var all archives
	for _, name := range names {
		r, err := archive.Open(name)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *archive.Reader) int { return cmp.Compare(a.Info().Before.Event, b.Info().Before.Event) })
	if first := all[0].Info().Before.Event; first != 0 {
		return nil, errors.Join(fmt.Errorf("the archives begin with event %d: to fold history takes all of it, from event 1 on", first+1), all.Close())
	}
	for i := 1; i < len(all); i++ {
		if err := archive.Continues(all[i-1].Info(), all[i].Info()); err != nil {
			return nil, errors.Join(fmt.Errorf("archives do not make one history: %w", err), all.Close())
		}
	}
	return all, nil
}

func (a archives) Head() journal.Head { return a[len(a)-1].Info().End }

func (a archives) Close() error {
	var errs []error
	for _, r := range a {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

func (a archives) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	i := slices.IndexFunc(a, func(r *archive.Reader) bool { return r.Info().End.Event >= from })
	if i < 0 {
		i = len(a) - 1
	}
	r, err := a[i].Read(ctx, from)
	if err != nil {
		return nil, err
	}
	return &archivesReader{r, a[i+1:]}, nil
}

// An archivesReader reads one archive after the other.
type archivesReader struct {
	now  journal.Reader
	left archives
}

func (r *archivesReader) Next(ctx context.Context) (*journal.Page, error) {
	for {
		p, err := r.now.Next(ctx)
		if err != io.EOF || len(r.left) == 0 {
			return p, err
		}
		next, err := r.left[0].Read(ctx, r.left[0].Info().Before.Event+1)
		if err != nil {
			return nil, err
		}
		r.left = r.left[1:]
		if err := r.now.Close(); err != nil {
			return nil, err
		}
		r.now = next
	}
}

func (r *archivesReader) Close() error { return r.now.Close() }

// A prefix is a history up to an event, as if it had ended there.
type prefix struct {
	History
	last uint64
}

func (p prefix) Head() journal.Head { return journal.Head{Event: p.last} }

func (p prefix) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	r, err := p.History.Read(ctx, from)
	if err != nil {
		return nil, err
	}
	return &prefixReader{Reader: r, at: from - 1, last: p.last}, nil
}

func (p prefix) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	r, err := p.History.Read(ctx, from)
	if err != nil {
		return nil, err
	}
	return &prefixReader{Reader: r, at: from - 1, last: p.last, follow: true}, nil
}

// A prefixReader cuts the page that holds the last event behind it.
type prefixReader struct {
	journal.Reader
	at, last uint64
	follow   bool
}

func (r *prefixReader) Next(ctx context.Context) (*journal.Page, error) {
	if r.at >= r.last {
		if !r.follow {
			return nil, io.EOF
		}
		<-ctx.Done() // nothing follows, ever
		return nil, ctx.Err()
	}
	p, err := r.Reader.Next(ctx)
	if err != nil {
		return nil, err
	}
	r.at = p.Last()
	if r.at > r.last {
		// The bytes are left out: they are of the whole page.
		p = &journal.Page{First: p.First, Previous: p.Previous, Hash: p.Hash, Records: p.Records[:r.last-p.First+1]}
	}
	return p, nil
}
