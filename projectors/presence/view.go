package presence

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

const (
	name   = "presence"
	schema = 4 // since 3 with the history of each device; since 4 a stop leaves who signed in after it
)

// New returns the view for [projectors.Open] and its reader.
func New() (*projectors.View, *Reader) {
	v := &projectors.View{
		Name:   name,
		Schema: schema,
		Kinds: []event.Kind{event.KindPresenceSnapshot, event.KindPresenceDelta, event.KindListenerGranted,
			event.KindListenerStarted, event.KindListenerStopped, event.KindListenerLost},
		Fold: func() projectors.Fold { return newFold() },
	}
	return v, &Reader{v}
}

// published is what readers get of the fold's memory.
type published struct {
	online    *roaring.Bitmap
	listeners map[string]Listener
	flapping  []Flap
}

type fold struct {
	devices   table
	listeners []*listener // by index, in the order of their first event
	byName    map[string]uint16
	online    *roaring.Bitmap
	flapping  *roaring.Bitmap
	flaps     []Flap // of flapping, for readers; nil if it is to be made anew
	changed   bool   // since the last Publish
	last      *published

	key     [5]byte // scratch
	old, to []byte
}

func newFold() *fold {
	return &fold{byName: make(map[string]uint16), online: roaring.New(), flapping: roaring.New()}
}

func (f *fold) Load(s *projectors.Snapshot) error {
	f.changed = true
	err := s.Scan([]byte{prefixListener}, nil, func(key, value []byte) (bool, error) {
		l, err := decodeListener(value)
		if err != nil {
			return false, err
		}
		if string(key[1:]) != l.Name {
			return false, fmt.Errorf("row of listener %s has key %x", l.Name, key)
		}
		l.stored = bytes.Clone(value)
		f.add(l)
		return true, nil
	})
	if err != nil {
		return err
	}
	err = s.Scan([]byte{prefixDevice}, nil, func(key, value []byte) (bool, error) { return true, f.loadDevice(s, key, value) })
	if err != nil {
		return err
	}
	for _, l := range f.listeners {
		if n := uint32(l.held.GetCardinality()); n != l.Online {
			return fmt.Errorf("listener %s holds %d devices, its row says %d", l.Name, n, l.Online)
		}
	}
	return nil
}

func (f *fold) loadDevice(s *projectors.Snapshot, key, value []byte) error {
	r, err := decodeRow(value)
	if err != nil {
		return err
	}
	i, known := f.byName[r.Listener]
	if !known || r.Device == 0 || r.Device > task.MaxDevice || !bytes.Equal(key, deviceKey(r.Device)) {
		return fmt.Errorf("row of device %d at listener %q has key %x", r.Device, r.Listener, key)
	}
	c := cell{since: r.Since.UnixMilli(), signedIn: r.SignedIn.UnixMilli(), event: r.Event, epoch: r.Epoch, listener: i, known: true,
		online: r.Online, reason: r.Reason, carrier: r.Carrier}
	if r.count > 0 {
		c.trail = &trail{count: r.count, recent: r.recent}
		if err := f.loadTrail(&r, c.trail); err != nil {
			return err
		}
		if c.burst, err = loadBurst(s, &r); err != nil {
			return err
		}
		if !c.concluded() && c.burst.flaps(c.since) {
			f.flapping.Add(r.Device)
		}
	}
	*f.devices.at(r.Device) = c
	if r.Online {
		f.online.Add(r.Device)
		f.listeners[i].held.Add(r.Device)
	}
	return nil
}

func (f *fold) loadTrail(r *stored, t *trail) error {
	changes, err := readChanges(r.recent)
	if err != nil || uint64(len(changes)) != r.count%chunk {
		return fmt.Errorf("row of device %d has %d of %d changes: %w", r.Device, len(changes), r.count, cmp.Or(err, errChanges))
	}
	if len(changes) == 0 {
		return nil
	}
	newest := changes[len(changes)-1]
	i, known := f.byName[newest.Listener]
	if !known {
		return fmt.Errorf("row of device %d names listener %q", r.Device, newest.Listener)
	}
	t.newest = former{newest.At.UnixMilli(), newest.Event, i}
	return nil
}

// MaxListeners is how many listeners the view keeps; what further ones say
// changes nothing.
const MaxListeners = 1 << 12

// add takes a listener into memory; nil if there are too many.
func (f *fold) add(l *listener) *listener {
	if len(f.listeners) == MaxListeners {
		return nil
	}
	l.index = uint16(len(f.listeners))
	l.held = roaring.New()
	f.listeners = append(f.listeners, l)
	f.byName[l.Name] = l.index
	return l
}

func (f *fold) Publish() any {
	if f.changed {
		p := &published{f.online.Clone(), make(map[string]Listener, len(f.listeners)), f.listFlaps()}
		for _, l := range f.listeners {
			p.listeners[l.Name] = l.Listener
		}
		f.last, f.changed = p, false
	}
	return f.last
}

func (f *fold) Apply(b *projectors.Batch, e *event.Event) error {
	switch p := e.Payload.(type) {
	case *event.PresenceSnapshot:
		return f.snapshot(b, e, p)
	case *event.PresenceDelta:
		return f.delta(b, e, p)
	case *event.ListenerGranted:
		return f.begin(b, p.Listener, p.Epoch)
	case *event.ListenerStarted:
		return f.begin(b, p.Listener, p.Epoch)
	case *event.ListenerStopped:
		return f.end(b, e, p.Listener, p.Epoch, event.ListenerStop)
	case *event.ListenerLost:
		return f.end(b, e, p.Listener, p.Epoch, event.ListenerIsLost)
	}
	return nil
}

