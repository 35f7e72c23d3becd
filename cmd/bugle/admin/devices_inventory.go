package admin

import (
	"fmt"
	"strings"

	"github.com/bugle-fleet/bugle/console"
)

// shownRows is how many rows of a class the table of a device shows.
const shownRows = 40

// inventory shows what is known of a device by class, under the table of the device.
func (s *session) inventory(d *console.DeviceReply) {
	for _, c := range d.Inventory {
		if len(c.Rows) == 1 && c.Rows[0].Key == "" {
			s.out.printf("\n%s\n", clean(c.Class))
			s.out.fields(s.values(&c.Rows[0]))
			continue
		}
		s.out.printf("\n%s, %s\n", clean(c.Class), countOf(len(c.Rows), "row"))
		for i := range c.Rows[:min(len(c.Rows), shownRows)] {
			s.out.printf("  %s\n", s.row(&c.Rows[i]))
		}
		if more := len(c.Rows) - shownRows; more > 0 {
			s.out.printf("  and %d more; -o json shows them\n", more)
		}
	}
	if d.InventoryMore > 0 {
		s.out.printf("\n%s of the inventory are not shown\n", countOf(d.InventoryMore, "row"))
	}
}

// values are the properties of the only row of a class.
func (s *session) values(r *console.InventoryRow) (fields []field) {
	for _, v := range r.Values {
		fields = append(fields, field{"  " + clean(v.Property), "", fmt.Sprintf("%s (event %d)", s.value(v.Value), v.Event)})
	}
	return fields
}

// row is one of several rows, in one line; the event is said once if it is the same
// for all.
func (s *session) row(r *console.InventoryRow) string {
	one := len(r.Values) > 0
	for _, v := range r.Values {
		one = one && v.Event == r.Values[0].Event
	}
	var parts []string
	for _, v := range r.Values {
		part := clean(v.Property) + " " + s.value(v.Value)
		if !one {
			part += fmt.Sprintf(" (event %d)", v.Event)
		}
		parts = append(parts, part)
	}
	line := strings.Join(parts, ", ")
	if one {
		line += fmt.Sprintf(" (event %d)", r.Values[0].Event)
	}
	switch {
	case r.Hidden:
		line += "; imported, but the agent reports it otherwise"
	case r.Imported:
		line += "; imported"
	}
	return line
}

// value is what a property holds, as the JSON of the site has it.
func (s *session) value(v any) string {
	if list, ok := v.([]any); ok {
		var words []string
		for _, one := range list {
			words = append(words, s.value(one))
		}
		return strings.Join(words, ", ")
	}
	text, _ := s.out.cell(v, false)
	return text
}
