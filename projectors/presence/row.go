package presence

import (
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

const (
	rowVersion      = 3 // of devices; 2 had no history
	listenerVersion = 2
	chunkVersion    = 1

	maxListener  = 16
	maxSeen      = 400 << 10 // a serialized bitmap of devices
	lastReason   = event.NotInSnapshot
	flagOnline   = 1
	flagsReason  = 1
	flagsCarrier = 5
)

var (
	rowLimits      = bounded.Limits{Bytes: 1 << 10, Depth: 2, Items: 128}
	listenerLimits = bounded.Limits{Bytes: 512 << 10, Depth: 3, Items: 64}
)

// encode appends the row of a device.
func (f *fold) encode(dst []byte, device uint32, c *cell) ([]byte, error) {
	dst, err := bounded.Encode(dst, func(w *bounded.Writer) {
		w.Array(10)
		w.Uint(rowVersion)
		w.Uint(uint64(device))
		w.Uint(uint64(c.flags()))
		w.Int(c.since)
		w.Int(c.signedIn)
		w.Exact(f.listeners[c.listener].Name, maxListener)
		w.Uint(uint64(c.epoch))
		w.Uint(c.event)
		if c.trail == nil {
			w.Uint(0)
			w.Bytes(nil, 0)
			return
		}
		w.Uint(c.count)
		w.Bytes(c.recent, maxChunk)
	})
	if err != nil {
		return dst, fmt.Errorf("encode presence of device %d: %w", device, err)
	}
	return dst, nil
}

func (c *cell) flags() uint8 {
	flags := uint8(c.carrier)<<flagsCarrier | uint8(c.reason)<<flagsReason
	if c.online {
		flags |= flagOnline
	}
	return flags
}

func readFlags(flags uint8) (online bool, reason event.PresenceReason, carrier event.Carrier) {
	return flags&flagOnline != 0, event.PresenceReason(flags >> flagsReason & 0xf), event.Carrier(flags >> flagsCarrier)
}

// stored is a device's row with what it holds besides.
type stored struct {
	Row
	count  uint64
	recent []byte // see [readChanges]
}

func decodeRow(value []byte) (r stored, err error) {
	err = bounded.Decode(value, rowLimits, func(d *bounded.Reader) error {
		version := d.Version(rowVersion)
		r.Device = d.Uint32()
		r.Online, r.Reason, r.Carrier = readFlags(uint8(d.Uint(1<<8 - 1)))
		if r.Reason > lastReason {
			d.Fail("reason %d of device %d", r.Reason, r.Device)
		}
		r.Since = time.UnixMilli(d.Int64()).UTC()
		r.SignedIn = time.UnixMilli(d.Int64()).UTC()
		r.Listener = d.String(maxListener)
		r.Epoch = d.Uint32()
		r.Event = d.Uint64()
		if version > 2 {
			r.count = d.Uint64()
			r.recent = d.Bytes(maxChunk)
		}
		d.End()
		return nil
	})
	if err != nil {
		return stored{}, fmt.Errorf("decode presence: %w", err)
	}
	return r, nil
}

func encodeListener(l *listener) ([]byte, error) {
	value, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(11)
		w.Uint(listenerVersion)
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
		d.Version(listenerVersion)
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
