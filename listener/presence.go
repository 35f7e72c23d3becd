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
	online  map[uint32]box.PresenceEntry
	changed map[uint32]box.PresenceEntry
	since   time.Time // of the oldest change

	wake    chan struct{} // one slot: something has changed
	stopped chan struct{} // nothing changes any more

	doubted atomic.Bool // something went wrong since the last full report
}

func newPresence(f *files, every, most, least time.Duration) *presence {
	return &presence{files: f, every: every, most: most, least: least,
		online: make(map[uint32]box.PresenceEntry), changed: make(map[uint32]box.PresenceEntry),
		wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// set notes that a device is online or not.
func (p *presence) set(device uint32, online bool, reason, carrier uint8, now time.Time) {
	e := box.PresenceEntry{Device: device, Online: online, Reason: reason, Carrier: carrier, Since: now.Truncate(time.Millisecond)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if online {
		p.online[device] = e
	} else {
		delete(p.online, device)
	}
	if len(p.changed) == 0 {
		p.since = now
	}
	p.changed[device] = e
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
	clear(p.changed)
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

func sorted(m map[uint32]box.PresenceEntry) []box.PresenceEntry {
	all := make([]box.PresenceEntry, 0, len(m))
	for _, e := range m {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b box.PresenceEntry) int { return cmp.Compare(a.Device, b.Device) })
	return all
}
