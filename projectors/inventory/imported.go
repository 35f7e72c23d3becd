package inventory

import (
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// imported takes over what an import says of its devices. It was said when the
// journal took it, whenever the file was written.
func (f *fold) imported(b *projectors.Batch, e *event.Event, p *event.DevicesImported) error {
	for i := range p.Devices {
		if err := f.importOne(b, e, &p.Devices[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f *fold) importOne(b *projectors.Batch, e *event.Event, d *event.ImportedDevice) error {
	fresh := d.New && !f.live.Contains(d.Device)
	if !fresh && !f.live.Contains(d.Device) {
		return nil
	}
	if ok, err := f.add(b, d.Device); !ok || err != nil {
		return err
	}
	s := f.session(b, d.Device, stamp{e.Number, e.Accepted.UnixNano()})
	if d.Name != "" || fresh {
		t, err := s.table(systemClass)
		if err != nil {
			return err
		}
		id := ""
		if fresh {
			id = d.ID.String()
			t.put(t.single(), "Client", numberValue(0), s.stamp)
			t.put(t.single(), "CreationDate", dateValue(e.Accepted), s.stamp)
		}
		s.named(t, d.Name, id)
	}
	for i := range d.Classes {
		if err := s.change(&d.Classes[i]); err != nil {
			return err
		}
	}
	return s.close()
}

// change takes over what an import says of one class.
func (s *session) change(c *event.ClassChange) error {
	t, err := s.table(c.Class)
	if err != nil {
		return err
	}
	if !t.keyed() && !slices.ContainsFunc(c.Rows, func(r event.RowChange) bool { return r.Key != "" }) {
		s.changeOnly(t, c)
		return nil
	}
	index := map[string]int{}
	for i := range t.rows {
		if t.rows[i].slot == "" {
			index[t.keyOf(&t.rows[i])] = i
		}
	}
	named := map[int]bool{}
	for i := range c.Rows {
		if at := s.changeRow(t, index, &c.Rows[i]); at >= 0 {
			named[at] = true
		}
	}
	kept := t.rows[:0]
	for i := range t.rows {
		if r := &t.rows[i]; r.slot != "" || !r.empty() && (!c.Whole || named[i]) {
			kept = append(kept, *r)
		}
	}
	t.rows = kept
	return nil
}

// changeOnly changes the one row of a class without keys.
func (s *session) changeOnly(t *table, c *event.ClassChange) {
	r := t.single()
	gone := c.Whole && len(c.Rows) == 0
	for i := range c.Rows {
		gone = gone || c.Rows[i].Gone
	}
	for i := range r.cells {
		if gone {
			r.put(r.cells[i].place, r.cells[i].name, event.Value{}, s.stamp)
		}
	}
	for i := range c.Rows {
		for _, p := range c.Rows[i].Properties {
			t.put(r, p.Name, p.Value, s.stamp)
		}
	}
}

// changeRow changes one of several rows and returns its place, -1 if it is gone.
func (s *session) changeRow(t *table, index map[string]int, c *event.RowChange) int {
	at, known := index[c.Key]
	switch {
	case c.Gone && known:
		t.rows[at].cells = nil
		return -1
	case c.Gone || !known && len(t.rows) >= event.MaxRows:
		return -1
	case !known:
		at = len(t.rows)
		index[c.Key] = at
		t.rows = append(t.rows, row{})
		if t.class == nil {
			t.rows[at].key = c.Key
		}
	}
	r := &t.rows[at]
	for _, p := range c.Properties {
		t.put(r, p.Name, p.Value, s.stamp)
	}
	r.clean()
	return at
}
