package operation

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

const (
	name   = "operation"
	schema = 2
)

// New returns the view for [projectors.Open] and its reader.
func New() (*projectors.View, *Reader) {
	v := &projectors.View{
		Name:   name,
		Schema: schema,
		Kinds: []event.Kind{event.KindOperationRequest, event.KindOperationCancel, event.KindOperationExpired,
			event.KindOperationClosed, event.KindOperationReleased, event.KindOperationStopped, event.KindResultsReported},
		Fold: func() projectors.Fold {
			return &fold{live: make(map[task.ID]*state), cancels: make(map[task.ID]Cancel)}
		},
	}
	return v, &Reader{v}
}

// A state is an operation in memory.
type state struct {
	op      Operation
	signed  task.Signed
	targets *roaring.Bitmap   // never changed
	offline *roaring.Bitmap   // never changed
	begun   *roaring.Bitmap   // targets with a row, nil if it is not known which
	final   *roaring.Bitmap   // targets with a final report, while the operation is open
	frozen  *roaring.Bitmap   // a copy of final for readers, nil when final has changed
	rows    map[uint32][]byte // of begun, those that are not final, as far as there is room
	waves   []members         // who is in the waves of op
	out     *roaring.Bitmap   // all of waves; never changed, but replaced
	stored  []byte            // its progress as it was written last
	touched uint64            // the last event that changed it
}

// published is what readers get of the fold's memory.
type published struct {
	open    []Open
	paced   []Paced
	cancels []Cancel
	ignored Ignored
}

type fold struct {
	live    map[task.ID]*state // that are not closed and not done
	cancels map[task.ID]Cancel // that agents may have to be told still
	ignored Ignored
	kept    int      // rows of all that are live
	touched []*state // by the event under way
	changed bool     // since the last Publish
	last    *published
	key     [21]byte // scratch, as what follows
	old     []byte
	row     []byte
}

func (f *fold) Load(s *projectors.Snapshot) error {
	f.changed = true
	_, err := s.Get([]byte{prefixIgnored}, func(v []byte) (err error) {
		f.ignored, err = decodeIgnored(v)
		return err
	})
	if err != nil {
		return err
	}
	if err := f.loadCancels(s); err != nil {
		return err
	}
	return s.Scan([]byte{prefixProgress}, nil, func(key, _ []byte) (bool, error) {
		if len(key) != 1+len(task.ID{}) {
			return false, fmt.Errorf("operation has key %x", key)
		}
		st, err := load(s.Get, task.ID(key[1:]))
		if err != nil || st == nil || st.op.Closed || st.op.Done() {
			return err == nil, err
		}
		f.live[st.op.ID] = st
		if err := st.loadWaves(s.Get); err != nil {
			return false, err
		}
		return true, st.loadRows(s)
	})
}

// loadRows finds out which targets have a row, and which of them are final.
func (st *state) loadRows(s *projectors.Snapshot) error {
	st.begun = roaring.New()
	return s.Scan(devicesKey(st.op.ID), nil, func(key, value []byte) (bool, error) {
		d, err := decodeDevice(value)
		if err != nil {
			return false, err
		}
		if !bytes.Equal(key, deviceKey(st.op.ID, d.Device)) || !st.targets.Contains(d.Device) {
			return false, fmt.Errorf("row of device %d has key %x", d.Device, key)
		}
		st.begun.Add(d.Device)
		if d.State.Final() {
			st.final.Add(d.Device)
		}
		return true, nil
	})
}

