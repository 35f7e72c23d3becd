package operation

import (
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

const (
	rowVersion = 2
	maxTask    = 16 << 10
)

var limits = bounded.Limits{Bytes: projectors.MaxValue, Depth: 3, Items: 1024}

func set(b *projectors.Batch, key []byte, encode func(*bounded.Writer)) error {
	value, err := bounded.Encode(nil, encode)
	if err != nil {
		return fmt.Errorf("encode row %x: %w", key, err)
	}
	b.Set(key, value)
	return nil
}

func decode(what string, value []byte, read func(*bounded.Reader)) error {
	err := bounded.Decode(value, limits, func(r *bounded.Reader) error {
		if v := r.Version(rowVersion); v != rowVersion {
			r.Fail("row of version %d", v)
		}
		read(r)
		r.End()
		return nil
	})
	if err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return nil
}

// get is the Get of a batch or of a snapshot.
type get func(key []byte, read func(value []byte) error) (bool, error)

// load reads an operation, nil if there is none.
func load(get get, id task.ID) (*state, error) {
	st := &state{targets: roaring.New(), offline: roaring.New(), final: roaring.New()}
	ok, err := loadOperation(get, id, &st.op, &st.stored)
	if err != nil || !ok {
		return nil, err
	}
	ok, err = get(idKey(prefixTargets, id), st.decodeTargets)
	if err == nil && !ok {
		err = fmt.Errorf("operation %s has no targets", id)
	}
	return st, err
}

func loadOperation(get get, id task.ID, o *Operation, stored *[]byte) (ok bool, err error) {
	ok, err = get(idKey(prefixProgress, id), func(v []byte) error {
		*stored = append([]byte(nil), v...)
		return o.decodeProgress(v)
	})
	if err != nil || !ok {
		return false, err
	}
	ok, err = get(idKey(prefixFixed, id), o.decodeFixed)
	if err == nil && (!ok || o.ID != id) {
		err = fmt.Errorf("operation %s has no request", id)
	}
	if err == nil {
		err = o.loadCuts(get)
	}
	return err == nil, err
}

func (o *Operation) loadCuts(get get) error {
	for _, which := range []int{cancelled, stopped} {
		if o.ends[which].event == 0 {
			continue
		}
		s, err := o.loadCut(get, which)
		if err != nil {
			return err
		}
		if which == cancelled {
			o.Cancel = s.Cut
		} else {
			o.Stop = s
		}
	}
	return nil
}

func (o *Operation) loadCut(get get, which int) (s Stop, err error) {
	ok, err := get(cutKey(o.ID, which), func(v []byte) (err error) {
		s, err = decodeCut(v)
		return err
	})
	if err == nil && !ok {
		err = fmt.Errorf("operation %s does not say what its end found", o.ID)
	}
	s.Event, s.At = o.ends[which].event, o.ends[which].at
	return s, err
}

func (o *Operation) encodeFixed(w *bounded.Writer) {
	w.Array(22)
	w.Uint(rowVersion)
	w.Raw(o.ID[:])
	w.Exact(o.Kind, task.MaxKind)
	w.Bytes(o.Params, task.MaxParams)
	w.String(o.Target, event.MaxName)
	w.String(o.Reason, event.MaxText)
	w.Array(5)
	for _, s := range []string{o.Actor.Issuer, o.Actor.Subject, o.Actor.Session, o.Actor.Behalf, o.Actor.Address} {
		w.String(s, event.MaxName)
	}
	w.Uint(o.Event)
	for _, t := range []time.Time{o.Accepted, o.Requested, o.NotBefore, o.DeliverBy} {
		w.Int(nanos(t))
	}
	w.Uint(uint64(o.RunTimeout))
	w.Uint(uint64(o.Count))
	w.Uint(uint64(o.Online))
	w.Raw(o.RetryOf[:])
	w.Uint(uint64(o.Priority))
	w.Bool(o.Durable)
	w.List(len(o.Pacing.Waves), event.MaxWaves)
	for _, n := range o.Pacing.Waves {
		w.Uint(uint64(n))
	}
	w.Int(int64(o.Pacing.Spread))
	w.Uint(uint64(o.Pacing.Rate))
	w.Uint(uint64(o.Pacing.StopOnFailure))
}

func (o *Operation) decodeFixed(v []byte) error {
	return decode("operation", v, func(r *bounded.Reader) {
		r.Raw(o.ID[:])
		o.Kind = r.String(task.MaxKind)
		o.Params = r.Bytes(task.MaxParams)
		o.Target = r.String(event.MaxName)
		o.Reason = r.String(event.MaxText)
		r.Array(16)
		for _, s := range []*string{&o.Actor.Issuer, &o.Actor.Subject, &o.Actor.Session, &o.Actor.Behalf, &o.Actor.Address} {
			*s = r.String(event.MaxName)
		}
		r.End()
		o.Event = r.Uint64()
		for _, t := range []*time.Time{&o.Accepted, &o.Requested, &o.NotBefore, &o.DeliverBy} {
			*t = instant(r.Int64())
		}
		o.RunTimeout = time.Duration(r.Uint(1<<63 - 1))
		o.Count = r.Uint32()
		o.Online = r.Uint32()
		r.Raw(o.RetryOf[:])
		o.Priority = uint8(r.Uint(1<<8 - 1))
		o.Durable = r.Bool()
		r.Array(event.MaxWaves)
		for r.More() {
			o.Pacing.Waves = append(o.Pacing.Waves, r.Uint32())
		}
		r.End()
		o.Pacing.Spread = time.Duration(r.Int64())
		o.Pacing.Rate = r.Uint32()
		o.Pacing.StopOnFailure = uint8(r.Uint(1<<8 - 1))
	})
}

func (o *Operation) progress() ([]byte, error) {
	v, err := bounded.Encode(nil, o.encodeProgress)
	if err != nil {
		return nil, fmt.Errorf("encode operation %s: %w", o.ID, err)
	}
	return v, nil
}

func (o *Operation) encodeProgress(w *bounded.Writer) {
	w.Array(8)
	w.Uint(rowVersion)
	w.Uint(o.Last)
	w.Uint(uint64(o.Unsent))
	w.Uint(uint64(o.Received))
	w.Array(len(task.States))
	for _, s := range task.States {
		w.Uint(uint64(o.States[s]))
	}
	w.Array(2 * len(o.ends))
	for _, e := range o.ends {
		w.Uint(e.event)
		w.Int(nanos(e.at))
	}
	w.Uint(uint64(o.Released))
	w.List(len(o.Waves), maxWaves)
	for i := range o.Waves {
		o.Waves[i].encode(w)
	}
}

func (v *Wave) encode(w *bounded.Writer) {
	w.Array(9)
	w.Uint(v.Event)
	w.Int(nanos(v.At))
	w.Int(int64(v.Spread))
	w.Bool(v.Last)
	for _, n := range []uint32{v.Count, v.Online, v.OnlineFinal, v.Final, v.Failed} {
		w.Uint(uint64(n))
	}
}

func (v *Wave) decode(r *bounded.Reader) {
	r.Array(16)
	v.Event = r.Uint64()
	v.At = instant(r.Int64())
	v.Spread = time.Duration(r.Int64())
	v.Last = r.Bool()
	for _, n := range []*uint32{&v.Count, &v.Online, &v.OnlineFinal, &v.Final, &v.Failed} {
		*n = r.Uint32()
	}
	r.End()
}

func (o *Operation) decodeProgress(v []byte) error {
	return decode("progress", v, func(r *bounded.Reader) {
		o.Last = r.Uint64()
		o.Unsent = r.Uint32()
		o.Received = r.Uint32()
		r.Array(len(task.States))
		for _, s := range task.States {
			o.States[s] = r.Uint32()
		}
		r.End()
		r.Array(2 * len(o.ends))
		for i := range o.ends {
			o.ends[i] = end{r.Uint64(), instant(r.Int64())}
		}
		r.End()
		o.Released = r.Uint32()
		r.Array(maxWaves)
		for r.More() {
			v := Wave{Number: uint32(len(o.Waves) + 1)}
			v.decode(r)
			o.Waves = append(o.Waves, v)
		}
		r.End()
		o.Expired, o.Cancelled = o.ends[expired].event != 0, o.ends[cancelled].event != 0
		o.Closed, o.Stopped = o.ends[closed].event != 0, o.ends[stopped].event != 0
	})
}

func (s *Stop) encode(w *bounded.Writer) {
	w.Array(9)
	w.Uint(rowVersion)
	w.String(s.Reason, event.MaxText)
	for _, n := range []uint32{s.Running, s.Ended, s.Spared, s.Wave, s.Failed, s.Final} {
		w.Uint(uint64(n))
	}
	w.Uint(uint64(s.Limit))
}

func decodeCut(v []byte) (s Stop, err error) {
	err = decode("end", v, func(r *bounded.Reader) {
		s.Reason = r.String(event.MaxText)
		for _, n := range []*uint32{&s.Running, &s.Ended, &s.Spared, &s.Wave, &s.Failed, &s.Final} {
			*n = r.Uint32()
		}
		s.Limit = uint8(r.Uint(1<<8 - 1))
	})
	return s, err
}

// encode writes the members of a wave.
func (m *members) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(rowVersion)
	writeBitmap(w, m.devices)
	writeBitmap(w, m.online)
}

