package window

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

const rowVersion = 1

var limits = bounded.Limits{Bytes: event.MaxWindow + event.MaxName + event.MaxCollectionID + 64, Depth: 1, Items: 16}

func encodeRow(r *Window) ([]byte, error) {
	value, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(6)
		w.Uint(rowVersion)
		w.Exact(r.Collection, event.MaxCollectionID)
		w.Exact(r.Name, event.MaxName)
		w.Bytes(r.JSON, event.MaxWindow)
		w.Uint(r.Event)
		w.Int(nanos(r.Changed))
	})
	if err != nil {
		return nil, fmt.Errorf("encode window %q of collection %s: %w", r.Name, r.Collection, err)
	}
	return value, nil
}

func decodeRow(value []byte) (r Window, err error) {
	err = bounded.Decode(value, limits, func(d *bounded.Reader) error {
		d.Version(rowVersion)
		r.Collection = d.String(event.MaxCollectionID)
		r.Name = d.String(event.MaxName)
		r.JSON = d.Bytes(event.MaxWindow)
		r.Event = d.Uint64()
		r.Changed = instant(d.Int64())
		d.End()
		return nil
	})
	if err != nil {
		return Window{}, fmt.Errorf("decode window: %w", err)
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
