package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// joined takes a device that joins, or joins again under its number: who it is
// changes, what is known of it stays.
func (f *fold) joined(b *projectors.Batch, e *event.Event, p *event.DeviceJoined) error {
	known := f.live.Contains(p.Device)
	if ok, err := f.add(b, p.Device); !ok || err != nil {
		return err
	}
	s := f.session(b, p.Device, stamp{e.Number, e.Accepted.UnixNano()})
	t, err := s.table(systemClass)
	if err != nil {
		return err
	}
	s.named(t, p.Name, p.ID.String())
	t.put(t.single(), "Client", numberValue(1), s.stamp)
	t.put(t.single(), "Active", numberValue(1), s.stamp)
	t.put(t.single(), "ClientVersion", textValue(p.Agent), s.stamp)
	if !known {
		t.put(t.single(), "CreationDate", dateValue(e.Accepted), s.stamp)
	}
	return s.close()
}

// named sets who a device is.
func (s *session) named(t *table, name, id string) {
	r := t.single()
	t.put(r, "Name", textValue(name), s.stamp)
	short, _, _ := strings.Cut(name, ".")
	t.put(r, "NetbiosName", textValue(strings.ToUpper(short)), s.stamp)
	if id != "" {
		t.put(r, "SMSUniqueIdentifier", textValue("GUID:"+strings.ToUpper(id)), s.stamp)
	}
}

func numberValue(n int64) event.Value { return event.Value{Type: event.NumberValue, Number: n} }

func dateValue(t time.Time) event.Value {
	return event.Value{Type: event.DateValue, Number: t.UnixMilli()}
}

// discovered takes facts of an agent over. Those of an older inventory that comes
// late, in the file of another listener for instance, give way to what was seen
// since; a fact without a value says that the thing is gone.
func (f *fold) discovered(b *projectors.Batch, e *event.Event, p *event.DeviceDiscovered) error {
	if !f.live.Contains(p.Device) {
		return nil
	}
	seen := e.Observed
	if seen.IsZero() {
		seen = e.Accepted
	}
	s := f.session(b, p.Device, stamp{e.Number, seen.UnixNano()})
	parts := map[string]map[int]string{}
	for _, fact := range p.Facts {
		if name, part, ok := listOf(fact.Name); ok {
			if parts[name] == nil {
				parts[name] = map[int]string{}
			}
			parts[name][part] = fact.Value
		} else if err := s.fact(fact.Name, fact.Value); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if err := s.list(name, parts[name]); err != nil {
			return err
		}
	}
	if err := s.derive(); err != nil {
		return err
	}
	return s.close()
}

func (s *session) fact(name, value string) error {
	found, slot := targetsOf(name)
	for i := range found {
		t, err := s.table(found[i].class)
		if err != nil {
			return err
		}
		r := t.single
		if t.class != nil && t.class.Keyed() {
			r = func() *row { return t.slot(slot) }
		}
		t.put(r(), found[i].property, found[i].read(value, s.stamp.seen), s.stamp)
	}
	return nil
}

// list takes parts of a list over; each replaces the rows that it had.
func (s *session) list(name string, parts map[int]string) error {
	to := lists[name]
	t, err := s.table(to.class)
	if err != nil {
		return err
	}
	count, counted := t.list(name + ".parts")
	before := map[string][]row{} // rows of the parts, by their first field
	var taken []int
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		l, known := t.list(partName(name, n))
		switch {
		case n == partCount, known && l.stamp.seen > s.stamp.seen:
		case counted && n >= count.parts && count.stamp.seen > s.stamp.seen:
		default:
			t.take(partName(name, n), before)
			taken = append(taken, n)
		}
	}
	for _, n := range taken {
		t.setList(list{name: partName(name, n), stamp: s.stamp})
		for line := range strings.Lines(parts[n]) {
			t.line(partName(name, n), strings.Split(strings.TrimRight(line, "\n"), "\t"), &to, before, s.stamp)
		}
	}
	if text, ok := parts[partCount]; ok && (!counted || count.stamp.seen <= s.stamp.seen) {
		t.cutLists(name, int(min(number(text, 0).Number, maxLists)), s.stamp)
	}
	return nil
}

func partName(name string, n int) string { return fmt.Sprintf("%s.%03d", name, n) }