func (m *members) decode(v []byte) error {
	return decode("wave", v, func(r *bounded.Reader) {
		m.devices, m.online = decodeBitmap(r), decodeBitmap(r)
	})
}

func writeBitmap(w *bounded.Writer, m *roaring.Bitmap) {
	b, err := m.ToBytes()
	if err != nil {
		w.Fail("bitmap: %v", err)
	}
	w.Bytes(b, event.MaxBitmap)
}

func decodeBitmap(r *bounded.Reader) *roaring.Bitmap {
	m := roaring.New()
	b := r.Bytes(event.MaxBitmap)
	if r.Err() != nil {
		return m
	}
	if err := readBitmap(m, b); err != nil {
		r.Fail("bitmap: %v", err)
	}
	return m
}

func (c *Cancel) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(rowVersion)
	w.Bytes(c.Signed, task.MaxCancel)
}

func decodeCancel(v []byte) (c Cancel, err error) {
	err = decode("cancel", v, func(r *bounded.Reader) { c.Signed = r.Bytes(task.MaxCancel) })
	return c, err
}

func (st *state) encodeTargets(w *bounded.Writer) {
	w.Array(4)
	w.Uint(rowVersion)
	w.Bytes(st.signed, maxTask)
	writeBitmap(w, st.targets)
	writeBitmap(w, st.offline)
}

