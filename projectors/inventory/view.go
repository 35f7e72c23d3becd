package inventory

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

const (
	name       = "inventory"
	rowsSchema = 1
)

// New returns the view for [projectors.Open] and its reader. standard is the table
// of classes that administrators may extend. Places of its properties are in the
// rows: with another table the view is folded anew.
func New(standard *schema.Schema) (*projectors.View, *Reader) {
	v := &projectors.View{
		Name:   name,
		Schema: rowsSchema + fingerprint(standard)<<8,
		Kinds: []event.Kind{event.KindDeviceJoined, event.KindDeviceDiscovered, event.KindDevicesImported, event.KindDeviceRemoved,
			event.KindClassesDefined},
		Fold: func() projectors.Fold { return newFold(standard) },
	}
	return v, &Reader{v}
}

// published is what readers get of the fold's memory.
type published struct {
	live   *roaring.Bitmap
	schema *schema.Schema
}

type fold struct {
	schema  *schema.Schema
	live    *roaring.Bitmap
	gone    *roaring.Bitmap // devices that were removed, for ever
	changed bool            // since the last Publish
	last    *published
}

func newFold(standard *schema.Schema) *fold {
	return &fold{schema: standard, live: roaring.New(), gone: roaring.New(), changed: true}
}

func (f *fold) Load(s *projectors.Snapshot) error {
	f.changed = true
	if err := s.Scan([]byte{prefixDefined}, nil, f.loadDefined); err != nil {
		return err
	}
	return s.Scan([]byte{prefixDevice}, nil, func(key, value []byte) (bool, error) {
		d, err := decodeDevice(value)
		if err != nil || len(key) != 5 {
			return false, fmt.Errorf("device of key %x: %w", key, err)
		}
		if number := binary.BigEndian.Uint32(key[1:]); d.gone {
			f.gone.Add(number)
		} else {
			f.live.Add(number)
		}
		return true, nil
	})
}

func (f *fold) Publish() any {
	if f.changed {
		f.last = &published{f.live.Clone(), f.schema}
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
	case *event.DevicesImported:
		return f.imported(b, e, p)
	case *event.DeviceRemoved:
		return f.removed(b, p.Device)
	case *event.ClassesDefined:
		return f.defined(b, e, p)
	}
	return nil
}

// add takes a device into the view, unless it was removed or is no device.
func (f *fold) add(b *projectors.Batch, number uint32) (bool, error) {
	if number == 0 || number > task.MaxDevice || f.gone.Contains(number) {
		return false, nil
	}
	if !f.live.CheckedAdd(number) {
		return true, nil
	}
	f.changed = true
	return true, replaceDevice(b, number, nil, &deviceRow{})
}

// removed forgets all of a device but that it was.
func (f *fold) removed(b *projectors.Batch, number uint32) error {
	if !f.live.Contains(number) {
		return nil
	}
	d, old, err := loadDevice(b, number)
	if err != nil {
		return err
	}
	for _, class := range d.classes {
		b.Delete(tableKey(number, class))
	}
	f.live.Remove(number)
	f.gone.Add(number)
	f.changed = true
	return replaceDevice(b, number, old, &deviceRow{gone: true})
}

// A session is the tables of one device that one event changes.
type session struct {
	fold   *fold
	batch  *projectors.Batch
	device uint32
	stamp  stamp
	open   map[string]*opened // by the name of the class in lower case
}

type opened struct {
	*table
	old []byte
}

func (f *fold) session(b *projectors.Batch, device uint32, s stamp) *session {
	return &session{f, b, device, s, map[string]*opened{}}
}

// table returns the table of a class, an empty one if there is none.
func (s *session) table(class string) (*table, error) {
	key := strings.ToLower(class)
	if o := s.open[key]; o != nil {
		return o.table, nil
	}
	o := &opened{}
	known, _ := s.fold.schema.Class(class)
	_, err := s.batch.Get(tableKey(s.device, key), func(v []byte) (err error) {
		o.old = bytes.Clone(v)
		o.table, err = decodeTable(known, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	if o.table == nil {
		o.table = &table{class: known}
		if known == nil {
			o.name = class
		}
	}
	s.open[key] = o
	return o.table, nil
}

// put sets a property of the only row of a class.
func (s *session) put(class, property string, v event.Value) error {
	t, err := s.table(class)
	if err == nil {
		t.put(t.single(), property, v, s.stamp)
	}
	return err
}

// close writes the tables.
func (s *session) close() error {
	var made []string
	for _, class := range slices.Sorted(maps.Keys(s.open)) {
		o := s.open[class]
		if o.old == nil && len(o.rows) == 0 && len(o.lists) == 0 {
			continue
		}
		value, err := o.encode()
		if err != nil {
			return err
		}
		if o.old == nil {
			made = append(made, class)
		}
		s.batch.Replace(tableKey(s.device, class), o.old, value)
	}
	if len(made) == 0 {
		return nil
	}
	d, old, err := loadDevice(s.batch, s.device)
	if err != nil {
		return err
	}
	d.classes = append(d.classes, made...)
	return replaceDevice(s.batch, s.device, old, &d)
}
