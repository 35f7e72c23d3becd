package inventory

import (
	"cmp"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A Shown is all that is known of a device, with what brought it.
type Shown struct {
	Device  uint32
	Classes []ShownClass // by name, SMS_R_System first
}

// A ShownClass is the rows of a class.
type ShownClass struct {
	Name string
	Rows []ShownRow // by key
}

// A ShownRow is one row.
type ShownRow struct {
	Key      string // empty in a class without keys
	Imported bool   // and not reported by the device's agent; never in a class without keys
	Hidden   bool   // the agent reports a row with the same key, which counts
	Values   []ShownValue
}

// A ShownValue is what a property holds, which event changed it last, and when it
// was seen last.
type ShownValue struct {
	Property string
	Type     schema.Type // of the property; of one that the schema does not know, by what it holds
	Value    event.Value
	Event    uint64
	Seen     time.Time
}

// Show returns all that is known of a device and where it is from, also what the
// schema does not know; ok is false if there is no such device.
func (s *Snapshot) Show(device uint32) (shown Shown, ok bool, err error) {
	if !s.state.live.Contains(device) {
		return Shown{}, false, nil
	}
	shown.Device = device
	err = s.s.Scan(tablesKey(device), nil, func(key, value []byte) (bool, error) {
		class, _ := s.state.schema.Class(string(key[5:]))
		t, err := decodeTable(class, value)
		if err != nil {
			return false, err
		}
		if c := t.show(); len(c.Rows) > 0 {
			shown.Classes = append(shown.Classes, c)
		}
		return true, nil
	})
	slices.SortFunc(shown.Classes, func(a, b ShownClass) int { return cmp.Compare(a.order(), b.order()) })
	return shown, err == nil, err
}

// order is the name of a class, before which that of the first one is.
func (c *ShownClass) order() string {
	if c.Name == systemClass {
		return ""
	}
	return c.Name
}

func (t *table) show() ShownClass {
	c := ShownClass{Name: t.name}
	if t.class != nil {
		c.Name = t.class.Name
	}
	hidden, keyed := t.hidden(), t.keyed()
	for i := range t.rows {
		r := &t.rows[i]
		if r.empty() {
			continue
		}
		row := ShownRow{Imported: keyed && r.slot == "", Hidden: hidden[i]}
		if keyed {
			row.Key = t.keyOf(r)
		}
		for j := range r.cells {
			if cell := &r.cells[j]; cell.value.Type != event.NoValue {
				row.Values = append(row.Values, t.shown(cell))
			}
		}
		slices.SortStableFunc(row.Values, func(a, b ShownValue) int { return cmp.Compare(a.Property, b.Property) })
		c.Rows = append(c.Rows, row)
	}
	slices.SortStableFunc(c.Rows, func(a, b ShownRow) int { return cmp.Compare(a.Key, b.Key) })
	return c
}

func (t *table) shown(c *cell) ShownValue {
	v := ShownValue{Property: c.name, Type: schema.Text, Value: c.value, Event: c.stamp.event, Seen: time.Unix(0, c.stamp.seen).UTC()}
	switch {
	case c.place >= 0:
		v.Property, v.Type = t.class.Properties[c.place].Name, t.class.Properties[c.place].Type
	case c.value.Type == event.NumberValue:
		v.Type = schema.Number
	case c.value.Type == event.DateValue:
		v.Type = schema.Date
	}
	return v
}
