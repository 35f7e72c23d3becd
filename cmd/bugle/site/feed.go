package site

import (
	"context"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// A feed tells a listener what it needs of the site's history and nothing else:
// which operations are open, which ended, who is blocked. It begins with all
// that holds at one event and goes on with what follows it.
type feed struct {
	follow  func(ctx context.Context, from uint64) (journal.Reader, error)
	waiting []listener.Update // first the state, then what the page under way says
	reader  journal.Reader
	next    uint64
}

// newFeed reads the state: the open operations as the view has them at its
// position, and the devices that are blocked, which are read first and so may be
// told of twice.
func newFeed(j journal.Journal, blocked []uint32, open []operation.Open, position uint64) (*feed, error) {
	f := &feed{follow: j.Follow, next: position + 1}
	for _, device := range blocked {
		f.waiting = append(f.waiting, listener.BlockDevice{Device: device})
	}
	for _, o := range open {
		u, err := openOperation(o.Signed, o.Targets, o.Final)
		if err != nil {
			return nil, err
		}
		f.waiting = append(f.waiting, u)
	}
	f.waiting = append(f.waiting, listener.Whole{})
	return f, nil
}

func openOperation(signed task.Signed, targets, final *roaring.Bitmap) (listener.Update, error) {
	set, err := task.NewTargets(roaring.Values(targets))
	if err != nil {
		return nil, fmt.Errorf("read targets of an operation: %w", err)
	}
	u := listener.OpenOperation{Signed: signed, Targets: set}
	if final != nil {
		if u.Done, err = task.NewTargets(roaring.Values(final)); err != nil {
			return nil, fmt.Errorf("read answers to an operation: %w", err)
		}
	}
	return u, nil
}

// Next returns the next update, and waits for it if need be.
func (f *feed) Next(ctx context.Context) (listener.Update, error) {
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

func (f *feed) readPage(ctx context.Context) (err error) {
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
func (f *feed) take(r *journal.Record) error {
	switch r.Kind() {
	case event.KindOperationRequest, event.KindOperationCancel, event.KindOperationExpired,
		event.KindOperationClosed, event.KindDeviceBlocked, event.KindDeviceUnblocked:
	default:
		return nil
	}
	e, err := r.Event()
	if err != nil {
		return err
	}
	switch p := e.Payload.(type) {
	case *event.OperationRequested:
		targets := roaring.New()
		if err := targets.UnmarshalBinary(p.Targets); err != nil {
			return fmt.Errorf("event %d: read targets: %w", e.Number, err)
		}
		u, err := openOperation(p.Task, targets, nil)
		if err != nil {
			return fmt.Errorf("event %d: %w", e.Number, err)
		}
		f.waiting = append(f.waiting, u)
	case *event.OperationCancelled:
		f.waiting = append(f.waiting, listener.EndOperation{ID: p.Operation})
	case *event.OperationExpired:
		f.waiting = append(f.waiting, listener.EndOperation{ID: p.Operation})
	case *event.OperationClosed:
		f.waiting = append(f.waiting, listener.EndOperation{ID: p.Operation})
	case *event.DeviceBlocked:
		f.waiting = append(f.waiting, listener.BlockDevice{Device: p.Device})
	case *event.DeviceUnblocked:
		f.waiting = append(f.waiting, listener.UnblockDevice{Device: p.Device})
	}
	return nil
}

// Close frees the reader; Next must not be under way.
func (f *feed) Close() error {
	if f.reader == nil {
		return nil
	}
	return f.reader.Close()
}
