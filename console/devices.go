package console

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/device"
)

// listStep is how many devices are read at once, and maxListed how many one call
// looks at for those it was asked for.
const (
	listStep  = 1000
	maxListed = 100_000
)

type devicesInput struct {
	AtLeast
	After  uint32 `query:"after"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Online string `query:"online" enum:"true,false" doc:"only those that are, or are not, online"`
	Name   string `query:"name" maxLength:"256" doc:"only those with this in their name, whatever its case"`
}

func (c *Console) listDevices(ctx context.Context, in *devicesInput) (*out[DevicePage], error) {
	at, err := c.current(ctx, in.AtLeast)
	if err != nil {
		return nil, err
	}
	page, err := c.devicePage(in)
	if err != nil {
		return nil, c.failView(ctx, "list devices", err)
	}
	page.Event = at
	return answer(page)
}

func (c *Console) devicePage(in *devicesInput) (DevicePage, error) {
	page := DevicePage{Items: []Device{}}
	total, err := c.cfg.Devices.Count()
	if err != nil {
		return page, err
	}
	page.Total = int(total)
	online, err := c.online()
	if err != nil {
		return page, err
	}
	after, name := in.After, strings.ToLower(in.Name)
	for seen := 0; ; {
		batch, err := c.cfg.Devices.List(after, listStep)
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
			if !in.wants(d, name, online) {
				continue
			}
			shown, err := c.deviceJSON(d)
			if err != nil {
				return page, err
			}
			page.Items = append(page.Items, shown)
		}
		if len(batch) < listStep {
			return page, nil
		}
	}
}

// online returns which devices are online. The reader's own bitmap is empty while
// it knows nothing; Get tells the difference.
func (c *Console) online() (*roaring.Bitmap, error) {
	if _, _, err := c.cfg.Presence.Get(1); err != nil {
		return nil, err
	}
	return c.cfg.Presence.Online(), nil
}

func (in *devicesInput) wants(d *device.Device, name string, online *roaring.Bitmap) bool {
	if in.Online != "" && (in.Online == "true") != online.Contains(d.Number) {
		return false
	}
	return name == "" || strings.Contains(strings.ToLower(d.Name), name)
}

// neverSeen is the reason of a device that no listener has named yet.
const neverSeen = "never-seen"

func (c *Console) deviceJSON(d *device.Device) (Device, error) {
	shown := Device{
		ID: d.ID.String(), Number: d.Number, Name: d.Name, OS: d.OS, Arch: d.Arch, Agent: d.Agent,
		Reason: neverSeen, Blocked: d.Blocked, Joined: d.Joined, LastEvent: d.Event,
	}
	row, ok, err := c.cfg.Presence.Get(d.Number)
	if err != nil || !ok {
		return shown, err
	}
	shown.Online, shown.Reason, shown.Since = row.Online, row.Reason.String(), instant(row.Since)
	shown.Listener, shown.Carrier = row.Listener, row.Carrier.String()
	shown.LastEvent = max(shown.LastEvent, row.Event)
	return shown, nil
}

type deviceInput struct {
	AtLeast
	Device string `path:"device" maxLength:"256" doc:"number, id or name"`
}

func (c *Console) getDevice(ctx context.Context, in *deviceInput) (*out[DeviceReply], error) {
	at, err := c.current(ctx, in.AtLeast)
	if err != nil {
		return nil, err
	}
	d, err := c.findDevice(in.Device)
	if err != nil {
		return nil, c.failView(ctx, "read the device", err)
	}
	shown, err := c.deviceJSON(&d)
	if err != nil {
		return nil, c.failView(ctx, "read the device", err)
	}
	reply := DeviceReply{Device: shown, BlockReason: d.BlockReason, Facts: map[string]string{}, Event: at}
	for _, f := range d.Facts {
		reply.Facts[f.Name] = f.Value
	}
	return answer(reply)
}

// findDevice returns the device that word names. Digits are a number if a device
// has it, else a name.
func (c *Console) findDevice(word string) (device.Device, error) {
	if n, err := strconv.ParseUint(word, 10, 32); err == nil {
		if d, ok, err := c.cfg.Devices.Get(uint32(n)); ok || err != nil {
			return d, err
		}
	}
	found, err := c.cfg.Devices.Find(word)
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

type setBlocked func(ctx context.Context, actor event.Actor, device uint32, reason string) (uint64, error)

func (c *Console) blockDevice(ctx context.Context, in *blockInput) (*out[Written], error) {
	return c.setBlocked(ctx, in, "block the device", c.cfg.Authority.Block)
}

func (c *Console) unblockDevice(ctx context.Context, in *blockInput) (*out[Written], error) {
	return c.setBlocked(ctx, in, "unblock the device", c.cfg.Authority.Unblock)
}

func (c *Console) setBlocked(ctx context.Context, in *blockInput, doing string, set setBlocked) (*out[Written], error) {
	d, err := c.findDevice(in.Device)
	if isNotFound(err) { // it may have joined just now
		c.catchUp(ctx)
		d, err = c.findDevice(in.Device)
	}
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	number, err := set(ctx, actorOf(ctx), d.Number, in.Body.Reason)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	return answer(Written{number})
}
