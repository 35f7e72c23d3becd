package console

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/presence"
)

// listStep is how many devices are read at once, and maxListed how many one call
// looks at for those it was asked for.
const (
	listStep  = 1000
	maxListed = 100_000
)

type devicesInput struct {
	When
	After  uint32 `query:"after"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Online string `query:"online" enum:"true,false" doc:"only those that are, or are not, online"`
	Name   string `query:"name" maxLength:"256" doc:"only those with this in their name, whatever its case"`

	Removed bool `query:"removed" doc:"also those that were removed"`
}

func (c *Console) listDevices(ctx context.Context, in *devicesInput) (*out[DevicePage], error) {
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	page, err := v.devicePage(in)
	if err != nil {
		return nil, c.failView(ctx, "list devices", err)
	}
	return answerAt(page, v.event)
}

func (v *reading) devicePage(in *devicesInput) (DevicePage, error) {
	page := DevicePage{Items: []Device{}, Event: v.event}
	var err error
	if page.Total, err = v.total(); err != nil {
		return page, err
	}
	after, name, step := in.After, strings.ToLower(in.Name), listStep
	if in.Name == "" && in.Online == "" {
		step = in.Limit + 1
	}
	for seen := 0; ; {
		batch, err := v.devices.List(after, step)
		if err != nil {
			return page, err
		}
		rows, err := v.presenceOf(batch)
		if err != nil {
			return page, err
		}
		for i := range batch {
			d := &batch[i]
			if len(page.Items) == in.Limit || seen == maxListed {
				page.Next = after
				return page, nil
			}
			seen++
			after = d.Number
			row, known := rows[d.Number]
			if in.wants(d, name, row.Online && !d.Removed()) {
				page.Items = append(page.Items, deviceJSON(d, row, known))
			}
		}
		if len(batch) < step {
			return page, nil
		}
	}
}

// total returns how many devices there are. In the past they are not counted,
// which would read them all: numbers are given one after the other and never taken
// back, so the highest one is looked for, and those are few that were removed.
func (v *reading) total() (int, error) {
	now, err := v.now.Count()
	if err != nil || !v.past {
		return int(now), err
	}
	removed, err := v.now.Removed()
	if err != nil {
		return 0, err
	}
	given := sort.Search(int(now+removed.GetCardinality()), func(i int) bool {
		_, ok, failed := v.devices.Get(uint32(i + 1))
		err = errors.Join(err, failed)
		return !ok
	})
	were, failed := v.devices.Removed()
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	return given - int(were.GetCardinality()), nil
}

// online returns which devices are online. The reader's own bitmap is empty while
// it knows nothing; Get tells the difference.
func (v *reading) online() (*roaring.Bitmap, error) {
	if _, _, err := v.presence.Get(1); err != nil {
		return nil, err
	}
	return v.presence.Online(), nil
}

// presenceOf returns the presence of devices that follow one another, by number.
func (v *reading) presenceOf(batch []device.Device) (map[uint32]presence.Row, error) {
	known := make(map[uint32]presence.Row, len(batch))
	if len(batch) == 0 {
		return known, nil
	}
	first, last := batch[0].Number, batch[len(batch)-1].Number
	for after := first - 1; ; {
		rows, err := v.presence.List(after, len(batch))
		if err != nil {
			return nil, err
		}
		for i := range rows {
			known[rows[i].Device] = rows[i]
		}
		if len(rows) < len(batch) || rows[len(rows)-1].Device >= last {
			return known, nil
		}
		after = rows[len(rows)-1].Device
	}
}

func (in *devicesInput) wants(d *device.Device, name string, online bool) bool {
	if in.Online != "" && (in.Online == "true") != online || d.Removed() && !in.Removed {
		return false
	}
	return name == "" || strings.Contains(strings.ToLower(d.Name), name)
}

// The reasons of a device that no listener has named.
const (
	neverSeen = "never-seen"
	noAgent   = "no-agent" // it was imported
	isRemoved = "removed"
)

func deviceJSON(d *device.Device, row presence.Row, known bool) Device {
	shown := Device{
		ID: d.ID.String(), Number: d.Number, Name: d.Name, OS: d.OS, Arch: d.Arch, Agent: d.Agent,
		Reason: neverSeen, Blocked: d.Blocked, Joined: d.Joined, LastEvent: d.Event, Imported: instant(d.Imported), Removed: instant(d.RemovedAt),
	}
	if !d.HasJoined() {
		shown.Reason = noAgent
	}
	if d.Removed() {
		shown.Reason = isRemoved
	}
	if !known || d.Removed() {
		return shown
	}
	shown.Online, shown.Reason, shown.Since = row.Online, row.Reason.String(), instant(row.Since)
	shown.Listener, shown.Carrier = row.Listener, row.Carrier.String()
	shown.LastEvent = max(shown.LastEvent, row.Event)
	return shown
}

type deviceInput struct {
	When
	Device string `path:"device" maxLength:"256" doc:"number, id or name"`
}

func (c *Console) getDevice(ctx context.Context, in *deviceInput) (*out[DeviceReply], error) {
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	d, err := v.findDevice(in.Device)
	if err != nil {
		return nil, c.failView(ctx, "read the device", err)
	}
	reply, err := v.deviceReply(&d)
	if err != nil {
		return nil, c.failView(ctx, "read the device", err)
	}
	return answerAt(reply, v.event)
}

// findDevice returns the device that word names. Digits are a number if a device
// has it, or had it before it was removed, else a name.
func (v *reading) findDevice(word string) (device.Device, error) {
	if n, err := strconv.ParseUint(word, 10, 32); err == nil {
		if d, ok, err := v.devices.Get(uint32(n)); ok || err != nil {
			return d, err
		}
	}
	found, err := v.devices.Find(word)
	switch {
	case err != nil:
		return device.Device{}, err
	case len(found) == 0:
		return device.Device{}, notFound("There is no device with the number, id or name %q.", clip(word))
	case len(found) > 1:
		return device.Device{}, conflict("%d devices are named %q; give a number: %s.", len(found), clip(word), numbersOf(found))
	}
	return found[0], nil
}

func numbersOf(devices []device.Device) string {
	var b strings.Builder
	for i := range devices[:min(len(devices), 10)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, devices[i].Number)
	}
	if len(devices) > 10 {
		b.WriteString(" …")
	}
	return b.String()
}

type blockInput struct {
	Device string `path:"device" maxLength:"256" doc:"number, id or name"`
	Body   ReasonRequest
}

// findDeviceNow looks again once the views hold all that the journal holds: a
// device that joined a moment ago is found.
func (c *Console) findDeviceNow(ctx context.Context, word string) (device.Device, error) {
	v := c.now()
	d, err := v.findDevice(word)
	if isNotFound(err) {
		c.catchUp(ctx)
		d, err = v.findDevice(word)
	}
	return d, err
}

type setBlocked func(ctx context.Context, actor event.Actor, device uint32, reason string) (uint64, error)

func (c *Console) blockDevice(ctx context.Context, in *blockInput) (*out[Written], error) {
	return c.setBlocked(ctx, in, "block the device", c.cfg.Authority.Block)
}

func (c *Console) unblockDevice(ctx context.Context, in *blockInput) (*out[Written], error) {
	return c.setBlocked(ctx, in, "unblock the device", c.cfg.Authority.Unblock)
}

func (c *Console) setBlocked(ctx context.Context, in *blockInput, doing string, set setBlocked) (*out[Written], error) {
	d, err := c.findDeviceNow(ctx, in.Device)
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	number, err := set(ctx, actorOf(ctx), d.Number, in.Body.Reason)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	return answerAt(Written{number}, number)
}