func (f *fold) Publish() any {
	if !f.changed {
		return f.last
	}
	p := &published{ignored: f.ignored}
	for _, st := range f.live {
		if !st.op.Open() {
			continue
		}
		if st.frozen == nil {
			st.frozen = st.final.Clone()
		}
		p.open = append(p.open, st.opened())
		if st.op.Paced() {
			p.paced = append(p.paced, st.paced())
		}
	}
	slices.SortFunc(p.open, func(a, b Open) int { return cmp.Compare(a.Event, b.Event) })
	slices.SortFunc(p.paced, func(a, b Paced) int { return cmp.Compare(a.Event, b.Event) })
	p.cancels = slices.SortedFunc(maps.Values(f.cancels), func(a, b Cancel) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	f.last, f.changed = p, false
	return p
}

func (f *fold) Apply(b *projectors.Batch, e *event.Event) error {
	var err error
	before := f.ignored
	switch p := e.Payload.(type) {
	case *event.OperationRequested:
		err = f.requested(b, e, p)
	case *event.OperationReleased:
		err = f.released(b, e, p)
	case *event.OperationCancelled:
		err = f.said(b, e, p.Operation, cancelled, Stop{Cut: Cut{Reason: p.Reason}}, p.Cancel)
	case *event.OperationStopped:
		err = f.said(b, e, p.Operation, stopped,
			Stop{Cut: Cut{Reason: p.Reason}, Wave: p.Wave, Failed: p.Failed, Final: p.Final, Limit: p.Limit}, p.Cancel)
	case *event.OperationExpired:
		err = f.said(b, e, p.Operation, expired, Stop{}, nil)
	case *event.OperationClosed:
		err = f.said(b, e, p.Operation, closed, Stop{}, nil)
	case *event.ResultsReported:
		err = f.reported(b, e, p)
	}
	if err == nil {
		err = f.save(b, e)
	}
	if err == nil && f.ignored != before {
		f.changed = true
		err = set(b, []byte{prefixIgnored}, f.ignored.encode)
	}
	return err
}

// find returns an operation, nil if nobody requested it.
func (f *fold) find(b *projectors.Batch, id task.ID) (*state, error) {
	if st := f.live[id]; st != nil {
		return st, nil
	}
	for _, st := range f.touched {
		if st.op.ID == id {
			return st, nil
		}
	}
	st, err := load(b.Get, id)
	if err != nil || st == nil {
		return nil, err
	}
	return st, st.loadWaves(b.Get)
}

// touch takes note that the event under way changed st.
func (f *fold) touch(st *state, e *event.Event) {
	if st.touched != e.Number {
		st.touched = e.Number
		f.touched = append(f.touched, st)
	}
}

func (f *fold) requested(b *projectors.Batch, e *event.Event, p *event.OperationRequested) error {
	t, err := p.Task.Task()
	targets, offline := roaring.New(), roaring.New()
	if err == nil {
		err = readBitmap(targets, p.Targets)
	}
	if err == nil && len(p.Offline) > 0 {
		err = readBitmap(offline, p.Offline)
	}
	if err != nil || targets.IsEmpty() || targets.Minimum() == 0 || targets.Maximum() > task.MaxDevice {
		f.ignored.Operations++
		return nil
	}
	if known, err := f.find(b, t.Operation); err != nil || known != nil {
		f.ignored.Operations++
		return err
	}
	n := uint32(targets.GetCardinality())
	st := &state{signed: p.Task, targets: targets, offline: offline, begun: roaring.New(), final: roaring.New(), out: roaring.New()}
	st.op = Operation{ID: t.Operation, Kind: t.Kind, Params: t.Params, Target: p.Target, Reason: p.Reason, Actor: e.Actor,
		Event: e.Number, Accepted: e.Accepted, Requested: t.Requested, NotBefore: t.NotBefore, DeliverBy: t.DeliverBy,
		RunTimeout: t.RunTimeout, Count: n, Online: p.Online, Unsent: n, RetryOf: p.RetryOf, Last: e.Number,
		Priority: p.Priority, Durable: p.Durable, Pacing: p.Pacing}
	if st.op.Priority < 1 || st.op.Priority > 3 {
		st.op.Priority = 2
	}
	if !st.op.Paced() {
		st.op.Released = n
	}
	st.op.States[task.Waiting] = n
	f.live[st.op.ID] = st
	f.touch(st, e)
	if err := set(b, idKey(prefixFixed, st.op.ID), st.op.encodeFixed); err != nil {
		return err
	}
	return set(b, idKey(prefixTargets, st.op.ID), st.encodeTargets)
}

func readBitmap(m *roaring.Bitmap, b []byte) error {
	if err := m.UnmarshalBinary(b); err != nil {
		return err
	}
	return m.Validate()
}

// said applies what the site or an administrator said of all targets at once. Of
// a cancel and a stop it keeps why, and what agents are told.
func (f *fold) said(b *projectors.Batch, e *event.Event, id task.ID, which int, why Stop, signed []byte) error {
	st, err := f.find(b, id)
	switch {
	case err != nil:
		return err
	case st == nil:
		f.ignored.Operations++
		return nil
	case !st.op.say(which, e):
		return nil
	}
	f.touch(st, e)
	if which != cancelled && which != stopped {
		return nil
	}
	cut := &st.op.Cancel
	if which == stopped {
		cut = &st.op.Stop.Cut
		st.op.Stop.Wave, st.op.Stop.Failed, st.op.Stop.Final, st.op.Stop.Limit = why.Wave, why.Failed, why.Final, why.Limit
	}
	cut.Reason, why.Cut = why.Reason, *cut
	why.Reason = cut.Reason
	if err := set(b, cutKey(id, which), why.encode); err != nil {
		return err
	}
	return f.cancel(b, e, &st.op, signed)
}

func (f *fold) reported(b *projectors.Batch, e *event.Event, p *event.ResultsReported) error {
	var st *state
	var of task.ID
	for i := range p.Rows {
		r := &p.Rows[i].Result
		if i == 0 || r.Operation != of {
			var err error
			if st, err = f.find(b, r.Operation); err != nil {
				return err
			}
			of = r.Operation
		}
		switch {
		case st == nil:
			f.ignored.Reports++
		case !st.targets.Contains(r.Device):
			f.ignored.Devices++
		default:
			if err := f.report(b, e, st, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fold) report(b *projectors.Batch, e *event.Event, st *state, r *task.Result) error {
	key := appendDeviceKey(f.key[:0], st.op.ID, r.Device)
	d := st.begin(r.Device)
	var old []byte
	if st.begun == nil || st.begun.Contains(r.Device) {
		var err error
		if old, err = f.rowOf(b, st, r.Device, key); err == nil && old != nil {
			d, err = decodeDevice(old)
		}
		if err != nil {
			return err
		}
	}
	st.op.settle(&d.DeviceState)
	if !st.op.move(&d, r, old == nil, e) {
		f.ignored.Late++
		return nil
	}
	st.count(r)
	var err error
	if f.row, err = d.row(f.row[:0]); err != nil {
		return err
	}
	b.Replace(key, old, f.row)
	if st.begun != nil {
		st.begun.Add(r.Device)
	}
	f.keep(st, &d)
	if d.State.Final() {
		st.final.Add(r.Device)
		st.frozen = nil
	}
	f.touch(st, e)
	return nil
}

// keptRows is how many rows are kept in memory: those that an answer is going to
// change. Each takes some 150 bytes.
const keptRows = 1 << 16

// rowOf reads the row of a device, nil if there is none; it is good until the next
// report.
func (f *fold) rowOf(b *projectors.Batch, st *state, device uint32, key []byte) (row []byte, err error) {
	if row = st.rows[device]; row != nil {
		return row, nil
	}
	_, err = b.Get(key, func(v []byte) error {
		f.old = append(f.old[:0], v...)
		row = f.old
		return nil
	})
	return row, err
}

// keep keeps the row that was just written if another report may follow.
func (f *fold) keep(st *state, d *device) {
	row, known := st.rows[d.Device]
	switch {
	case d.State.Final() && known:
		delete(st.rows, d.Device)
		f.kept--
	case d.State.Final():
	case known:
		st.rows[d.Device] = append(row[:0], f.row...)
	case f.kept < keptRows:
		if st.rows == nil {
			st.rows = make(map[uint32][]byte)
		}
		st.rows[d.Device] = bytes.Clone(f.row)
		f.kept++
	}
}

// leave takes an operation out of those that are live.
func (f *fold) leave(st *state) {
	delete(f.live, st.op.ID)
	f.kept -= len(st.rows)
	st.rows = nil
}

// begin is a target of which nothing was reported.
func (st *state) begin(number uint32) device {
	return device{DeviceState: DeviceState{Device: number, State: task.Waiting, WasOffline: st.offline.Contains(number),
		Event: st.op.Event, Visible: st.op.Accepted}}
}

// save writes the operations that the event under way changed.
func (f *fold) save(b *projectors.Batch, e *event.Event) error {
	for _, st := range f.touched {
		f.changed = true
		if st.op.Closed || st.op.Done() {
			f.leave(st)
		} else {
			f.live[st.op.ID] = st
		}
		value, err := st.op.progress()
		if err != nil {
			return err
		}
		b.Replace(idKey(prefixProgress, st.op.ID), st.stored, value)
		st.stored = value
		if err := set(b, historyKey(st.op.ID, e.Number), (&Entry{e.Number, e.Kind(), e.Accepted}).encode); err != nil {
			return err
		}
		st.index(b)
	}
	f.touched = f.touched[:0]
	return nil
}

// index keeps the operation among those that are due, as long as the site's
// clock has something to say of it.
func (st *state) index(b *projectors.Batch) {
	o := &st.op
	put := func(key []byte, there bool) {
		if there {
			b.Set(key, []byte{1})
		} else {
			b.Delete(key)
		}
	}
	put(dueKey(o.DeliverBy, 0, expired, o.ID), o.Open())
	put(dueKey(o.DeliverBy, o.RunTimeout, closed, o.ID), !o.Closed && !o.Done())
}

// Keys: a letter, then
//
//	s id            what the request fixed
//	t id            the signed task and the sets of devices
//	o id            how far it has come
//	d id device     the last report of a device
//	w id wave       who is in a wave
//	e id end        what a cancel or a stop found
//	c until id      a signed cancel that agents may have to be told until then
//	h id event      an event that changed the operation
//	x time end id   the time from which the site is to say that end
//	g               the counts of what was ignored
const (
	prefixFixed    = 's'
	prefixTargets  = 't'
	prefixProgress = 'o'
	prefixDevice   = 'd'
	prefixWave     = 'w'
	prefixCut      = 'e'
	prefixCancel   = 'c'
	prefixHistory  = 'h'
	prefixDue      = 'x'
	prefixIgnored  = 'g'
)

func idKey(prefix byte, id task.ID) []byte { return append([]byte{prefix}, id[:]...) }

func devicesKey(id task.ID) []byte { return idKey(prefixDevice, id) }

func deviceKey(id task.ID, number uint32) []byte { return appendDeviceKey(nil, id, number) }

func appendDeviceKey(key []byte, id task.ID, number uint32) []byte {
	key = append(append(key, prefixDevice), id[:]...)
	return binary.BigEndian.AppendUint32(key, number)
}

func historyKey(id task.ID, number uint64) []byte {
	return binary.BigEndian.AppendUint64(idKey(prefixHistory, id), number)
}

// dueKey orders by time. An operation is closed [Grace] after its run timeout.
func dueKey(deliverBy time.Time, timeout time.Duration, which int, id task.ID) []byte {
	at := max(nanos(deliverBy), 0)
	if which == closed {
		for _, d := range []time.Duration{timeout, Grace} {
			if at += int64(d); at < 0 {
				at = math.MaxInt64
			}
		}
	}
	key := binary.BigEndian.AppendUint64([]byte{prefixDue}, uint64(at))
	return append(append(key, byte(which)), id[:]...)
}
