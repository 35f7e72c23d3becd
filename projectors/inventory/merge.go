package inventory

import (
	"slices"
	"strconv"
	"strings"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// keyed tells whether a device can have several rows of the table.
func (t *table) keyed() bool {
	if t.class != nil {
		return t.class.Keyed()
	}
	return slices.ContainsFunc(t.rows, func(r row) bool { return r.key != "" })
}

// single returns the one row of a class without keys.
func (t *table) single() *row { return t.slot("") }

// slot returns the row of a slot, a new one if there is none.
func (t *table) slot(slot string) *row {
	for i := range t.rows {
		if t.rows[i].slot == slot {
			return &t.rows[i]
		}
	}
	t.rows = append(t.rows, row{slot: slot})
	return &t.rows[len(t.rows)-1]
}

// keyOf is what tells a row from the others of its device and class.
func (t *table) keyOf(r *row) string {
	if t.class == nil || !t.class.Keyed() {
		return r.key
	}
	return schema.Key(t.class, r.values(t.class))
}

// put sets a property of a row by its name.
func (t *table) put(r *row, property string, v event.Value, s stamp) {
	if t.class != nil {
		if place, ok := t.class.Property(property); ok {
			r.put(place, "", fitted(&t.class.Properties[place], v), s)
			return
		}
	}
	r.put(-1, property, v, s)
}

// fitted gives a value the form of its property where nothing is lost by it: several
// texts become one, a number a text.
func fitted(p *schema.Property, v event.Value) event.Value {
	switch {
	case p.List && v.Type == event.TextValue:
		return listValue([]string{v.Text})
	case !p.List && p.Type == schema.Text && v.Type == event.ListValue:
		return textValue(strings.Join(v.List, ", "))
	case !p.List && p.Type == schema.Text && v.Type == event.NumberValue:
		return textValue(strconv.FormatInt(v.Number, 10))
	}
	return v
}

// put takes a value over, unless what is there was seen later. A value that is the
// same was changed by the event that brought it first.
func (r *row) put(place int, name string, v event.Value, s stamp) {
	for i := range r.cells {
		c := &r.cells[i]
		if c.place != place || place < 0 && c.name != name {
			continue
		}
		switch {
		case c.stamp.seen > s.seen:
		case same(&c.value, &v):
			c.stamp.seen = s.seen
		default:
			c.value, c.stamp = v, s
		}
		return
	}
	if len(r.cells) < event.MaxProperties {
		r.cells = append(r.cells, cell{place, name, s, v})
	}
}

// find returns the value of a property, nil if there is none.
func (r *row) find(place int) *cell {
	for i := range r.cells {
		if c := &r.cells[i]; c.place == place && c.value.Type != event.NoValue {
			return c
		}
	}
	return nil
}

// empty tells whether a row has no values.
func (r *row) empty() bool {
	return !slices.ContainsFunc(r.cells, func(c cell) bool { return c.value.Type != event.NoValue })
}

// clean forgets what is gone.
func (r *row) clean() {
	r.cells = slices.DeleteFunc(r.cells, func(c cell) bool { return c.value.Type == event.NoValue })
}

func same(a, b *event.Value) bool {
	return a.Type == b.Type && a.Text == b.Text && a.Number == b.Number && slices.Equal(a.List, b.List)
}

// values is a row as the engine takes it.
func (r *row) values(class *schema.Class) schema.Row {
	values := make(schema.Row, r.width(class))
	for i := range r.cells {
		if c := &r.cells[i]; c.place >= 0 && c.value.Type == kindOf(&class.Properties[c.place]) {
			values[c.place] = valueOf(&class.Properties[c.place], &c.value)
		}
	}
	return values
}

// width is how many values the engine needs of a row.
func (r *row) width(class *schema.Class) (n int) {
	for i := range r.cells {
		if c := &r.cells[i]; c.place >= n && c.value.Type == kindOf(&class.Properties[c.place]) {
			n = c.place + 1
		}
	}
	return n
}

// valueOf is a value as the engine takes it. What does not have the type that its
// property has is none.
func valueOf(p *schema.Property, v *event.Value) schema.Value {
	if v.Type != kindOf(p) {
		return schema.Value{}
	}
	return schema.Value{Set: true, Number: v.Number, Text: v.Text, List: v.List}
}

// kindOf is the type that the values of a property have.
func kindOf(p *schema.Property) event.ValueType {
	switch {
	case p.List:
		return event.ListValue
	case p.Type == schema.Text:
		return event.TextValue
	case p.Type == schema.Date:
		return event.DateValue
	}
	return event.NumberValue
}
