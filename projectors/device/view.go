package device

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

const (
	name   = "device"
	schema = 4 // since 3 with the newest certificate of each device, since 4 with imported and removed ones
)

// MaxFacts is the largest number of facts that are kept of one device; further
// names are left out.
const MaxFacts = 2048

// New returns the view for [projectors.Open] and its reader.
func New() (*projectors.View, *Reader) {
	v := &projectors.View{
		Name:   name,
		Schema: schema,
		Kinds: []event.Kind{event.KindDeviceJoined, event.KindDeviceDiscovered, event.KindDeviceBlocked, event.KindDeviceUnblocked,
			event.KindCertificateIssued, event.KindDevicesImported, event.KindDeviceRemoved},
		Fold: func() projectors.Fold { return &fold{allowed: roaring.New()} },
	}
	return v, &Reader{v}
}

// published is what readers get of the fold's memory.
type published struct {
	allowed *roaring.Bitmap
	count   uint64
}

type fold struct {
	allowed *roaring.Bitmap // devices that have joined and are not blocked
	count   uint64          // all devices that were not removed
	changed bool            // since the last Publish
	last    *published
}

func (f *fold) Load(s *projectors.Snapshot) error {
	f.changed = true
	return s.Scan([]byte{prefixDevice}, nil, func(key, value []byte) (bool, error) {
		d, err := decodeRow(value)
		if err != nil {
			return false, err
		}
		if !bytes.Equal(key, deviceKey(d.Number)) {
			return false, fmt.Errorf("row of device %d has key %x", d.Number, key)
		}
		if !d.Removed() {
			f.count++
		}
		if d.mayConnect() {
			f.allowed.Add(d.Number)
		}
		return true, nil
	})
}

func (f *fold) Publish() any {
	if f.changed {
		f.last = &published{f.allowed.Clone(), f.count}
		f.changed = false
	}
	return f.last
}

func (f *fold) Apply(b *projectors.Batch, e *event.Event) error {
	switch p := e.Payload.(type) {
	case *event.DeviceJoined:
		return f.joined(b, e, p)
	case *event.DeviceDiscovered:
		return f.discovered(b, e, p)
	case *event.DeviceBlocked:
		return f.block(b, e, p.Device, true, p.Reason)
	case *event.DeviceUnblocked:
		return f.block(b, e, p.Device, false, "")
	case *event.CertificateIssued:
		return f.issued(b, e, p)
	case *event.DevicesImported:
		for i := range p.Devices {
			if err := f.imported(b, e, &p.Devices[i]); err != nil {
				return err
			}
		}
	case *event.DeviceRemoved:
		return f.removed(b, e, p)
	}
	return nil
}

// row is a device as it is stored: its facts have rows of their own.
type row struct {
	Device
	facts uint32 // how many rows of facts there are
}

// load returns the row of a device and its bytes, nil if there is none.
func load(b *projectors.Batch, number uint32) (r row, raw []byte, err error) {
	_, err = b.Get(deviceKey(number), func(v []byte) (err error) {
		raw = bytes.Clone(v)
		r, err = decodeRow(v)
		return err
	})
	return r, raw, err
}

// joined takes a new device, or one that joins again under its number: who it is
// changes, what is known of it and whether it is blocked stays.
func (f *fold) joined(b *projectors.Batch, e *event.Event, p *event.DeviceJoined) error {
	if p.Device == 0 || p.Device > task.MaxDevice {
		return nil
	}
	r, raw, err := load(b, p.Device)
	if err != nil || r.Removed() {
		return err
	}
	if raw == nil {
		f.count++
	} else {
		b.Delete(nameKey(r.Name, r.Number))
		b.Delete(idKey(r.ID))
	}
	if !r.Blocked {
		f.allowed.Add(p.Device)
	}
	f.changed = true
	r.Number, r.ID, r.Name = p.Device, p.ID, p.Name
	r.OS, r.Arch, r.Agent, r.Token = p.OS, p.Arch, p.Agent, p.Token
	r.Joined, r.Event = e.Accepted, e.Number
	r.Expires, r.Issued, r.Certified, r.Serial = p.Expires, e.Accepted, e.Number, p.Serial
	b.Set(nameKey(r.Name, r.Number), nil)
	b.Set(idKey(r.ID), binary.BigEndian.AppendUint32(nil, r.Number))
	return store(b, raw, &r)
}

// issued takes a further certificate of a device; those of listeners are nobody's
// here.
func (f *fold) issued(b *projectors.Batch, e *event.Event, p *event.CertificateIssued) error {
	r, raw, err := load(b, p.Device)
	if err != nil || raw == nil || r.Removed() {
		return err
	}
	r.Expires, r.Issued, r.Certified, r.Serial, r.Event = p.Expires, e.Accepted, e.Number, p.Serial, e.Number
	return store(b, raw, &r)
}

