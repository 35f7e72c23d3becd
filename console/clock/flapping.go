package clock

import (
	"context"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// How often flapping devices are told of.
const (
	flapEvery = time.Hour // one device
	flapMost  = 100       // devices in that time
	flapPage  = 1000      // messages that are read at once
)

// flapMessage is the status message about a flapping device; package console has
// the catalogue.
const flapMessage = 1201

// Flapping is what the clock needs to know of devices that come and go.
type Flapping interface {
	// Flapping returns the devices that flapped when they changed last.
	Flapping() ([]presence.Flap, error)
}

// Messages are the status messages that the site and its listeners have said.
type Messages interface {
	Messages(before uint64, limit int, severities ...event.Severity) ([]status.Message, error)
}

// flaps remembers which devices were told of, and when.
type flaps struct {
	devices Flapping
	said    Messages
	told    map[uint32]time.Time // within flapEvery; nil until the messages were read
}

// tellFlapping appends a status message for each device that is found to come and
// go.
func (c *Clock) tellFlapping(ctx context.Context) error {
	if c.flaps.devices == nil {
		return nil
	}
	now := c.cfg.Now()
	messages, keep, err := c.flaps.due(now)
	if err != nil || len(messages) == 0 {
		return err
	}
	events := make([]*event.Event, len(messages))
	for i, m := range messages {
		events[i] = &event.Event{Observed: now, Actor: event.Actor{Issuer: "site", Subject: "clock"}, Payload: m}
	}
	if err := c.cfg.Journal.Append(ctx, events...); err != nil {
		return err
	}
	keep()
	return nil
}

// due returns what is to be said of devices that flap now: of each at most once in
// flapEvery, also if the site was started again meanwhile. What it returns counts
// as said once keep is called.
func (f *flaps) due(now time.Time) (messages []*event.SiteMessage, keep func(), err error) {
	keep = func() {}
	all, err := f.devices.Flapping()
	if err != nil || len(all) == 0 {
		return nil, keep, err
	}
	if err := f.recall(now); err != nil {
		return nil, keep, err
	}
	for device, at := range f.told {
		if now.Sub(at) >= flapEvery {
			delete(f.told, device)
		}
	}
	var devices []uint32
	for _, flap := range all {
		if _, said := f.told[flap.Device]; said || now.Sub(flap.Last) > presence.FlapWindow {
			continue
		}
		if len(f.told)+len(devices) >= flapMost {
			break
		}
		devices = append(devices, flap.Device)
		messages = append(messages, flapping(flap))
	}
	return messages, func() {
		for _, device := range devices {
			f.told[device] = now
		}
	}, nil
}

func flapping(f presence.Flap) *event.SiteMessage {
	return &event.SiteMessage{Component: "clock", Message: flapMessage, Severity: event.Warning, Device: f.Device,
		Text: fmt.Sprintf("device %d comes and goes: %d changes within %s, the last one at %s",
			f.Device, presence.FlapChanges, f.Last.Sub(f.First).Round(time.Second), f.Last.Format(time.RFC3339))}
}

// recall reads, once, what was said before the site was started.
func (f *flaps) recall(now time.Time) error {
	if f.told != nil {
		return nil
	}
	told := make(map[uint32]time.Time)
	for before := uint64(0); ; {
		page, err := f.said.Messages(before, flapPage, event.Warning)
		if err != nil {
			return err
		}
		for i := range page {
			m := &page[i]
			if now.Sub(m.Accepted) >= flapEvery {
				f.told = told
				return nil
			}
			if _, newer := told[m.Device]; m.Number == flapMessage && m.Listener == "" && !newer {
				told[m.Device] = m.Accepted
			}
			before = m.Event
		}
		if len(page) < flapPage {
			f.told = told
			return nil
		}
	}
}