func (st *state) decodeTargets(v []byte) error {
	return decode("targets", v, func(r *bounded.Reader) {
		st.signed = r.Bytes(maxTask)
		st.targets, st.offline = decodeBitmap(r), decodeBitmap(r)
	})
}

// row appends the row of d to b.
func (d *device) row(b []byte) ([]byte, error) {
	v, err := bounded.Encode(b, d.encode)
	if err != nil {
		return nil, fmt.Errorf("encode state of device %d: %w", d.Device, err)
	}
	return v, nil
}

func (d *device) encode(w *bounded.Writer) {
	w.Array(16)
	w.Uint(rowVersion)
	w.Uint(uint64(d.Device))
	w.Uint(uint64(d.State))
	w.Bool(d.WasOffline)
	w.Uint(uint64(d.Attempt))
	w.Int(int64(d.Code))
	w.String(d.Detail, task.MaxDetail)
	for _, t := range []time.Time{d.Sent, d.Delivered, d.Deferred, d.Started, d.Ended, d.Visible} {
		w.Int(nanos(t))
	}
	w.String(d.Deferral, task.MaxDetail)
	w.Uint(d.Event)
	w.Bool(d.received)
}

func decodeDevice(v []byte) (d device, err error) {
	err = decode("device", v, func(r *bounded.Reader) {
		d.Device = r.Uint32()
		d.State = task.State(r.Uint(uint64(task.Lost)))
		d.WasOffline = r.Bool()
		d.Attempt = uint8(r.Uint(1<<8 - 1))
		d.Code = int32(r.Int64())
		d.Detail = r.String(task.MaxDetail)
		for _, t := range []*time.Time{&d.Sent, &d.Delivered, &d.Deferred, &d.Started, &d.Ended, &d.Visible} {
			*t = instant(r.Int64())
		}
		d.Deferral = r.String(task.MaxDetail)
		d.Event = r.Uint64()
		d.received = r.Bool()
		if r.Err() == nil && !d.State.Valid() {
			r.Fail("state %d", d.State)
		}
	})
	if err != nil {
		return device{}, err
	}
	return d, nil
}

func (e *Entry) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(rowVersion)
	w.Uint(e.Event)
	w.Exact(string(e.Kind), event.MaxName)
	w.Int(nanos(e.Accepted))
}

func decodeEntry(v []byte) (e Entry, err error) {
	err = decode("history", v, func(r *bounded.Reader) {
		e.Event = r.Uint64()
		e.Kind = event.Kind(r.String(event.MaxName))
		e.Accepted = instant(r.Int64())
	})
	return e, err
}

func (i *Ignored) encode(w *bounded.Writer) {
	w.Array(5)
	w.Uint(rowVersion)
	for _, n := range []uint64{i.Operations, i.Reports, i.Devices, i.Late} {
		w.Uint(n)
	}
}

func decodeIgnored(v []byte) (i Ignored, err error) {
	err = decode("counts", v, func(r *bounded.Reader) {
		for _, n := range []*uint64{&i.Operations, &i.Reports, &i.Devices, &i.Late} {
			*n = r.Uint64()
		}
	})
	return i, err
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