func (f *fold) block(b *projectors.Batch, e *event.Event, number uint32, blocked bool, reason string) error {
	r, raw, err := load(b, number)
	if err != nil || raw == nil || r.Removed() {
		return err
	}
	r.Blocked, r.BlockReason, r.Event = blocked, reason, e.Number
	if r.mayConnect() {
		f.allowed.Add(number)
	} else {
		f.allowed.Remove(number)
	}
	f.changed = true
	return store(b, raw, &r)
}

// imported takes a record that was imported, or its new name.
func (f *fold) imported(b *projectors.Batch, e *event.Event, d *event.ImportedDevice) error {
	if d.Device == 0 || d.Device > task.MaxDevice {
		return nil
	}
	r, raw, err := load(b, d.Device)
	if err != nil || r.Removed() || raw == nil && !d.New {
		return err
	}
	if raw == nil {
		f.count++
		f.changed = true
		r.Number, r.ID, r.Imported = d.Device, d.ID, e.Accepted
		b.Set(idKey(r.ID), binary.BigEndian.AppendUint32(nil, r.Number))
	}
	if d.Name != "" && d.Name != r.Name || raw == nil {
		if raw != nil {
			b.Delete(nameKey(r.Name, r.Number))
		}
		r.Name = d.Name
		b.Set(nameKey(r.Name, r.Number), nil)
	}
	r.Event = e.Number
	return store(b, raw, &r)
}

// removed keeps what a device was; name and id lead to it no more.
func (f *fold) removed(b *projectors.Batch, e *event.Event, p *event.DeviceRemoved) error {
	r, raw, err := load(b, p.Device)
	if err != nil || raw == nil || r.Removed() {
		return err
	}
	f.count--
	f.allowed.Remove(p.Device)
	f.changed = true
	b.Delete(nameKey(r.Name, r.Number))
	b.Delete(idKey(r.ID))
	b.Set(goneKey(r.Number), nil)
	r.RemovedAt, r.RemoveReason, r.Event = e.Accepted, p.Reason, e.Number
	return store(b, raw, &r)
}

// discovered takes facts over. Those of an older inventory that comes late, in the
// file of another listener for instance, give way to what was seen since. One without
// a value says that there is no such thing any more; that is kept, for the same
// reason, and not shown.
func (f *fold) discovered(b *projectors.Batch, e *event.Event, p *event.DeviceDiscovered) error {
	r, raw, err := load(b, p.Device)
	if err != nil || raw == nil || r.Removed() {
		return err
	}
	seen := e.Observed
	if seen.IsZero() {
		seen = e.Accepted
	}
	for _, fact := range p.Facts {
		key := factKey(p.Device, fact.Name)
		var old []byte
		if _, err := b.Get(key, func(v []byte) error { old = append([]byte{}, v...); return nil }); err != nil {
			return err
		}
		switch {
		case old == nil && r.facts >= MaxFacts:
			continue
		case old == nil:
			r.facts++
		case len(old) >= factSeen && int64(binary.BigEndian.Uint64(old)) > seen.UnixNano():
			continue
		}
		b.Replace(key, old, append(binary.BigEndian.AppendUint64(nil, uint64(seen.UnixNano())), fact.Value...))
	}
	if seen.After(r.Discovered) {
		r.Discovered = seen
	}
	r.Event = e.Number
	return store(b, raw, &r)
}

// factSeen is how many bytes in front of a fact's value say when it was seen, in
// Unix nanoseconds, big endian.
const factSeen = 8

func store(b *projectors.Batch, old []byte, r *row) error {
	value, err := encodeRow(r)
	if err != nil {
		return err
	}
	b.Replace(deviceKey(r.Number), old, value)
	return nil
}

// Keys: a letter, then
//
//	d number              the device
//	f number name         one fact; when it was seen, then its value, nothing if it is gone
//	g number              the device was removed
//	i id                  the number of the device with this id
//	n name 0 number       a device of this name, in lower case
const (
	prefixDevice = 'd'
	prefixFact   = 'f'
	prefixGone   = 'g'
	prefixID     = 'i'
	prefixName   = 'n'
)

func deviceKey(number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixDevice}, number)
}

func factsKey(number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixFact}, number)
}

func factKey(number uint32, name string) []byte { return append(factsKey(number), name...) }

func goneKey(number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixGone}, number)
}

func idKey(id task.ID) []byte { return append([]byte{prefixID}, id[:]...) }

func namesKey(name string) []byte {
	k := append([]byte{prefixName}, strings.ToLower(name)...)
	return append(k, 0)
}

func nameKey(name string, number uint32) []byte {
	return binary.BigEndian.AppendUint32(namesKey(name), number)
}
