package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// What the console needs of the views; the readers of projectors have it.
type (
	// A DeviceReader reads the view device.
	DeviceReader interface {
		Get(number uint32) (device.Device, bool, error)
		Find(word string) ([]device.Device, error)
		List(after uint32, limit int) ([]device.Device, error)
		Numbers() (*roaring.Bitmap, error)
		Count() (uint64, error)
		Removed() (*roaring.Bitmap, error)
	}

	// A PresenceReader reads the view presence.
	PresenceReader interface {
		Get(device uint32) (presence.Row, bool, error)
		List(after uint32, limit int) ([]presence.Row, error)
		History(device uint32) ([]presence.Change, error)
		Online() *roaring.Bitmap
	}

	// An OperationReader reads the view operation.
	OperationReader interface {
		Get(id task.ID) (operation.Operation, bool, error)
		List(before task.ID, limit int) ([]operation.Operation, error)
		Device(id task.ID, device uint32) (operation.DeviceState, bool, error)
		Devices(id task.ID, state task.State, after uint32, limit int) ([]operation.DeviceState, error)
		InStates(id task.ID, states ...task.State) (devices *roaring.Bitmap, event uint64, ok bool, err error)
		Waves(id task.ID) ([]operation.Members, error)
		History(id task.ID) ([]operation.Entry, error)
		Pending(device uint32) ([]task.ID, error)
		Open() (open []operation.Open, event uint64, err error)
		Cancels() ([]operation.Cancel, error)
	}

	// A StatusReader reads the view status.
	StatusReader interface {
		Messages(before uint64, limit int, severities ...event.Severity) ([]status.Message, error)
		Listeners() ([]status.Listener, error)
		Quarantined() ([]status.Quarantined, error)
	}

	// An Inbox is what takes the files of listeners.
	Inbox interface {
		// Requeue puts a file that was put aside back among those that wait. An
		// error that wraps fs.ErrNotExist means that it is not there any more.
		Requeue(ctx context.Context, name string) error
	}

	// Views are all views of the site.
	Views interface {
		Status() []projectors.Status
		Wait(ctx context.Context, event uint64, names ...string) error
		Rebuild(ctx context.Context, name string, progress func(projectors.Progress)) (projectors.Result, error)
		Rollback(ctx context.Context, name string) (projectors.Result, error)
		Digest(name string) (position uint64, digest [32]byte, err error)
		At(ctx context.Context, event uint64) (*projectors.Past, error)
	}
)

// maxWait bounds how long a read waits for min-event.
const maxWait = 10 * time.Second

// When are the parameters that all reads of views have.
type When struct {
	MinEvent uint64 `query:"min-event" minimum:"0" doc:"wait, at most ten seconds, until the views hold this event"`
	At       string `query:"at" maxLength:"64" doc:"answer as of an event: its number, or the last one at an instant (RFC 3339) or before a time back from now (2h, 7d)"`
}

func (c *Console) waitFor(ctx context.Context, number uint64) error {
	if head := c.cfg.Journal.Head().Event; number > head {
		return badRequest("There is no such event", "%s: event %d is not there; the journal ends with event %d.", QueryMinEvent, number, head)
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	err := c.cfg.Views.Wait(ctx, number)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusGatewayTimeout, "The views are behind",
			"They are at event %d and not yet at event %d; try again in a moment.", c.position(), number)
	case err != nil:
		return c.failView(ctx, fmt.Sprintf("wait for event %d", number), err)
	}
	return nil
}

// position is the event that every view has reached.
func (c *Console) position() uint64 {
	all := c.cfg.Views.Status()
	if len(all) == 0 {
		return 0
	}
	lowest := all[0].Position
	for _, v := range all[1:] {
		lowest = min(lowest, v.Position)
	}
	return lowest
}

// catchUp lets the views reach the end of the journal, for a command that did not
// find what may just have been made. It is not an error if they do not.
func (c *Console) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	_ = c.cfg.Views.Wait(ctx, c.cfg.Journal.Head().Event)
}

// failView is fail for errors of the views.
func (c *Console) failView(ctx context.Context, doing string, err error) error {
	switch {
	case errors.Is(err, projectors.ErrBuilding):
		return problem(http.StatusServiceUnavailable, "A view is being built", "Cannot %s yet: %s; try again in a moment.", doing, err)
	case errors.Is(err, projectors.ErrClosed):
		return problem(http.StatusServiceUnavailable, "The server stops", "Cannot %s: the views are closed.", doing)
	case errors.Is(err, projectors.ErrNoView):
		return notFound("Cannot %s: there is no such view; GET %s lists them.", doing, PathViews)
	case errors.Is(err, projectors.ErrNoFormer):
		return conflict("Cannot %s: no generation of before the last rebuild is kept.", doing)
	case errors.Is(err, projectors.ErrBusy):
		return conflict("Cannot %s: a rebuild is under way; wait for its end.", doing)
	}
	return c.fail(ctx, doing, err)
}
