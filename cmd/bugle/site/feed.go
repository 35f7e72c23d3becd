package site

import (
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/cmd/bugle/feed"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// A siteFeed tells a listener what it needs of the site's history and nothing else:
// which operations are open, which waves are released, which operations ended, who
// is blocked, which keys are trusted. It begins with all that holds at one event
// and goes on with what follows it.
type siteFeed struct {
	follow     func(ctx context.Context, from uint64) (journal.Reader, error)
	keeper     keeper
	operations *operation.Reader

	mapper  *feed.Mapper      // nil: the state is to be read
	waiting []listener.Update // first the state, then what the page under way says
	reader  journal.Reader
	next    uint64
}

// A keeper knows the keys and the devices that are blocked, by now: never less
// than the view does.
type keeper interface {
	Keyrings() [][]byte
	Blocked() []uint32
}

// newFeed reads the state.
func newFeed(j journal.Journal, k keeper, operations *operation.Reader) (*siteFeed, error) {
	f := &siteFeed{follow: j.Follow, keeper: k, operations: operations}
	return f, f.begin()
}

// begin reads the operations as the view has them at its position, and then the
// keys and the devices that are blocked. Those may be told of twice, as they are
// read last; read first, what changes until the view is read would never be told.
func (f *siteFeed) begin() error {
	mapper := feed.NewMapper()
	var open []listener.Update
	position, err := f.operations.At(func(s *operation.Snapshot) (err error) {
		open, err = mapper.State(s.Open(), s.Cancels())
		return err
	})
	if err != nil {
		return err
	}
	f.waiting = nil
	for _, ring := range f.keeper.Keyrings() {
		f.waiting = append(f.waiting, listener.ChangeKeys{Ring: ring})
	}
	for _, device := range f.keeper.Blocked() {
		f.waiting = append(f.waiting, listener.BlockDevice{Device: device})
	}
	f.waiting, f.next = append(append(f.waiting, open...), listener.Whole{}), position+1
	f.mapper = mapper
	return nil
}

// Next returns the next update, and waits for it if need be. After an error it
// begins anew.
func (f *siteFeed) Next(ctx context.Context) (listener.Update, error) {
	if f.mapper == nil {
		if err := f.begin(); err != nil {
			return nil, fmt.Errorf("begin the feed: %w", err)
		}
	}
	for len(f.waiting) == 0 {
		if err := f.readPage(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("follow journal for the feed: %w", err), f.forget())
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

// forget ends a reading.
func (f *siteFeed) forget() error {
	err := f.Close()
	f.reader, f.mapper, f.waiting = nil, nil, nil
	return err
}

// Close frees the reader; Next must not be under way.
func (f *siteFeed) Close() error {
	if f.reader == nil {
		return nil
	}
	return f.reader.Close()
}
