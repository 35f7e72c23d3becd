package site

import (
	"context"
	"fmt"

	"github.com/bugle-fleet/bugle/cmd/bugle/feed"
	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// A siteFeed tells a listener what it needs of the site's history and nothing else:
// which operations are open, which waves are released, which operations ended, who
// is blocked, which keys are trusted. It begins with all that holds at one event
// and goes on with what follows it.
type siteFeed struct {
	follow  func(ctx context.Context, from uint64) (journal.Reader, error)
	mapper  *feed.Mapper
	waiting []listener.Update // first the state, then what the page under way says
	reader  journal.Reader
	next    uint64
}

// newFeed reads the state: the operations as the view has them at its position,
// and the keys and the devices that are blocked, which are read first and so may
// be told of twice.
func newFeed(j journal.Journal, a *authority.Authority, operations *operation.Reader) (*siteFeed, error) {
	f := &siteFeed{follow: j.Follow, mapper: feed.NewMapper()}
	for _, ring := range a.Keyrings() {
		f.waiting = append(f.waiting, listener.ChangeKeys{Ring: ring})
	}
	for _, device := range a.Blocked() {
		f.waiting = append(f.waiting, listener.BlockDevice{Device: device})
	}
	position, err := operations.At(func(s *operation.Snapshot) error {
		updates, err := f.mapper.State(s.Open(), s.Cancels())
		f.waiting = append(f.waiting, updates...)
		return err
	})
	f.waiting, f.next = append(f.waiting, listener.Whole{}), position+1
	return f, err
}

// Next returns the next update, and waits for it if need be.
func (f *siteFeed) Next(ctx context.Context) (listener.Update, error) {
	for len(f.waiting) == 0 {
		if err := f.readPage(ctx); err != nil {
			return nil, fmt.Errorf("follow journal for the feed: %w", err)
		}
	}
	u := f.waiting[0]
	f.waiting[0] = nil
	f.waiting = f.waiting[1:]
	return u, nil
}

func (f *siteFeed) readPage(ctx context.Context) (err error) {
	if f.reader == nil {
		if f.reader, err = f.follow(ctx, f.next); err != nil {
			return err
		}
	}
	page, err := f.reader.Next(ctx)
	if err != nil {
		return err
	}
	for i := range page.Records {
		if r := &page.Records[i]; r.Number >= f.next {
			if err := f.take(r); err != nil {
				return err
			}
		}
	}
	f.next = page.Last() + 1
	return nil
}

// take adds what a record says to a listener, if anything.
func (f *siteFeed) take(r *journal.Record) error {
	if !feed.Wants(r.Kind()) {
		return nil
	}
	e, err := r.Event()
	if err != nil {
		return err
	}
	updates, err := f.mapper.Updates(e)
	f.waiting = append(f.waiting, updates...)
	return err
}

// Close frees the reader; Next must not be under way.
func (f *siteFeed) Close() error {
	if f.reader == nil {
		return nil
	}
	return f.reader.Close()
}
