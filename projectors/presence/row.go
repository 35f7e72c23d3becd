package presence

import (
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

const (
	rowVersion   = 2
	maxListener  = 16
	maxSeen      = 400 << 10 // a serialized bitmap of devices
	lastReason   = event.NotInSnapshot
	flagOnline   = 1
	flagsReason  = 1
	flagsCarrier = 5
)

var (
	rowLimits      = bounded.Limits{Bytes: 256, Depth: 2, Items: 32}
	listenerLimits = bounded.Limits{Bytes: 512 << 10, Depth: 3, Items: 64}
)

// encode appends the row of a device.
func (f *fold) encode(dst []byte, device uint32, c *cell) ([]byte, error) {
	dst, err := bounded.Encode(dst, func(w *bounded.Writer) {
		flags := uint64(c.carrier)<<flagsCarrier | uint64(c.reason)<<flagsReason
		if c.online {
			flags |= flagOnline
		}
		w.Array(8)
		w.Uint(rowVersion)
		w.Uint(uint64(device))
		w.Uint(flags)
		w.Int(c.since)
		w.Int(c.signedIn)
		w.Exact(f.listeners[c.listener].Name, maxListener)
		w.Uint(uint64(c.epoch))
		w.Uint(c.event)
	})
	if err != nil {
		return dst, fmt.Errorf("encode presence of device %d: %w", device, err)
	}
	return dst, nil
}

func decodeRow(value []byte) (r Row, err error) {
	err = bounded.Decode(value, rowLimits, func(d *bounded.Reader) error {
		d.Version(rowVersion)
		r.Device = d.Uint32()
		flags := d.Uint(1<<8 - 1)
		r.Since = time.UnixMilli(d.Int64()).UTC()
		r.SignedIn = time.UnixMilli(d.Int64()).UTC()
		r.Listener = d.String(maxListener)
		r.Epoch = d.Uint32()
		r.Event = d.Uint64()
		d.End()
		r.Online = flags&flagOnline != 0
		r.Reason = event.PresenceReason(flags >> flagsReason & 0xf)
		r.Carrier = event.Carrier(flags >> flagsCarrier)
		if r.Reason > lastReason {
			d.Fail("reason %d of device %d", r.Reason, r.Device)
		}
		return nil
	})
	if err != nil {
		return Row{}, fmt.Errorf("decode presence: %w", err)
	}
	return r, nil
}

func encodeListener(l *listener) ([]byte, error) {
	value, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(11)
		w.Uint(rowVersion)
		w.Exact(l.Name, maxListener)
		w.Uint(uint64(l.Epoch))
		w.Uint(uint64(l.Online))
		w.Uint(l.Full)
		w.Uint(l.Last)
		w.Uint(uint64(l.part))
		w.Uint(l.Gaps)
		w.Bool(l.Gap)
		w.Uint(l.Stale)
		l.open.encode(w)
	})
	if err != nil {
		return nil, fmt.Errorf("encode listener %s: %w", l.Name, err)
	}
	return value, nil
}

func (r *report) encode(w *bounded.Writer) {
	if r == nil {
		w.Array(0)
		return
	}
	seen, err := r.seen.ToBytes()
	if err != nil {
		w.Fail("bitmap: %v", err)
	}
	w.Array(4)
	w.Uint(uint64(r.next))
	w.Uint(uint64(r.of))
	w.Uint(uint64(r.entries))
	w.Bytes(seen, maxSeen)
}

func decodeListener(value []byte) (*listener, error) {
	l := new(listener)
	err := bounded.Decode(value, listenerLimits, func(d *bounded.Reader) error {
		d.Version(rowVersion)
		l.Name = d.String(maxListener)
		l.Epoch = d.Uint32()
		l.Online = d.Uint32()
		l.Full = d.Uint64()
		l.Last = d.Uint64()
		l.part = uint16(d.Uint(1<<16 - 1))
		l.Gaps = d.Uint64()
		l.Gap = d.Bool()
		l.Stale = d.Uint64()
		l.open = decodeReport(d)
		d.End()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode listener: %w", err)
	}
	return l, nil
}

func decodeReport(d *bounded.Reader) *report {
	if d.Array(16) == 0 {
		d.End()
		return nil
	}
	r := &report{seen: roaring.New()}
	r.next = uint16(d.Uint(1<<16 - 1))
	r.of = uint16(d.Uint(1<<16 - 1))
	r.entries = d.Uint32()
	seen := d.Bytes(maxSeen)
	d.End()
	if d.Err() == nil {
		if err := r.seen.UnmarshalBinary(seen); err != nil {
			d.Fail("bitmap: %v", err)
		} else if err := r.seen.Validate(); err != nil {
			d.Fail("bitmap: %v", err)
		}
	}
	return r
}
