package inventory

import (
	"fmt"
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A table is what is kept of one class of one device.
type table struct {
	class *schema.Class // nil if the schema does not know it
	name  string        // of a class that the schema does not know
	lists []list        // of the parts in which agents report lists
	rows  []row
}

// A list is a part of a list, such as the fact software.003, of which each line is a
// row; or how many parts there are.
type list struct {
	name  string
	parts int // that count, of the name that says it; else 0
	stamp stamp
}

// A stamp says which event changed something last, and when it was seen last.
type stamp struct {
	event uint64
	seen  int64 // Unix nanoseconds
}

// A row is a row of a class. Of a class without keys a device has one, from whoever
// brings it; of one with keys what the agent reports and what was imported are kept
// apart.
type row struct {
	slot  string // the facts that it is from: disk.0, software.003; empty: imported, or the only row
	key   string // of an imported one whose class is not known; else it follows from the values
	cells []cell
}

// A cell is the value of a property. No value says that it is gone, and since when.
type cell struct {
	place int    // of the property in its class; -1 if the schema does not know it
	name  string // if place is -1
	stamp stamp
	value event.Value
}

// MaxImported is how many bytes the rows of a class may be that are imported for one
// device, each counted as 16 bytes and each of its values as 32 beside their text.
const MaxImported = 320 << 10

// Bounds of a table.
const (
	maxTable  = 480 << 10 // bytes, as of MaxImported; rows that have no room are left out
	maxLists  = 1 << 10
	maxStamps = 1 << 20
	maxPlace  = 1 << 16

	tableVersion = 1
)

var tableLimits = bounded.Limits{Bytes: 512 << 10, Depth: 4, Items: 1 << 20}

// encode writes the table as FORMAT in doc.go has it.
func (t *table) encode() ([]byte, error) {
	t.fit()
	stamps := t.stamps()
	index := make(map[stamp]uint64, len(stamps))
	for i, s := range stamps {
		index[s] = uint64(i)
	}
	slots := t.slots()
	value, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(5 + len(t.rows))
		w.Uint(tableVersion)
		w.Exact(t.name, event.MaxName)
		w.List(2*len(stamps), maxStamps)
		for _, s := range stamps {
			w.Uint(s.event)
			w.Int(s.seen)
		}
		w.List(3*len(t.lists), maxLists)
		for _, l := range t.lists {
			w.Exact(l.name, event.MaxName)
			w.Uint(uint64(l.parts))
			w.Uint(index[l.stamp])
		}
		w.Array(len(slots))
		for _, s := range slots {
			w.Exact(s, event.MaxName)
		}
		for i := range t.rows {
			t.rows[i].encode(w, slots, index)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("encode inventory: %w", err)
	}
	return value, nil
}

func (r *row) encode(w *bounded.Writer, slots []string, index map[stamp]uint64) {
	n := 2 + 2*len(r.cells)
	for i := range r.cells {
		if c := &r.cells[i]; c.place < 0 {
			n++
		}
		if r.cells[i].value.Type != event.NoValue {
			n++
		}
	}
	w.Array(n)
	slot, _ := slices.BinarySearch(slots, r.slot)
	w.Uint(uint64(slot))
	w.Exact(r.key, event.MaxName)
	for i := range r.cells {
		r.cells[i].encode(w, index)
	}
}

// encode writes a name if the property has no place, then place and type in one
// number, the stamp, and the value unless there is none.
func (c *cell) encode(w *bounded.Writer, index map[stamp]uint64) {
	place := c.place
	if place < 0 {
		w.Exact(c.name, event.MaxName)
		place = 0
	}
	w.Uint(uint64(place)<<3 | uint64(c.value.Type))
	w.Uint(index[c.stamp])
	switch c.value.Type {
	case event.TextValue:
		w.String(c.value.Text, event.MaxValue)
	case event.NumberValue, event.DateValue:
		w.Int(c.value.Number)
	case event.ListValue:
		w.List(len(c.value.List), event.MaxList)
		for _, s := range c.value.List {
			w.String(s, event.MaxValue)
		}
	}
}

// stamps are those that are in use, the earliest event first.
func (t *table) stamps() (all []stamp) {
	for _, l := range t.lists {
		all = append(all, l.stamp)
	}
	for i := range t.rows {
		for j := range t.rows[i].cells {
			if s := t.rows[i].cells[j].stamp; len(all) == 0 || all[len(all)-1] != s {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, stamp.compare)
	return slices.Compact(all)
}

func (s stamp) compare(o stamp) int {
	switch {
	case s.event != o.event && s.event < o.event, s.event == o.event && s.seen < o.seen:
		return -1
	case s == o:
		return 0
	}
	return 1
}

// slots are the slots of the rows, in order.
func (t *table) slots() (all []string) {
	for i := range t.rows {
		if s := t.rows[i].slot; len(all) == 0 || all[len(all)-1] != s {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// fit leaves rows out that have no room.
func (t *table) fit() {
	size := 0
	for i := range t.rows {
		size += t.rows[i].size()
		if size > maxTable || i == event.MaxRows {
			t.rows = t.rows[:i]
			return
		}
	}
}

// size bounds what a row takes.
func (r *row) size() int {
	n := 16 + len(r.slot) + len(r.key)
	for i := range r.cells {
		v := &r.cells[i].value
		n += 32 + len(r.cells[i].name) + min(len(v.Text), event.MaxValue)
		for _, s := range v.List {
			n += 5 + min(len(s), event.MaxValue)
		}
	}
	return n
}

// decodeTable reads what encode wrote. class is what the schema knows of it, or nil.
func decodeTable(class *schema.Class, value []byte) (*table, error) {
	t := &table{class: class}
	d, n, err := openTable(t, value)
	if err != nil {
		return nil, err
	}
	t.rows = make([]row, 0, n)
	for range n {
		t.rows = append(t.rows, d.row())
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode inventory: %w", d.err)
	}
	return t, nil
}

// openTable reads all of a table but its rows, and returns how many there are.
func openTable(t *table, value []byte) (d *tableDecoder, rows int, err error) {
	if err := bounded.Scan(value, tableLimits); err != nil {
		return nil, 0, fmt.Errorf("decode inventory: %w", err)
	}
	d = &tableDecoder{cursor: cursor{b: value, text: string(value)}, class: t.class}
	n := d.array(5 + event.MaxRows)
	if v := d.int(); d.err == nil && (n < 5 || v != tableVersion) {
		d.fail("%d elements, version %d", n, v)
	}
	t.name = d.string()
	d.stamps = make([]stamp, 0, 8)
	for range d.array(maxStamps) / 2 {
		d.stamps = append(d.stamps, stamp{d.number(), d.int()})
	}
	for range d.array(maxLists) / 3 {
		t.lists = append(t.lists, list{d.string(), d.upTo(maxLists), d.stamp()})
	}
	for range d.array(event.MaxRows) {
		d.slots = append(d.slots, d.string())
	}
	if d.err != nil {
		return nil, 0, fmt.Errorf("decode inventory: %w", d.err)
	}
	return d, n - 5, nil
}

type tableDecoder struct {
	cursor
	class  *schema.Class
	stamps []stamp
	slots  []string
}

func (d *tableDecoder) stamp() stamp {
	if i := d.upTo(maxStamps); i < len(d.stamps) {
		return d.stamps[i]
	}
	d.fail("there is no such stamp")
	return stamp{}
}

func (d *tableDecoder) row() (r row) {
	n := d.array(2 + 4*maxPlace)
	if slot := d.upTo(event.MaxRows); slot < len(d.slots) {
		r.slot = d.slots[slot]
	} else {
		d.fail("there is no slot %d", slot)
	}
	r.key = d.string()
	r.cells = make([]cell, 0, max(n-2, 0)/3+1)
	for left := n - 2; left > 0 && d.err == nil; {
		r.cells = append(r.cells, cell{})
		left -= d.cell(&r.cells[len(r.cells)-1])
		if left < 0 {
			d.fail("a row ends within a value")
		}
	}
	return r
}

// cell reads a value and returns how many elements it took.
func (d *tableDecoder) cell(c *cell) (elements int) {
	named := d.isText()
	if named {
		c.name = d.string()
		elements++
	}
	head := d.upTo(maxPlace<<3 | 7)
	c.place, c.value.Type = head>>3, event.ValueType(head&7)
	c.stamp = d.stamp()
	elements += 2
	if named {
		c.place = -1
		if d.class != nil {
			if place, ok := d.class.Property(c.name); ok { // defined since
				c.place, c.name = place, ""
			}
		}
	} else if d.class == nil || c.place >= len(d.class.Properties) {
		d.fail("there is no property %d", c.place)
	}
	switch c.value.Type {
	case event.NoValue:
		return elements
	case event.TextValue:
		c.value.Text = d.string()
	case event.NumberValue, event.DateValue:
		c.value.Number = d.int()
	case event.ListValue:
		for range d.array(event.MaxList) {
			c.value.List = append(c.value.List, d.string())
		}
	default:
		d.fail("value of type %d", c.value.Type)
	}
	return elements + 1
}
