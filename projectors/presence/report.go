package presence

import (
	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

// A listener is what the fold keeps of one.
type listener struct {
	Listener
	part   uint16  // of file Last that came last
	open   *report // a full report of which parts are still to come
	index  uint16  // in the fold's list
	held   *roaring.Bitmap
	dirty  bool   // its row is to be written
	stored []byte // its row as it was written last
}

// A report is a full report in parts, of which the first ones were applied.
type report struct {
	next, of uint16
	entries  uint32
	seen     *roaring.Bitmap
}

// An order tells where a file stands among those that were applied.
type order uint8

const (
	past order = iota // it says nothing new
	late              // a later one came before it
	next
)

// place finds where a part of a file stands, and counts what is stale.
func (l *listener) place(s *event.Source, full bool) order {
	switch {
	case s.Epoch < l.Epoch,
		s.Number < l.Full,
		s.Number == l.Last && s.Part <= l.part,
		s.Number < l.Last && full:
		l.Stale++
		return past
	case s.Number < l.Last:
		return late
	}
	return next
}

// advance takes note that a part of a file was applied in order.
func (l *listener) advance(s *event.Source) {
	if s.Number > l.Last+1 {
		l.Gaps += s.Number - l.Last - 1
		l.Gap = true
	}
	l.Last, l.part = s.Number, s.Part
}

func (f *fold) source(e *event.Event) *listener {
	if e.Source == nil || e.Source.File != event.BOS {
		return nil
	}
	return f.enter(e.Source.Listener, e.Source.Epoch)
}

func (f *fold) delta(b *projectors.Batch, e *event.Event, p *event.PresenceDelta) error {
	l := f.source(e)
	if l == nil {
		return nil
	}
	if o := l.place(e.Source, false); o != past {
		if err := f.entries(b, e, l, p.Entries, o == late); err != nil {
			return err
		}
		if o == next {
			l.advance(e.Source)
		}
	}
	return f.save(b, l)
}

func (f *fold) snapshot(b *projectors.Batch, e *event.Event, p *event.PresenceSnapshot) error {
	l := f.source(e)
	if l == nil {
		return nil
	}
	if l.place(e.Source, true) == next {
		if err := f.entries(b, e, l, p.Entries, false); err != nil {
			return err
		}
		l.collect(e.Source, p)
		l.advance(e.Source)
		if err := f.complete(b, e, l, p); err != nil {
			return err
		}
	}
	return f.save(b, l)
}

// collect adds a part to the full report that is open. A part that is not the
// next one voids the report, and so does one that makes the set too large to be
// kept.
func (l *listener) collect(s *event.Source, p *event.PresenceSnapshot) {
	switch {
	case s.Part == 1:
		l.open = &report{next: 1, of: s.Of, seen: roaring.New()}
	case l.open != nil && (s.Number != l.Last || s.Part != l.open.next || s.Of != l.open.of):
		l.open = nil
	}
	if l.open == nil {
		return
	}
	numbers := make([]uint32, len(p.Entries))
	for i := range p.Entries {
		numbers[i] = p.Entries[i].Device
	}
	l.open.seen.AddMany(numbers)
	l.open.entries += uint32(len(numbers))
	l.open.next++
	if l.open.seen.GetSerializedSizeInBytes() > maxSeen {
		l.open = nil
	}
}

// complete draws the conclusion from a full report whose last part was applied:
// what it does not list is not online there.
func (f *fold) complete(b *projectors.Batch, e *event.Event, l *listener, p *event.PresenceSnapshot) error {
	r := l.open
	if r == nil || r.next <= r.of {
		return nil
	}
	l.open = nil
	if r.entries != p.Total {
		return nil
	}
	l.Full, l.Gap = e.Source.Number, false
	return f.leave(b, e, l, roaring.AndNot(l.held, r.seen), event.NotInSnapshot)
}

func (f *fold) entries(b *projectors.Batch, e *event.Event, l *listener, entries []event.PresenceEntry, late bool) error {
	for i := range entries {
		p := &entries[i]
		if p.Device == 0 || p.Device > task.MaxDevice {
			continue
		}
		to := cell{since: p.Since.UnixMilli(), event: e.Number, epoch: l.Epoch, listener: l.index,
			known: true, online: p.Online, reason: p.Reason, carrier: p.Carrier}
		c := f.devices.at(p.Device)
		switch {
		case to.online:
			to.reason, to.signedIn = event.SignedIn, to.since
		case c.listener == l.index:
			to.signedIn = c.signedIn
		}
		if c.same(&to) || !c.yields(&to, late) {
			continue
		}
		if err := f.set(b, p.Device, c, to); err != nil {
			return err
		}
	}
	return nil
}

func (c *cell) same(to *cell) bool {
	return c.since == to.since && c.listener == to.listener && c.known && c.online == to.online &&
		c.epoch == to.epoch && c.reason == to.reason && c.carrier == to.carrier
}

// yields tells whether to is to be believed, given what is known. Late means
// that the listener said something newer already, maybe of other devices.
func (c *cell) yields(to *cell, late bool) bool {
	mine := c.listener == to.listener
	switch {
	case !c.known:
		return true
	case mine && late && c.epoch == to.epoch:
		return to.since > c.since
	case mine:
		return true
	case !to.online: // only who holds the device may say so
		return false
	case !c.online && c.concluded():
		return true
	}
	return to.since > c.signedIn
}
