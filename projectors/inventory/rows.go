package inventory

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// The beginnings of keys; FORMAT in doc.go has all of them.
const (
	prefixTable   = 'c'
	prefixDevice  = 'd'
	prefixDefined = 's'
)

func tablesKey(device uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixTable}, device)
}

func tableKey(device uint32, class string) []byte { return append(tablesKey(device), class...) }

func deviceKey(device uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixDevice}, device)
}

func definedKey(number uint64, place int) []byte {
	k := binary.BigEndian.AppendUint64([]byte{prefixDefined}, number)
	return append(k, byte(place))
}

// A deviceRow says that there is or was a device, and which tables it has.
type deviceRow struct {
	gone    bool
	classes []string // in lower case
}

// maxDeviceClasses is how many classes a device can have values of.
const maxDeviceClasses = 1024

func loadDevice(b *projectors.Batch, number uint32) (d deviceRow, raw []byte, err error) {
	_, err = b.Get(deviceKey(number), func(v []byte) (err error) {
		raw = bytes.Clone(v)
		d, err = decodeDevice(v)
		return err
	})
	return d, raw, err
}

func replaceDevice(b *projectors.Batch, number uint32, old []byte, d *deviceRow) error {
	value, err := encodeDevice(d)
	if err == nil {
		b.Replace(deviceKey(number), old, value)
	}
	return err
}

func encodeDevice(d *deviceRow) ([]byte, error) {
	value, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.List(2+len(d.classes), 2+maxDeviceClasses)
		w.Uint(1)
		w.Bool(d.gone)
		for _, c := range d.classes {
			w.Exact(c, event.MaxName)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("encode device of the inventory: %w", err)
	}
	return value, nil
}

func decodeDevice(value []byte) (d deviceRow, err error) {
	err = bounded.Decode(value, tableLimits, func(r *bounded.Reader) error {
		r.Version(1)
		d.gone = r.Bool()
		for r.More() && len(d.classes) < maxDeviceClasses {
			d.classes = append(d.classes, r.String(event.MaxName))
		}
		r.End()
		return nil
	})
	if err != nil {
		return deviceRow{}, fmt.Errorf("decode device of the inventory: %w", err)
	}
	return d, nil
}

// defined takes classes over, each for itself: what cannot be added to the schema is
// left out.
func (f *fold) defined(b *projectors.Batch, e *event.Event, p *event.ClassesDefined) error {
	for i := range p.Classes {
		next, err := f.schema.Extend([]schema.Class{classOf(&p.Classes[i])})
		if err != nil {
			continue
		}
		value, err := encodeDefined(&p.Classes[i])
		if err != nil {
			return err
		}
		f.schema, f.changed = next, true
		b.Set(definedKey(e.Number, i), value)
	}
	return nil
}

func (f *fold) loadDefined(key, value []byte) (bool, error) {
	c, err := decodeDefined(value)
	if err != nil {
		return false, err
	}
	next, err := f.schema.Extend([]schema.Class{classOf(&c)})
	if err != nil {
		return false, fmt.Errorf("class of key %x: %w", key, err)
	}
	f.schema = next
	return true, nil
}

func classOf(c *event.DefinedClass) schema.Class {
	class := schema.Class{Name: c.Name}
	for _, p := range c.Properties {
		class.Properties = append(class.Properties, schema.Property{Name: p.Name, Type: typeOf(p.Type), List: p.List, Key: p.Key})
	}
	return class
}

func typeOf(t event.PropertyType) schema.Type {
	switch t {
	case event.NumberProperty:
		return schema.Number
	case event.DateProperty:
		return schema.Date
	case event.BoolProperty:
		return schema.Bool
	}
	return schema.Text
}

func encodeDefined(c *event.DefinedClass) ([]byte, error) {
	value, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.List(2+4*len(c.Properties), 2+4*event.MaxProperties)
		w.Uint(1)
		w.Exact(c.Name, event.MaxName)
		for _, p := range c.Properties {
			w.Exact(p.Name, event.MaxName)
			w.Uint(uint64(p.Type))
			w.Bool(p.List)
			w.Bool(p.Key)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("encode class %q: %w", c.Name, err)
	}
	return value, nil
}

func decodeDefined(value []byte) (c event.DefinedClass, err error) {
	err = bounded.Decode(value, tableLimits, func(r *bounded.Reader) error {
		r.Version(1)
		c.Name = r.String(event.MaxName)
		for r.More() && len(c.Properties) < event.MaxProperties {
			c.Properties = append(c.Properties, event.ClassProperty{Name: r.String(event.MaxName),
				Type: event.PropertyType(r.Uint(1<<8 - 1)), List: r.Bool(), Key: r.Bool()})
		}
		r.End()
		return nil
	})
	if err != nil {
		return event.DefinedClass{}, fmt.Errorf("decode class: %w", err)
	}
	return c, nil
}

// fingerprint tells tables of classes apart: by names and order, on which the places
// in rows depend, and what decides how values are read.
func fingerprint(s *schema.Schema) uint32 {
	h := fnv.New32a()
	for _, c := range s.Classes() {
		fmt.Fprintf(h, "%s\n", strings.ToLower(c.Name))
		for _, p := range c.Properties {
			fmt.Fprintf(h, "\t%s %d %t %t\n", strings.ToLower(p.Name), p.Type, p.List, p.Key)
		}
	}
	return h.Sum32() & (1<<24 - 1)
}
