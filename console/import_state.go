package console

import (
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/inventory"
)

// An importState is what a device has of what an import can change: by the place of
// a class, its rows by their key, and of each the values by the place of their
// property.
type importState map[int]map[string]map[int]event.Value

// importStateOf is the state of a device as the view shows it. What the device's agent
// reports of classes with keys no import changes.
func importStateOf(s *schema.Schema, shown *inventory.Shown) importState {
	state := importState{}
	for i := range shown.Classes {
		c := &shown.Classes[i]
		class, ok := s.Class(c.Name)
		if !ok {
			continue
		}
		rows := map[string]map[int]event.Value{}
		for j := range c.Rows {
			if c.Rows[j].Imported == class.Keyed() {
				rows[c.Rows[j].Key] = placedValues(class, c.Rows[j].Values)
			}
		}
		state[class.Index] = rows
	}
	return state
}

func placedValues(class *schema.Class, shown []inventory.ShownValue) map[int]event.Value {
	values := make(map[int]event.Value, len(shown))
	for _, v := range shown {
		if place, ok := class.Property(v.Property); ok {
			values[place] = v.Value
		}
	}
	return values
}

// changes are what lines of an import change of a state, in the order of the lines.
// A class without keys keeps what no line names; of one with keys the last line says
// all rows.
func (state importState) changes(lines []*importLine) (changes []event.ClassChange) {
	var order []*importClass
	for _, l := range lines {
		for i := range l.classes {
			c := &l.classes[i]
			at := slices.IndexFunc(order, func(o *importClass) bool { return o.class == c.class })
			switch {
			case at < 0:
				order = append(order, c)
			case c.class.Keyed():
				order[at] = c
			default:
				order[at] = order[at].with(c)
			}
		}
	}
	for _, c := range order {
		if rows := c.changes(state[c.class.Index]); len(rows) > 0 {
			changes = append(changes, event.ClassChange{Class: c.class.Name, Rows: rows})
		}
	}
	return changes
}

// with is the only row of a class with what a later line says of it.
func (c *importClass) with(later *importClass) *importClass {
	values := slices.Clone(c.rows[0].values)
	for _, v := range later.rows[0].values {
		if at := slices.IndexFunc(values, func(o placed) bool { return o.place == v.place }); at >= 0 {
			values[at] = v
		} else {
			values = append(values, v)
		}
	}
	return &importClass{c.class, []importRow{{values: values}}}
}

// changes are the rows that change against those that there are.
func (c *importClass) changes(were map[string]map[int]event.Value) (changes []event.RowChange) {
	named := make(map[string]bool, len(c.rows))
	for i := range c.rows {
		r := &c.rows[i]
		named[r.key] = true
		was, known := were[r.key]
		change := event.RowChange{Key: r.key, Properties: r.changes(c.class, was)}
		if len(change.Properties) > 0 || !known && c.class.Keyed() {
			changes = append(changes, change)
		}
	}
	if !c.class.Keyed() {
		return changes
	}
	var gone []string
	for key := range were {
		if !named[key] {
			gone = append(gone, key)
		}
	}
	slices.Sort(gone)
	for _, key := range gone {
		changes = append(changes, event.RowChange{Key: key, Gone: true})
	}
	return changes
}

// changes are the properties of a row that change. A row of a class with keys has
// those alone that the line names.
func (r *importRow) changes(class *schema.Class, was map[int]event.Value) (changes []event.PropertyValue) {
	for _, v := range r.values {
		if had, ok := was[v.place]; ok != (v.value.Type != event.NoValue) || ok && !equalValues(&had, &v.value) {
			changes = append(changes, event.PropertyValue{Name: class.Properties[v.place].Name, Value: v.value})
		}
	}
	if !class.Keyed() {
		return changes
	}
	for place := range class.Properties {
		if _, had := was[place]; had && !slices.ContainsFunc(r.values, func(v placed) bool { return v.place == place }) {
			changes = append(changes, event.PropertyValue{Name: class.Properties[place].Name})
		}
	}
	return changes
}

func equalValues(a, b *event.Value) bool {
	return a.Type == b.Type && a.Text == b.Text && a.Number == b.Number && slices.Equal(a.List, b.List)
}
