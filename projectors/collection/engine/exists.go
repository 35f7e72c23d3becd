package engine

import "math/bits"

// exists returns the node of the devices that have, of each source in rows, a row
// such that f is true for them together.
//
// What is asked of different rows, or of the device, is asked apart: some pair of rows
// (r, s) has A(r) and B(s) exactly if some r has A and some s has B. Where an or
// mixes sources, the cases are taken one by one: some row has A or B exactly if some
// has A or some has B.
func (c *compiler) exists(f *form, rows uint64) int32 {
	if c.splits++; c.splits > maxSplits {
		c.slow = true
	}
	if c.slow || f.kind == formNo {
		return no
	}
	var nodes []int32
	var parts []*part
	for _, k := range f.conjuncts() {
		if k.rows == 0 {
			nodes = append(nodes, c.deviceNode(k))
		} else {
			parts = joined(parts, k)
		}
	}
	for _, p := range parts {
		nodes = append(nodes, c.part(p))
		rows &^= p.rows
	}
	for ; rows != 0; rows &= rows - 1 {
		if o := &c.sources[bits.TrailingZeros64(rows)]; !o.outer {
			nodes = append(nodes, c.p.present(o.table))
		}
	}
	return c.p.and(nodes...)
}

// A part is the conjuncts that ask the same sources, directly or by way of others.
type part struct {
	rows  uint64
	forms []*form
}

// joined adds a conjunct to the part that it belongs to; it may make one of several.
func joined(parts []*part, f *form) []*part {
	p := &part{rows: f.rows}
	var rest []*part
	for _, q := range parts {
		if q.rows&f.rows != 0 {
			p.rows |= q.rows
			p.forms = append(p.forms, q.forms...)
		} else {
			rest = append(rest, q)
		}
	}
	p.forms = append(p.forms, f)
	return append(rest, p)
}

// part is exists for one part.
func (c *compiler) part(p *part) int32 {
	f := allOf(p.forms...)
	if !f.mixed() {
		return c.someRow(bits.TrailingZeros64(p.rows), f)
	}
	for i, k := range p.forms {
		if k.kind != formOr || !k.mixed() {
			continue
		}
		rest := append(append([]*form{}, p.forms[:i]...), p.forms[i+1:]...)
		var nodes []int32
		for _, one := range cases(k) {
			nodes = append(nodes, c.exists(allOf(append(rest, one)...), p.rows))
		}
		return c.p.or(nodes...)
	}
	c.slow = true
	return no
}

// cases are the alternatives of an or; those that ask the same source are one.
func cases(f *form) (out []*form) {
	same := map[uint64][]*form{}
	for _, k := range f.kids {
		switch {
		case k.mixed():
			out = append(out, k)
		default:
			same[k.rows] = append(same[k.rows], k)
		}
	}
	for i := range f.kids { // in order
		if k := f.kids[i]; !k.mixed() && same[k.rows] != nil {
			out = append(out, oneOf(same[k.rows]...))
			delete(same, k.rows)
		}
	}
	return out
}

// deviceNode is the node of a form that asks no rows.
func (c *compiler) deviceNode(f *form) int32 {
	switch f.kind {
	case formYes:
		return yes
	case formNode:
		return f.node
	case formAnd, formOr:
		ids := make([]int32, len(f.kids))
		for i, k := range f.kids {
			ids[i] = c.deviceNode(k)
		}
		if f.kind == formAnd {
			return c.p.and(ids...)
		}
		return c.p.or(ids...)
	}
	return no
}

// someRow is the node of the devices of which one row of a source is as f says.
func (c *compiler) someRow(source int, f *form) int32 {
	o := &c.sources[source]
	if !o.outer {
		return c.rowNode(o.table, f)
	}
	real := f
	if o.on != nil {
		real = allOf(f, o.on)
	}
	id := c.rowNode(o.table, real)
	if !f.ofNull() {
		return id
	}
	found := c.p.present(o.table)
	if o.on != nil {
		found = c.rowNode(o.table, o.on)
	}
	return c.p.or(id, c.p.not(found))
}

func (c *compiler) rowNode(t *table, f *form) int32 {
	switch f.kind {
	case formNo, formNull:
		return no
	case formYes, formReal:
		return c.p.present(t)
	}
	key := f.key()
	r := t.asked[key]
	if r == nil {
		r = &rowCondition{key: key, table: t, form: f, still: f.still()}
		t.asked[key] = r
	}
	r.form.conditions(c.p.hold)
	c.p.holdRows(r)
	kind := nodeRows
	if !r.still {
		kind = nodeRowTest
	}
	return c.p.add(node{kind: kind, rows: r, table: t}, "rows "+t.class.Name+key)
}
