package console

import (
	"context"
	"fmt"

	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
	"github.com/bugle-fleet/bugle/projectors/window"
)

// A Past is the views as they were right after one event. Readers of one Past
// see the same state; they read while the context lives that it was made with.
type Past struct {
	Devices    DeviceReader
	Presence   PresenceReader
	Operations OperationReader
	Status     StatusReader

	Inventory   *inventory.Reader  // nil without
	Collections *collection.Reader // nil without collections, and so is Windows
	Windows     *window.Reader
}

// pastOf is the past as the site's views tell it.
func pastOf(views Views) func(context.Context, uint64) (*Past, error) {
	return func(ctx context.Context, number uint64) (*Past, error) {
		p, err := views.At(ctx, number)
		if err != nil {
			return nil, err
		}
		return &Past{device.At(p), presence.At(p), operation.At(p), status.At(p), inventory.At(p), collection.At(p), window.At(p)}, nil
	}
}

// A reading is the views that one call reads: those of now, or those of an event.
type reading struct {
	devices    DeviceReader
	presence   PresenceReader
	operations OperationReader
	status     StatusReader

	inventory   *inventory.Reader
	collections *collection.Reader
	windows     *window.Reader

	now     DeviceReader // the devices that there are now
	event   uint64       // that the answer is current to
	past    bool
	catchUp func(context.Context) // lets the views reach the end of the journal; nothing in the past
}

// now reads what there is.
func (c *Console) now() *reading {
	return &reading{
		devices: c.cfg.Devices, presence: c.cfg.Presence, operations: c.cfg.Operations, status: c.cfg.Status, now: c.cfg.Devices,
		inventory: c.cfg.Inventory, collections: c.cfg.Collections, windows: c.cfg.Windows,
		event: c.position(), catchUp: c.catchUp,
	}
}

// read opens the views as a call asks for.
func (c *Console) read(ctx context.Context, w When) (*reading, error) {
	switch {
	case w.At != "" && w.MinEvent > 0:
		return nil, badRequest("The request contradicts itself", "Give %s or %s, not both.", QueryAt, QueryMinEvent)
	case w.At != "":
		number, err := c.asOf(ctx, w.At)
		if err != nil {
			return nil, c.fail(ctx, "find the event", err)
		}
		return c.readAt(ctx, number)
	case w.MinEvent > 0:
		if err := c.waitFor(ctx, w.MinEvent); err != nil {
			return nil, err
		}
	}
	return c.now(), nil
}

// readAt opens the views as they were right after an event.
func (c *Console) readAt(ctx context.Context, number uint64) (*reading, error) {
	if err := c.answers(number); err != nil {
		return nil, err
	}
	p, err := c.cfg.Past(ctx, number)
	if err != nil {
		return nil, c.failView(ctx, fmt.Sprintf("tell what was after event %d", number), err)
	}
	return &reading{
		devices: p.Devices, presence: p.Presence, operations: p.Operations, status: p.Status, now: c.cfg.Devices,
		inventory: p.Inventory, collections: p.Collections, windows: p.Windows,
		event: number, past: true, catchUp: func(context.Context) {},
	}, nil
}

// An out is an answer, and in a header the event that it is current to or that it
// became.
type out[T any] struct {
	Event string `header:"Bugle-Event" doc:"the event that the answer is as of, or that the write became"`
	Body  T
}

func answer[T any](body T) (*out[T], error) { return &out[T]{Body: body}, nil }

func answerAt[T any](body T, number uint64) (*out[T], error) {
	return &out[T]{Event: fmt.Sprint(number), Body: body}, nil
}
