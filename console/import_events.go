package console

import (
	"context"

	"github.com/bugle-fleet/bugle/journal/event"
)

// Bounds of an event of an import, so that it is well below what an event may be.
const (
	maxImportBytes = 192 << 10
	maxImportItems = 60_000
)

// importEvents appends what an import changes, as many devices to an event as it
// holds. A device that is too large for one goes on in the next.
type importEvents struct {
	add    func(ctx context.Context, p *event.DevicesImported) (uint64, error)
	source string

	now   *event.DevicesImported
	size  int
	items int

	events int
	last   uint64 // the number of the last event
}

// device adds what changes of a device.
func (e *importEvents) device(ctx context.Context, d event.ImportedDevice) error {
	classes := d.Classes
	d.Classes = nil
	if err := e.begin(ctx, d); err != nil {
		return err
	}
	for i := range classes {
		if err := e.class(ctx, &classes[i]); err != nil {
			return err
		}
	}
	return nil
}

// begin adds a device without classes.
func (e *importEvents) begin(ctx context.Context, d event.ImportedDevice) error {
	size := 48 + len(d.Name)
	if e.now != nil && (e.size+size > maxImportBytes || e.items > maxImportItems || len(e.now.Devices) == event.MaxImported) {
		if err := e.flush(ctx); err != nil {
			return err
		}
	}
	if e.now == nil {
		e.now, e.size, e.items = &event.DevicesImported{Source: e.source}, len(e.source)+64, 8
	}
	e.now.Devices = append(e.now.Devices, d)
	e.size += size
	e.items += 8
	return nil
}

// class adds rows to the device under way, which goes on in another event when this
// one is full.
func (e *importEvents) class(ctx context.Context, c *event.ClassChange) error {
	open := false
	for i := range c.Rows {
		size, items := rowSize(&c.Rows[i])
		if !open {
			size, items = size+len(c.Class)+12, items+4
		}
		d := &e.now.Devices[len(e.now.Devices)-1]
		full := e.size+size > maxImportBytes || e.items+items > maxImportItems
		if full && (len(e.now.Devices) > 1 || len(d.Classes) > 0) || !open && len(d.Classes) == event.MaxClasses {
			if err := e.flush(ctx); err != nil {
				return err
			}
			if err := e.begin(ctx, event.ImportedDevice{Device: d.Device}); err != nil { // it has its number now
				return err
			}
			d, open = &e.now.Devices[0], false
			size += len(c.Class) + 12
		}
		if !open {
			d.Classes = append(d.Classes, event.ClassChange{Class: c.Class, Whole: c.Whole})
			open = true
		}
		to := &d.Classes[len(d.Classes)-1]
		to.Rows = append(to.Rows, c.Rows[i])
		e.size += size
		e.items += items
	}
	return nil
}

// rowSize bounds what a row takes in an event.
func rowSize(r *event.RowChange) (size, items int) {
	size, items = 12+len(r.Key), 3
	for i := range r.Properties {
		p := &r.Properties[i]
		size += 12 + len(p.Name) + len(p.Value.Text)
		items += 3
		for _, s := range p.Value.List {
			size += 5 + len(s)
			items++
		}
	}
	return size, items
}

// flush appends the event under way.
func (e *importEvents) flush(ctx context.Context) error {
	if e.now == nil {
		return nil
	}
	number, err := e.add(ctx, e.now)
	if err != nil {
		return err
	}
	e.events, e.last, e.now = e.events+1, number, nil
	return nil
}
