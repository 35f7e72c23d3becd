package simulator

import (
	"context"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A feed tells a listener of what is open and who is blocked, as that of the real
// site does: the state at one event first, then what follows it. When the site
// goes down it breaks, and begins anew with the next run.
type feed struct {
	site    *site
	dead    func() bool // the listener was killed
	reader  journal.Reader
	next    uint64
	waiting []listener.Update
}

// Next implements [listener.Feed].
func (f *feed) Next(ctx context.Context) (listener.Update, error) {
	for len(f.waiting) == 0 {
		err := f.more(ctx)
		if f.dead() {
			err = errDead
		}
		if err != nil {
			f.close()
			return nil, err
		}
	}
	u := f.waiting[0]
	f.waiting = f.waiting[1:]
	return u, nil
}

func (f *feed) more(ctx context.Context) error {
	if f.reader == nil {
		return f.begin(ctx)
	}
	page, err := f.reader.Next(ctx)
	if err != nil {
		return err
	}
	for i := range page.Records {
		r := &page.Records[i]
		if r.Number < f.next {
			continue
		}
		f.next = r.Number + 1
		e, err := r.Event()
		if err != nil {
			return err
		}
		if err := f.take(e); err != nil {
			return err
		}
	}
	return nil
}

// begin reads the state. Who is blocked is read before the position and so may be
// told twice.
func (f *feed) begin(ctx context.Context) error {
	r := f.site.now()
	if r == nil {
		return errDown
	}
	for _, device := range r.authority.Blocked() {
		f.waiting = append(f.waiting, listener.BlockDevice{Device: device})
	}
	open, position, err := r.ops.Open()
	if err != nil {
		return err
	}
	for _, o := range open {
		if err := f.open(o.Signed, o.Targets, o.Final); err != nil {
			return err
		}
	}
	f.waiting = append(f.waiting, listener.Whole{})
	f.next = position + 1
	f.reader, err = r.store.Follow(ctx, f.next)
	return err
}

func (f *feed) open(signed task.Signed, targets, final *roaring.Bitmap) error {
	set, err := task.NewTargets(roaring.Values(targets))
	if err != nil {
		return err
	}
	u := listener.OpenOperation{Signed: signed, Targets: set}
	if final != nil {
		if u.Done, err = task.NewTargets(roaring.Values(final)); err != nil {
			return err
		}
	}
	f.waiting = append(f.waiting, u)
	return nil
}

func (f *feed) take(e *event.Event) error {
	switch p := e.Payload.(type) {
	case *event.OperationRequested:
		targets := roaring.New()
		if err := targets.UnmarshalBinary(p.Targets); err != nil {
			return fmt.Errorf("event %d: %w", e.Number, err)
		}
		return f.open(p.Task, targets, nil)
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

func (f *feed) close() {
	if f.reader != nil {
		f.reader.Close()
	}
	f.reader, f.waiting = nil, nil
}
