package enginetest

import (
	"maps"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A Fleet is what the oracle knows: a record for each device, and who was in each
// collection when it was last evaluated.
type Fleet struct {
	Schema  *schema.Schema
	Records map[uint32]*schema.Record
	Members map[string]map[uint32]bool // by id of a collection
}

// NewFleet returns one without devices.
func NewFleet(s *schema.Schema) *Fleet {
	return &Fleet{Schema: s, Records: map[uint32]*schema.Record{}, Members: map[string]map[uint32]bool{}}
}

// Selects tells whether a query selects a device.
func (f *Fleet) Selects(q *wql.Query, device uint32, now time.Time) bool {
	selected := false
	f.combinations(q, device, now, func(row) bool {
		selected = true
		return false
	})
	return selected
}

// A cell is one source's part of a combination of rows.
type cell struct {
	null   bool // the outer join found nothing
	values schema.Row
}

// A row is a combination: a cell for each source of a query.
type row struct {
	f      *Fleet
	now    time.Time
	device uint32
	cells  []cell
}

// combinations yields those of a device for which a query's conditions are true.
func (f *Fleet) combinations(q *wql.Query, device uint32, now time.Time, yield func(row) bool) {
	if f.Records[device] == nil {
		return
	}
	var join func(r row) bool
	join = func(r row) bool {
		if len(r.cells) == len(q.Sources) {
			if q.Where == nil || r.truth(q.Where) == yes {
				return yield(r)
			}
			return true
		}
		s := &q.Sources[len(r.cells)]
		found := false
		for _, values := range f.rows(s, device) {
			next := r.with(cell{values: values})
			if s.On != nil && next.truth(s.On) != yes {
				continue
			}
			found = true
			if !join(next) {
				return false
			}
		}
		if !found && s.Outer {
			return join(r.with(cell{null: true}))
		}
		return true
	}
	join(row{f: f, now: now, device: device})
}

func (r row) with(c cell) row {
	r.cells = append(r.cells[:len(r.cells):len(r.cells)], c)
	return r
}

// rows are those that a device has of a source.
func (f *Fleet) rows(s *wql.Source, device uint32) []schema.Row {
	if s.Class == nil {
		if f.Members[s.Collection][device] {
			return []schema.Row{nil}
		}
		return nil
	}
	for _, c := range f.Records[device].Classes {
		if c.Class == s.Class.Index {
			return c.Rows
		}
	}
	if s.Class.Name == schema.System {
		return []schema.Row{nil}
	}
	return nil
}

// selection is what an inner query selects of all devices: the values of its only
// column.
func (f *Fleet) selection(q *wql.Query, now time.Time) (values []scalar, null bool) {
	for device := range f.Records {
		f.combinations(q, device, now, func(r row) bool {
			vs := r.operand(q.Columns[0])
			values = append(values, vs...)
			null = null || len(vs) == 0
			return true
		})
	}
	return values, null
}

// Holds tells whether a device belongs in a collection, if all other collections hold
// what they held last.
func (f *Fleet) Holds(c *engine.Collection, device uint32, now time.Time) bool {
	if f.Records[device] == nil {
		return false
	}
	limit := c.Limit
	if limit == "" {
		limit = engine.Root
	}
	if !f.Members[limit][device] {
		return false
	}
	for _, id := range c.Exclude {
		if f.Members[id][device] {
			return false
		}
	}
	if c.Direct != nil && c.Direct.Contains(device) {
		return true
	}
	for _, id := range c.Include {
		if f.Members[id][device] {
			return true
		}
	}
	for _, q := range c.Queries {
		if f.Selects(q, device, now) {
			return true
		}
	}
	return false
}

// Evaluate computes the members of some collections for some devices, as
// [engine.Request] says. Ordered are all collections but the root, each behind all
// that it depends on.
func (f *Fleet) Evaluate(ordered []engine.Collection, r engine.Request) {
	if asked(r, engine.Root) {
		f.settle(r, engine.Root, func(device uint32) bool { return f.Records[device] != nil })
	}
	for i := range ordered {
		if c := &ordered[i]; asked(r, c.ID) {
			f.settle(r, c.ID, func(device uint32) bool { return f.Holds(c, device, r.Now) })
		}
	}
}

func asked(r engine.Request, id string) bool {
	return r.Collections == nil || slices.Contains(r.Collections, id)
}

// settle decides of each device that is looked at whether it is a member.
func (f *Fleet) settle(r engine.Request, id string, holds func(uint32) bool) {
	now := map[uint32]bool{}
	for device := range f.Members[id] {
		if r.Devices != nil && !r.Devices.Contains(device) {
			now[device] = true
		}
	}
	for device := range f.Records {
		if (r.Devices == nil || r.Devices.Contains(device)) && holds(device) {
			now[device] = true
		}
	}
	f.Members[id] = now
}

// Clone returns one that can be changed without changing f. Records are shared.
func (f *Fleet) Clone() *Fleet {
	c := &Fleet{Schema: f.Schema, Records: maps.Clone(f.Records), Members: map[string]map[uint32]bool{}}
	for id, members := range f.Members {
		c.Members[id] = maps.Clone(members)
	}
	return c
}