// list returns what is kept of a part.
func (t *table) list(name string) (list, bool) {
	for _, l := range t.lists {
		if l.name == name {
			return l, true
		}
	}
	return list{}, false
}

func (t *table) setList(l list) {
	for i := range t.lists {
		if t.lists[i].name == l.name {
			t.lists[i] = l
			return
		}
	}
	if len(t.lists) < maxLists/3 {
		t.lists = append(t.lists, l)
	}
}

// take moves the rows of a part out of the table.
func (t *table) take(slot string, into map[string][]row) {
	t.rows = slices.DeleteFunc(t.rows, func(r row) bool {
		if r.slot != slot {
			return false
		}
		if len(r.cells) > 0 {
			first := r.cells[0].value.Text
			into[first] = append(into[first], r)
		}
		return true
	})
}

// line adds a row. If there was one that begins alike, its values that are still the
// same were changed by the event that they were.
func (t *table) line(slot string, values []string, to *listTarget, before map[string][]row, s stamp) {
	r := row{slot: slot}
	if was := before[values[0]]; len(was) > 0 {
		r.cells, before[values[0]] = was[0].cells, was[1:]
	}
	for i, field := range to.fields {
		v := event.Value{}
		if i < len(values) {
			v = textValue(values[i])
		}
		t.put(&r, field, v, s)
	}
	t.put(&r, to.key, textValue(values[0]), s)
	if r.clean(); !r.empty() {
		t.rows = append(t.rows, r)
	}
}

// cutLists takes over how many parts there are: the others are gone.
func (t *table) cutLists(name string, parts int, s stamp) {
	gone := func(slot string, seen int64) bool {
		of, n, ok := listOf(slot)
		return ok && of == name && n >= parts && seen <= s.seen
	}
	t.lists = slices.DeleteFunc(t.lists, func(l list) bool {
		if !gone(l.name, l.stamp.seen) {
			return false
		}
		t.rows = slices.DeleteFunc(t.rows, func(r row) bool { return r.slot == l.name })
		return true
	})
	t.setList(list{name + ".parts", parts, s})
}

// derive sets the keys of rows that no fact says, and what the first class says of
// others once more.
func (s *session) derive() error {
	for class, key := range rowKeys {
		if o := s.open[strings.ToLower(class)]; o != nil {
			o.setKeys(key, s.stamp)
		}
	}
	if o := s.open[strings.ToLower(networkClass)]; o != nil {
		for _, p := range [][2]string{{"MACAddresses", "MACAddress"}, {"IPAddresses", "IPAddress"}, {"IPSubnets", "IPSubnet"}} {
			if err := s.put(systemClass, p[0], o.gather(p[1])); err != nil {
				return err
			}
		}
	}
	o := s.open[strings.ToLower(osClass)]
	if o == nil {
		return nil
	}
	words := ""
	if all := o.gather("Caption"); len(all.List) > 0 {
		words = all.List[0]
	}
	if all := o.gather("Version"); len(all.List) > 0 && words != "" {
		words += " " + all.List[0]
	}
	return s.put(systemClass, "OperatingSystemNameandVersion", textValue(words))
}

// setKeys sets a key in the rows that agents report, unless nothing else is in them.
func (t *table) setKeys(key rowKey, s stamp) {
	if t.class == nil {
		return
	}
	place, _ := t.class.Property(key.property)
	for i := range t.rows {
		r := &t.rows[i]
		if r.slot == "" {
			continue
		}
		v := event.Value{}
		if slices.ContainsFunc(r.cells, func(c cell) bool { return c.place != place && c.value.Type != event.NoValue }) {
			v = key.of(r.slot)
		}
		r.put(place, "", v, s)
	}
}

// gather returns the values of a property in all rows that an agent reports, once
// each, in the order of the rows.
func (t *table) gather(property string) event.Value {
	if t.class == nil {
		return event.Value{}
	}
	place, ok := t.class.Property(property)
	if !ok {
		return event.Value{}
	}
	var all []string
	for i := range t.rows {
		c := t.rows[i].find(place)
		if c == nil || t.rows[i].slot == "" && t.class.Keyed() {
			continue
		}
		for _, text := range append(c.value.List, c.value.Text) {
			if text != "" && !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return listValue(all)
}
