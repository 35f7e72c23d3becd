package inventory

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Record returns all that is known of a device, for the engine; ok is false if there
// is no such device. The record is the caller's.
func (s *Snapshot) Record(device uint32) (r *schema.Record, ok bool, err error) {
	if !s.state.live.Contains(device) {
		return nil, false, nil
	}
	r = &schema.Record{Device: device}
	err = s.s.Scan(tablesKey(device), nil, func(key, value []byte) (bool, error) {
		return true, s.add(r, key, value)
	})
	if err != nil {
		return nil, false, err
	}
	inOrder(r)
	return r, true, nil
}

// Records hands yield the record of every device, by rising number, until it returns
// false or an error, which is returned. It costs less than as many calls of Record.
func (s *Snapshot) Records(yield func(*schema.Record) (more bool, err error)) error {
	devices := s.state.live.Iterator()
	next := func() *schema.Record {
		if !devices.HasNext() {
			return nil
		}
		return &schema.Record{Device: devices.Next()}
	}
	r, more := next(), true
	err := s.s.Scan([]byte{prefixTable}, nil, func(key, value []byte) (_ bool, err error) {
		if len(key) < 5 {
			return false, fmt.Errorf("inventory has key %x", key)
		}
		device := binary.BigEndian.Uint32(key[1:])
		for r != nil && r.Device < device && more && err == nil {
			inOrder(r)
			if more, err = yield(r); more {
				r = next()
			}
		}
		if r != nil && r.Device == device && more && err == nil {
			err = s.add(r, key, value)
		}
		return r != nil && more, err
	})
	for ; r != nil && more && err == nil; r = next() {
		inOrder(r)
		more, err = yield(r)
	}
	return err
}

// inOrder puts the classes of a record in the order of the schema.
func inOrder(r *schema.Record) {
	slices.SortFunc(r.Classes, func(a, b schema.ClassRows) int { return a.Class - b.Class })
}

// add adds what a table says to a record. Classes that the schema does not know are
// left out.
func (s *Snapshot) add(r *schema.Record, key, value []byte) error {
	class, ok := s.state.schema.Class(string(key[5:]))
	if !ok {
		return nil
	}
	rows, err := decodeRows(class, value)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		r.Classes = append(r.Classes, schema.ClassRows{Class: class.Index, Rows: rows})
	}
	return nil
}

// decodeRows reads the rows of a table that count, and of each no more than the
// engine takes: it is what the start of the engine, and each change, waits for.
func decodeRows(class *schema.Class, value []byte) ([]schema.Row, error) {
	var t table
	t.class = class
	d, n, err := openTable(&t, value)
	if err != nil {
		return nil, err
	}
	// A row that is reported beside one that is not may hide it: that takes all of both.
	if len(d.slots) > 1 && d.slots[0] == "" && class.Keyed() {
		whole, err := decodeTable(class, value)
		if err != nil {
			return nil, err
		}
		return whole.records(), nil
	}
	rows := make([]schema.Row, 0, n)
	var values []schema.Value // of several rows
	for range n {
		if len(values) < len(class.Properties) {
			values = make([]schema.Value, min(max(n-len(rows), 1)*len(class.Properties), maxTogether+len(class.Properties)))
		}
		width := d.values(values)
		if width > 0 {
			rows = append(rows, values[:width:width])
			values = values[width:]
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode inventory: %w", d.err)
	}
	return rows, nil
}

// maxTogether is how many values are allocated at once.
const maxTogether = 512

// values reads a row into values, which is empty and as long as the class's
// properties at least, and returns how many it needs.
func (d *tableDecoder) values(into []schema.Value) (width int) {
	left := d.array(2+4*maxPlace) - 2
	d.upTo(event.MaxRows)
	d.string()
	for left > 0 && d.err == nil {
		var place int
		var v schema.Value
		n := d.value(&place, &v)
		if left -= n; left < 0 {
			d.fail("a row ends within a value")
		}
		if v.Set && place >= 0 {
			into[place] = v
			width = max(width, place+1)
		}
	}
	return width
}

// value reads a value as the engine takes it, and returns how many elements it took.
// What does not have the type that its property has is none.
func (d *tableDecoder) value(place *int, v *schema.Value) (elements int) {
	*place = -1
	named := d.isText()
	if named {
		if at, ok := d.class.Property(d.string()); ok {
			*place = at
		}
		elements++
	}
	head := d.upTo(maxPlace<<3 | 7)
	d.upTo(maxStamps)
	if !named {
		*place = head >> 3
	}
	if *place >= len(d.class.Properties) {
		d.fail("there is no property %d", *place)
		return 0
	}
	kind := event.ValueType(head & 7)
	v.Set = *place >= 0 && kind == kindOf(&d.class.Properties[*place])
	switch kind {
	case event.NoValue:
		v.Set = false
		return elements + 2
	case event.TextValue:
		v.Text = d.string()
	case event.NumberValue, event.DateValue:
		v.Number = d.int()
	case event.ListValue:
		for range d.array(event.MaxList) {
			v.List = append(v.List, d.string())
		}
	default:
		d.fail("value of type %d", kind)
	}
	return elements + 3
}

// records are the rows that count.
func (t *table) records() []schema.Row {
	hidden := t.hidden()
	rows := make([]schema.Row, 0, len(t.rows))
	for i := range t.rows {
		if r := &t.rows[i]; r.width(t.class) > 0 && !hidden[i] {
			rows = append(rows, r.values(t.class))
		}
	}
	return rows
}

// hidden are the imported rows with the key of one that the agent reports, by place.
func (t *table) hidden() map[int]bool {
	if t.class == nil || !t.class.Keyed() {
		return nil
	}
	reported := 0
	for i := range t.rows {
		if t.rows[i].slot != "" {
			reported++
		}
	}
	if reported == 0 || reported == len(t.rows) {
		return nil
	}
	keys := make(map[string]bool, reported)
	for i := range t.rows {
		if r := &t.rows[i]; r.slot != "" && !r.empty() {
			keys[t.keyOf(r)] = true
		}
	}
	hidden := map[int]bool{}
	for i := range t.rows {
		if r := &t.rows[i]; r.slot == "" && keys[t.keyOf(r)] {
			hidden[i] = true
		}
	}
	return hidden
}
