package authority

import (
	"context"
	"fmt"
	"net/http"

	"github.com/bugle-fleet/bugle/journal/event"
)

// Block says that a device may not connect any more, and returns the number of
// the event that did; that is the earlier one if it is blocked already.
func (a *Authority) Block(ctx context.Context, actor event.Actor, device uint32, reason string) (uint64, error) {
	return a.setBlocked(ctx, a.event(actor, &event.DeviceBlocked{Device: device, Reason: reason}), device, true)
}

// Unblock takes a [Authority.Block] back. A device that never was blocked is a
// [*Refusal].
func (a *Authority) Unblock(ctx context.Context, actor event.Actor, device uint32, reason string) (uint64, error) {
	return a.setBlocked(ctx, a.event(actor, &event.DeviceUnblocked{Device: device, Reason: reason}), device, false)
}

func (a *Authority) setBlocked(ctx context.Context, e *event.Event, number uint32, blocked bool) (uint64, error) {
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", e.Kind(), err)
	}
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		d := a.device(number)
		switch {
		case d == nil && a.recorded(number):
			return refuse(http.StatusConflict, titleDevice, "No agent has joined as device %d: it was imported.", number)
		case d == nil:
			return refuse(http.StatusNotFound, titleDevice, "There is no device %d.", number)
		case d.removed != 0:
			return refuse(http.StatusConflict, titleDevice, "Device %d was removed by event %d.", number, d.removed)
		case d.blocked == blocked && d.changed == 0:
			return refuse(http.StatusConflict, titleDevice, "Device %d is not blocked.", number)
		case d.blocked == blocked:
			return done(d.changed)
		}
		return nil
	}
	return appended(j.AppendIf(ctx, guard, e), e, string(e.Kind()))
}

// Devices returns the numbers of all devices that have joined and were not removed,
// rising.
func (a *Authority) Devices() []uint32 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := make([]uint32, 0, len(a.devices))
	for n := range a.devices {
		if d := a.device(uint32(n)); d != nil && d.removed == 0 {
			all = append(all, uint32(n))
		}
	}
	return all
}

// Active returns how many devices have joined and are not blocked. It costs no more
// for a large fleet than for a small one.
func (a *Authority) Active() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.active
}

// recount changes a device and keeps count of those that are not blocked; the
// caller holds mu.
func (a *Authority) recount(number uint32, change func()) {
	before := a.actives(number)
	change()
	a.active += a.actives(number) - before
}

// actives is 1 if there is such a device and it is not blocked, else 0.
func (a *Authority) actives(number uint32) int {
	if d := a.device(number); d != nil && !d.blocked {
		return 1
	}
	return 0
}

// Blocked returns the numbers of the devices that may not connect, rising: those that
// are blocked and those that were removed.
func (a *Authority) Blocked() []uint32 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var all []uint32
	for i := range a.devices {
		if a.devices[i].blocked {
			all = append(all, uint32(i))
		}
	}
	return all
}

// IsBlocked tells whether a device is blocked; ok is false if there is no such
// device.
func (a *Authority) IsBlocked(device uint32) (blocked, ok bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	d := a.device(device)
	return d != nil && d.blocked, d != nil
}