// enter returns the listener if what it says in this epoch still counts; a later
// epoch ends the earlier one.
func (f *fold) enter(name string, epoch uint32) *listener {
	i, known := f.byName[name]
	if !known {
		return f.add(&listener{Listener: Listener{Name: name, Epoch: epoch}})
	}
	l := f.listeners[i]
	if epoch > l.Epoch {
		l.Epoch, l.Full, l.Last, l.part, l.open = epoch, 0, 0, 0, nil
	}
	return l
}

func (f *fold) begin(b *projectors.Batch, name string, epoch uint32) error {
	l := f.enter(name, epoch)
	if l == nil {
		return nil
	}
	return f.save(b, l)
}

// end takes all devices of a listener offline, but those that signed in after it
// stopped: files of different kinds come in any order, so it may have begun again.
func (f *fold) end(b *projectors.Batch, e *event.Event, name string, epoch uint32, why event.PresenceReason) error {
	l := f.enter(name, epoch)
	if l == nil || epoch < l.Epoch {
		return nil
	}
	devices := l.held.Clone()
	if why == event.ListenerStop && !e.Observed.IsZero() {
		for it := l.held.Iterator(); it.HasNext(); {
			if device := it.Next(); f.devices.at(device).since > e.Observed.UnixMilli() {
				devices.Remove(device)
			}
		}
	}
	if err := f.leave(b, e, l, devices, why); err != nil {
		return err
	}
	return f.save(b, l)
}

// leave sets devices that l holds offline, because the site concludes so.
func (f *fold) leave(b *projectors.Batch, e *event.Event, l *listener, devices *roaring.Bitmap, why event.PresenceReason) error {
	at := e.Observed
	if at.IsZero() {
		at = e.Accepted
	}
	for it := devices.Iterator(); it.HasNext(); {
		device := it.Next()
		c := f.devices.at(device)
		to := *c
		to.online, to.reason, to.since, to.event, to.epoch = false, why, at.UnixMilli(), e.Number, l.Epoch
		if err := f.set(b, device, c, to); err != nil {
			return err
		}
	}
	return nil
}

// set writes one device and keeps the counts.
func (f *fold) set(b *projectors.Batch, device uint32, c *cell, to cell) error {
	if c.online && (!to.online || c.listener != to.listener) {
		l := f.listeners[c.listener]
		l.held.Remove(device)
		l.Online--
		l.dirty = true
	}
	if to.online && (!c.online || c.listener != to.listener) {
		l := f.listeners[to.listener]
		l.held.Add(device)
		l.Online++
		l.dirty = true
	}
	if to.online != c.online {
		if to.online {
			f.online.Add(device)
		} else {
			f.online.Remove(device)
		}
	}
	f.changed = true
	var old []byte
	var err error
	if c.known {
		f.old, err = f.encode(f.old[:0], device, c)
		old = f.old
	}
	if err == nil {
		err = f.remember(b, device, c, &to)
	}
	if err == nil {
		f.to, err = f.encode(f.to[:0], device, &to)
	}
	if err != nil {
		return err
	}
	f.key[0] = prefixDevice
	binary.BigEndian.PutUint32(f.key[1:], device)
	b.Replace(f.key[:], old, f.to)
	*c = to
	return nil
}

// save writes the listener under way, and those that lost a device to it.
func (f *fold) save(b *projectors.Batch, l *listener) error {
	l.dirty = true
	for _, l := range f.listeners {
		if !l.dirty {
			continue
		}
		l.dirty = false
		value, err := encodeListener(l)
		if err != nil {
			return err
		}
		b.Replace(listenerKey(l.Name), l.stored, value)
		l.stored = value
	}
	f.changed = true
	return nil
}

// Keys: a letter, then
//
//	d number         the device
//	h number slot    changes of the device, a chunk of them
//	l name           the listener
const (
	prefixDevice   = 'd'
	prefixHistory  = 'h'
	prefixListener = 'l'
)

func deviceKey(number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixDevice}, number)
}

func listenerKey(name string) []byte { return append([]byte{prefixListener}, name...) }

// A cell is a device in memory.
type cell struct {
	since    int64 // Unix milliseconds
	signedIn int64 // when the session began that this is about; 0 if nobody said it
	event    uint64
	epoch    uint32
	listener uint16 // index of who holds it, or held it last
	known    bool
	online   bool
	reason   event.PresenceReason
	carrier  event.Carrier
	*trail   // how it came about; nil until it was something else
}

// concluded tells whether the site, and no listener, said that it is offline.
func (c *cell) concluded() bool { return concluded(c.reason) }

func concluded(r event.PresenceReason) bool {
	return r == event.ListenerIsLost || r == event.ListenerStop || r == event.NotInSnapshot
}

// A table has a cell for every device number up to [task.MaxDevice], in pieces
// that are made when they are first used.
type table struct{ pieces [][]cell }

const piece = 1 << 10

func (t *table) at(device uint32) *cell {
	i := int(device / piece)
	if i >= len(t.pieces) {
		t.pieces = slices.Grow(t.pieces, i+1-len(t.pieces))[:i+1]
	}
	if t.pieces[i] == nil {
		t.pieces[i] = make([]cell, piece)
	}
	return &t.pieces[i][device%piece]
}
