package operation

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

// maxWaves is the largest number of waves of an operation, with the last one.
const maxWaves = event.MaxWaves + 1

// Members are a wave and who is in it. Nobody changes the sets.
type Members struct {
	Wave
	Devices *roaring.Bitmap
}

// A Paced is an open operation that goes out by waves. Nobody changes its sets.
type Paced struct {
	Operation
	Targets *roaring.Bitmap
	Out     *roaring.Bitmap // those in a wave that was released
	Final   *roaring.Bitmap // targets that have reported finally
}

// A Cancel is what agents may have to be told of an operation that was cancelled
// or stopped.
type Cancel struct {
	ID     task.ID
	Signed []byte    // a [task.Cancel]
	Until  time.Time // deliver-by: no agent begins the task after that anyway
}

// members are the sets of a wave as they are stored; neither is ever changed.
type members struct {
	devices *roaring.Bitmap
	online  *roaring.Bitmap // at the release
}

func (st *state) opened() Open {
	o := Open{ID: st.op.ID, Event: st.op.Event, Signed: st.signed, Targets: st.targets, Final: st.frozen,
		Priority: st.op.Priority, Durable: st.op.Durable, DeliverBy: st.op.DeliverBy, Held: st.op.Paced(), Released: st.targets}
	if o.Held {
		o.Released = st.out
	}
	for i := range st.waves {
		o.Waves = append(o.Waves, Members{st.op.Waves[i], st.waves[i].devices})
	}
	return o
}

func (st *state) paced() Paced {
	p := Paced{Operation: st.op, Targets: st.targets, Out: st.out, Final: st.frozen}
	p.Waves = append([]Wave(nil), st.op.Waves...)
	return p
}

// loadWaves reads who is in the waves that the operation's progress counts.
func (st *state) loadWaves(get get) error {
	st.waves, st.out = make([]members, len(st.op.Waves)), roaring.New()
	for i := range st.waves {
		ok, err := get(waveKey(st.op.ID, uint32(i+1)), st.waves[i].decode)
		if err == nil && !ok {
			err = fmt.Errorf("operation %s has no wave %d", st.op.ID, i+1)
		}
		if err != nil {
			return err
		}
		st.out.Or(st.waves[i].devices)
	}
	return nil
}

// released takes the next wave. Devices that are no targets or were released
// before are left out; a wave that is known, or of an operation that has ended,
// changes nothing.
func (f *fold) released(b *projectors.Batch, e *event.Event, p *event.OperationReleased) error {
	st, err := f.find(b, p.Operation)
	if err != nil {
		return err
	}
	m := members{roaring.New(), roaring.New()}
	if readBitmap(m.devices, p.Devices) != nil || len(p.Online) > 0 && readBitmap(m.online, p.Online) != nil || st == nil {
		f.ignored.Operations++
		return nil
	}
	o := &st.op
	if !o.Paced() || !o.Open() || int(p.Wave) != len(o.Waves)+1 || len(o.Waves) == maxWaves {
		return nil
	}
	m.devices.And(st.targets)
	m.devices.AndNot(st.out)
	m.online.And(m.devices)
	w := Wave{Number: p.Wave, Event: e.Number, At: e.Accepted, Spread: p.Spread, Last: p.Last,
		Count: uint32(m.devices.GetCardinality()), Online: uint32(m.online.GetCardinality()),
		Final: uint32(m.devices.AndCardinality(st.final)), OnlineFinal: uint32(m.online.AndCardinality(st.final))}
	o.Waves, st.waves = append(o.Waves, w), append(st.waves, m)
	st.out = roaring.Or(st.out, m.devices)
	o.Released, o.Last = uint32(st.out.GetCardinality()), e.Number
	f.touch(st, e)
	return set(b, waveKey(o.ID, p.Wave), m.encode)
}

// count takes a report into the counts of the device's wave.
func (st *state) count(r *task.Result) {
	if !r.State.Final() {
		return
	}
	for i := range st.waves {
		if !st.waves[i].devices.Contains(r.Device) {
			continue
		}
		w := &st.op.Waves[i]
		w.Final++
		if st.waves[i].online.Contains(r.Device) {
			w.OnlineFinal++
		}
		if r.State == task.Failed || r.State == task.TimedOut {
			w.Failed++
		}
		return
	}
}

// cancel keeps what agents are told of an operation that has ended, and drops what
// no agent needs any more.
func (f *fold) cancel(b *projectors.Batch, e *event.Event, o *Operation, signed []byte) error {
	for id, c := range f.cancels {
		if c.Until.Before(e.Accepted) {
			b.Delete(cancelKey(&c))
			delete(f.cancels, id)
		}
	}
	if _, told := f.cancels[o.ID]; told || len(signed) == 0 || len(signed) > task.MaxCancel || o.DeliverBy.Before(e.Accepted) {
		return nil
	}
	c := Cancel{o.ID, signed, o.DeliverBy}
	f.cancels[o.ID] = c
	return set(b, cancelKey(&c), c.encode)
}

func (f *fold) loadCancels(s *projectors.Snapshot) error {
	return s.Scan([]byte{prefixCancel}, nil, func(key, value []byte) (bool, error) {
		if len(key) != 1+8+len(task.ID{}) {
			return false, fmt.Errorf("cancel has key %x", key)
		}
		c, err := decodeCancel(value)
		c.ID, c.Until = task.ID(key[9:]), instant(int64(binary.BigEndian.Uint64(key[1:])))
		f.cancels[c.ID] = c
		return err == nil, err
	})
}

func waveKey(id task.ID, number uint32) []byte {
	return binary.BigEndian.AppendUint32(idKey(prefixWave, id), number)
}

func cutKey(id task.ID, which int) []byte { return append(idKey(prefixCut, id), byte(which)) }

func cancelKey(c *Cancel) []byte {
	key := binary.BigEndian.AppendUint64([]byte{prefixCancel}, uint64(max(nanos(c.Until), 0)))
	return append(key, c.ID[:]...)
}
