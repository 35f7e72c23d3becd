package device

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

const rowVersion = 3 // since 2 with the newest certificate, since 3 with import and removal

const maxSerial = 32

var limits = bounded.Limits{Bytes: 16 << 10, Depth: 2, Items: 64}

func encodeRow(r *row) ([]byte, error) {
	value, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(21)
		w.Uint(rowVersion)
		w.Uint(uint64(r.Number))
		w.Raw(r.ID[:])
		w.String(r.Name, event.MaxName)
		w.String(r.OS, event.MaxName)
		w.String(r.Arch, event.MaxName)
		w.String(r.Agent, event.MaxName)
		w.String(r.Token, event.MaxName)
		w.Int(nanos(r.Joined))
		w.Int(nanos(r.Expires))
		w.Bool(r.Blocked)
		w.String(r.BlockReason, event.MaxText)
		w.Int(nanos(r.Discovered))
		w.Uint(r.Event)
		w.Uint(uint64(r.facts))
		w.Int(nanos(r.Issued))
		w.Uint(r.Certified)
		w.Bytes(r.Serial, maxSerial)
		w.Int(nanos(r.Imported))
		w.Int(nanos(r.RemovedAt))
		w.String(r.RemoveReason, event.MaxText)
	})
	if err != nil {
		return nil, fmt.Errorf("encode device %d: %w", r.Number, err)
	}
	return value, nil
}

func decodeRow(value []byte) (r row, err error) {
	err = bounded.Decode(value, limits, func(d *bounded.Reader) error {
		version := d.Version(rowVersion)
		r.Number = d.Uint32()
		d.Raw(r.ID[:])
		r.Name = d.String(event.MaxName)
		r.OS = d.String(event.MaxName)
		r.Arch = d.String(event.MaxName)
		r.Agent = d.String(event.MaxName)
		r.Token = d.String(event.MaxName)
		r.Joined = instant(d.Int64())
		r.Expires = instant(d.Int64())
		r.Blocked = d.Bool()
		r.BlockReason = d.String(event.MaxText)
		r.Discovered = instant(d.Int64())
		r.Event = d.Uint64()
		r.facts = d.Uint32()
		if version > 1 {
			r.Issued = instant(d.Int64())
			r.Certified = d.Uint64()
			r.Serial = d.Bytes(maxSerial)
		}
		if version > 2 {
			r.Imported = instant(d.Int64())
			r.RemovedAt = instant(d.Int64())
			r.RemoveReason = d.String(event.MaxText)
		}
		d.End()
		return nil
	})
	if err != nil {
		return row{}, fmt.Errorf("decode device: %w", err)
	}
	return r, nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
