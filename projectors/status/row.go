package status

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

const (
	rowVersion  = 1
	maxListener = 16
	maxRaw      = 1 << 10
)

var limits = bounded.Limits{Bytes: 16 << 10, Depth: 2, Items: 64}

func encode(row func(*bounded.Writer)) ([]byte, error) { return bounded.Encode(nil, row) }

func decode(what string, v []byte, read func(*bounded.Reader)) error {
	err := bounded.Decode(v, limits, func(r *bounded.Reader) error {
		r.Version(rowVersion)
		read(r)
		r.End()
		return nil
	})
	if err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return nil
}

func (m *Message) encode(w *bounded.Writer) {
	w.Array(10)
	w.Uint(rowVersion)
	w.Uint(m.Event)
	w.Int(nanos(m.Accepted))
	w.Int(nanos(m.Observed))
	w.Exact(m.Listener, maxListener)
	w.String(m.Component, event.MaxName)
	w.Uint(uint64(m.Number))
	w.Uint(uint64(m.Severity))
	w.Uint(uint64(m.Device))
	w.String(m.Text, event.MaxText)
}

func decodeMessage(v []byte) (m Message, err error) {
	err = decode("message", v, func(r *bounded.Reader) {
		m.Event = r.Uint64()
		m.Accepted, m.Observed = instant(r.Int64()), instant(r.Int64())
		m.Listener = r.String(maxListener)
		m.Component = r.String(event.MaxName)
		m.Number = r.Uint32()
		m.Severity = event.Severity(r.Uint(uint64(event.Error)))
		m.Device = r.Uint32()
		m.Text = r.String(event.MaxText)
	})
	return m, err
}

func (l *Listener) encode(w *bounded.Writer) {
	w.Array(11)
	w.Uint(rowVersion)
	w.Exact(l.Name, maxListener)
	w.Uint(uint64(l.Epoch))
	w.Uint(uint64(l.State))
	w.String(l.Version, event.MaxName)
	w.String(l.Address, event.MaxName)
	for _, t := range []time.Time{l.Granted, l.Started, l.Ended, l.Heard} {
		w.Int(nanos(t))
	}
	w.Uint(l.Event)
}

func decodeListener(v []byte) (l Listener, err error) {
	err = decode("listener", v, func(r *bounded.Reader) {
		l.Name = r.String(maxListener)
		l.Epoch = r.Uint32()
		l.State = ListenerState(r.Uint(uint64(Lost)))
		l.Version = r.String(event.MaxName)
		l.Address = r.String(event.MaxName)
		for _, t := range []*time.Time{&l.Granted, &l.Started, &l.Ended, &l.Heard} {
			*t = instant(r.Int64())
		}
		l.Event = r.Uint64()
	})
	return l, err
}

func (f *Refusal) encode(w *bounded.Writer) {
	w.Array(8)
	w.Uint(rowVersion)
	w.Uint(f.Event)
	w.Int(nanos(f.Accepted))
	w.Bool(f.Login)
	w.String(f.Where, event.MaxName)
	w.String(f.Address, event.MaxName)
	w.String(f.Reason, event.MaxText)
	w.Uint(uint64(f.Count))
}

func decodeRefusal(v []byte) (f Refusal, err error) {
	err = decode("refusal", v, func(r *bounded.Reader) {
		f.Event = r.Uint64()
		f.Accepted = instant(r.Int64())
		f.Login = r.Bool()
		f.Where = r.String(event.MaxName)
		f.Address = r.String(event.MaxName)
		f.Reason = r.String(event.MaxText)
		f.Count = r.Uint32()
	})
	return f, err
}

func (q *Quarantined) encode(w *bounded.Writer) {
	w.Array(12)
	w.Uint(rowVersion)
	w.Uint(q.Event)
	w.Int(nanos(q.Accepted))
	w.Exact(q.Listener, maxListener)
	w.String(q.File, event.MaxName)
	w.Bool(q.Record)
	w.Uint(uint64(q.Index))
	w.Raw(q.Digest[:])
	w.Uint(q.Size)
	w.String(q.Reason, event.MaxText)
	w.Bytes(q.Raw, maxRaw)
	w.Int(nanos(q.Requeued))
}

func decodeQuarantined(v []byte) (q Quarantined, err error) {
	err = decode("quarantined", v, func(r *bounded.Reader) {
		q.Event = r.Uint64()
		q.Accepted = instant(r.Int64())
		q.Listener = r.String(maxListener)
		q.File = r.String(event.MaxName)
		q.Record = r.Bool()
		q.Index = r.Uint32()
		r.Raw(q.Digest[:])
		q.Size = r.Uint64()
		q.Reason = r.String(event.MaxText)
		q.Raw = r.Bytes(maxRaw)
		q.Requeued = instant(r.Int64())
	})
	return q, err
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
