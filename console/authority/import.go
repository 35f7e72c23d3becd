package authority

import (
	"context"
	"fmt"
	"net/http"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Import appends records of devices, and what is known of them. Those that are new
// get the next numbers, in their order; p holds them afterwards. If one of the others
// does not exist, or was removed, nothing is appended.
func (a *Authority) Import(ctx context.Context, actor event.Actor, p *event.DevicesImported) (uint64, error) {
	e := a.event(actor, p)
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("import devices: %w", err)
	}
	return appended(j.AppendIf(ctx, func() error { return a.number(p) }, e), e, "import devices")
}

// number gives new records their numbers.
func (a *Authority) number(p *event.DevicesImported) error {
	next := a.nextDevice()
	a.mu.RLock()
	defer a.mu.RUnlock()
	for i := range p.Devices {
		d := &p.Devices[i]
		switch {
		case d.New && next > task.MaxDevice:
			return refuse(http.StatusConflict, titleImport, "The site has given all its %d device numbers.", task.MaxDevice)
		case d.New:
			d.Device = next
			next++
		case !a.recorded(d.Device):
			return refuse(http.StatusConflict, titleImport, "There is no device %d; it may have been removed meanwhile.", d.Device)
		}
	}
	return nil
}

// recorded tells whether there is a device, joined or imported, that was not removed;
// the caller holds mu.
func (a *Authority) recorded(number uint32) bool {
	return number != 0 && uint64(number) < uint64(len(a.devices)) && !a.devices[number].nobody() && a.devices[number].removed == 0
}

// notToBecome says why no agent can join for a record, and nothing if one can: it was
// imported, and no agent has joined for it; the caller holds mu.
func (a *Authority) notToBecome(number uint32) string {
	switch {
	case a.recorded(number) && a.device(number) == nil:
		return ""
	case a.recorded(number):
		return fmt.Sprintf("An agent has joined for device %d", number)
	case number != 0 && uint64(number) < uint64(len(a.devices)) && a.devices[number].removed != 0:
		return fmt.Sprintf("Device %d was removed", number)
	}
	return fmt.Sprintf("There is no device %d", number)
}

// CanBecome tells whether an agent can still join for a record: it was imported, was
// not removed, and has no agent.
func (a *Authority) CanBecome(device uint32) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.notToBecome(device) == ""
}

// applyImported takes new records over; the caller holds mu.
func (a *Authority) applyImported(p *event.DevicesImported) {
	for i := range p.Devices {
		d := &p.Devices[i]
		if !d.New || d.Device == 0 || d.Device > task.MaxDevice {
			continue
		}
		a.reach(d.Device)
		if a.devices[d.Device].nobody() {
			a.devices[d.Device].id = d.ID
		}
	}
}

// reach makes room for a device; the caller holds mu.
func (a *Authority) reach(number uint32) {
	for int(number) >= len(a.devices) {
		a.devices = append(a.devices, device{})
	}
}

// Remove ends the record of a device for ever, and returns the number of the event
// that did; that is the earlier one if it was removed already.
func (a *Authority) Remove(ctx context.Context, actor event.Actor, number uint32, reason string) (uint64, error) {
	e := a.event(actor, &event.DeviceRemoved{Device: number, Reason: reason})
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("remove device: %w", err)
	}
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		if a.recorded(number) {
			return nil
		}
		if number != 0 && uint64(number) < uint64(len(a.devices)) && a.devices[number].removed != 0 {
			return done(a.devices[number].removed)
		}
		return refuse(http.StatusNotFound, titleDevice, "There is no device %d.", number)
	}
	return appended(j.AppendIf(ctx, guard, e), e, "remove device")
}

// applyRemoved shuts a device out for ever; the caller holds mu.
func (a *Authority) applyRemoved(number uint32, event uint64) {
	if a.recorded(number) {
		d := &a.devices[number]
		d.blocked, d.removed = true, event
	}
}
