package listener

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// Why a device is on or off, and how it is connected: the numbers that presence
// files carry, which are those of the journal's events.
const (
	reasonSignedIn  uint8 = 0
	reasonSignedOut uint8 = 1
	reasonClosed    uint8 = 2
	reasonTimedOut  uint8 = 3
	reasonStopped   uint8 = 5
	reasonBlocked   uint8 = 7

	carrierTCP       uint8 = 1
	carrierWebSocket uint8 = 2
	carrierLongPoll  uint8 = 3
)

// presence is who is online, and who has changed since the last file.
type presence struct {
	files *files
	every time.Duration // between full reports, at the least
	most  time.Duration // and while no file fails
	least time.Duration // between deltas

	mu      sync.Mutex
	online  map[uint32]standing
	changed map[uint32]standing
	since   time.Time // of the oldest change

	wake    chan struct{} // one slot: something has changed
	stopped chan struct{} // nothing changes any more

	doubted atomic.Bool // something went wrong since the last full report
}

// A standing is what there is to say of a device.
type standing struct {
	since           int64 // Unix milliseconds
	online          bool
	reason, carrier uint8
}

func (s standing) entry(device uint32) box.PresenceEntry {
	return box.PresenceEntry{Device: device, Online: s.online, Reason: s.reason, Carrier: s.carrier, Since: time.UnixMilli(s.since)}
}

// keepChanged is how many changes fit into what is kept between two reports; what a
// storm needs beyond that is given back.
const keepChanged = 1024

func newPresence(f *files, every, most, least time.Duration) *presence {
	return &presence{files: f, every: every, most: most, least: least,
		online: make(map[uint32]standing), changed: make(map[uint32]standing),
		wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// set notes that a device is online or not.
func (p *presence) set(device uint32, online bool, reason, carrier uint8, now time.Time) {
	s := standing{since: now.UnixMilli(), online: online, reason: reason, carrier: carrier}
	p.mu.Lock()
	defer p.mu.Unlock()
	if online {
		p.online[device] = s
	} else {
		delete(p.online, device)
	}
	if len(p.changed) == 0 {
		p.since = now
	}
	p.changed[device] = s
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run reports until the presence is stopped: first in full, then what changes.
// It fails only when ctx ends, with changes that are not on disk.
func (p *presence) run(ctx context.Context) error {
	if err := p.report(ctx, true); err != nil {
		return err
	}
	pulse := time.NewTicker(p.every)
	defer pulse.Stop()
	fulls := p.begin(time.Now())
	for {
		whole := false
		select {
		case <-p.wake:
		case <-pulse.C:
			whole = fulls.pulse(time.Now())
		case <-p.stopped:
			return p.report(ctx, false)
		}
		if err := p.report(ctx, whole); err != nil {
			return err
		}
		p.pause()
	}
}

// pause keeps deltas apart.
func (p *presence) pause() {
	t := time.NewTimer(p.least)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.stopped:
	}
}

// report drops what has changed, and if it is to be in full then who is online:
// in this order, for the full report tells nothing of why somebody left.
func (p *presence) report(ctx context.Context, whole bool) error {
	now := time.Now()
	p.mu.Lock()
	delta, since := sorted(p.changed), p.since
	if clear(p.changed); len(delta) > keepChanged {
		p.changed = make(map[uint32]standing)
	}
	var all []box.PresenceEntry
	if whole {
		all = sorted(p.online)
	}
	p.mu.Unlock()
	if len(delta) > 0 {
		if err := p.files.drop(ctx, &box.Presence{Entries: delta}, since, now); err != nil {
			return err
		}
	}
	if whole {
		return p.files.drop(ctx, &box.Presence{Full: true, Entries: all}, now, now)
	}
	return nil
}

func sorted(m map[uint32]standing) []box.PresenceEntry {
	all := make([]box.PresenceEntry, 0, len(m))
	for device, s := range m {
		all = append(all, s.entry(device))
	}
	slices.SortFunc(all, func(a, b box.PresenceEntry) int { return cmp.Compare(a.Device, b.Device) })
	return all
}
