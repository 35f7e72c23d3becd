package engine

import (
	"math/bits"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// step computes the bits of one node from those of others.
func (w *worker) step(s *step) {
	out := w.bits(s.place)
	switch s.kind {
	case nodeNo:
		fill(out, false)
	case nodeYes:
		copy(out, w.live[:])
	case nodeAnd:
		w.and(out, s.kids)
	case nodeOr:
		w.or(out, s.kids)
	case nodeNot:
		for i, x := range w.bits(s.kids[0]) {
			out[i] = ^x
		}
	case nodePresent:
		w.present(out, s.table)
	case nodeDirect:
		w.marked(out, s.marks)
	case nodeMember:
		w.member(out, s.of)
	case nodeTest:
		w.test(out, s)
	case nodeRowTest:
		w.each(out, func(j int, d uint32) bool {
			for _, r := range s.table.lists.at(d) {
				if s.rows.form.fresh(r, w.now) {
					return true
				}
			}
			return false
		})
	case nodeNumber:
		w.each(out, func(j int, d uint32) bool {
			return s.cond.test(scalar{number: int64(d)}, w.now) == s.cond.want
		})
	case nodeGlobal:
		fill(out, s.cond.test(scalar{}, w.now) == s.cond.want)
	case nodeEach:
		w.read(out, s)
	}
}

func (w *worker) and(out []uint64, kids []int) {
	a, b := w.bits(kids[0]), w.bits(kids[1])
	for i := range out {
		out[i] = a[i] & b[i]
	}
	for _, k := range kids[2:] {
		for i, x := range w.bits(k) {
			out[i] &= x
		}
	}
}

func (w *worker) or(out []uint64, kids []int) {
	a, b := w.bits(kids[0]), w.bits(kids[1])
	for i := range out {
		out[i] = a[i] | b[i]
	}
	for _, k := range kids[2:] {
		for i, x := range w.bits(k) {
			out[i] |= x
		}
	}
}

// each asks the devices of the chunk that are there one by one.
func (w *worker) each(out []uint64, is func(j int, device uint32) bool) {
	for i := range out {
		word := uint64(0)
		for live := w.live[i]; live != 0; live &= live - 1 {
			j := bits.TrailingZeros64(live)
			d := uint32(64*(w.chunk.group+i) + j)
			if w.chunk.devices != nil {
				d = w.chunk.devices[64*i+j]
			}
			if is(64*i+j, d) {
				word |= 1 << j
			}
		}
		out[i] = word
	}
}

func (w *worker) present(out []uint64, t *table) {
	switch {
	case t.many:
		w.each(out, func(_ int, d uint32) bool { return len(t.lists.at(d)) > 0 })
	default:
		w.marked(out, &t.present)
	}
}

func (w *worker) marked(out []uint64, m *marks) {
	if w.chunk.devices == nil {
		for i := range out {
			out[i] = m.word(w.chunk.group + i)
		}
		return
	}
	clear(out)
	for j, d := range w.chunk.devices {
		if m.has(d) {
			out[j>>6] |= 1 << (j & 63)
		}
	}
}

// member takes the members of a collection that is not computed here.
func (w *worker) member(out []uint64, c *compiled) {
	clear(out)
	if w.chunk.devices == nil {
		for i := range out {
			if g := w.e.matrix.group(w.chunk.group + i); g != nil && c.slot >= 0 {
				out[i] = g[c.slot]
			}
		}
	} else {
		for j, d := range w.chunk.devices {
			if w.e.matrix.has(c.slot, d) {
				out[j>>6] |= 1 << (j & 63)
			}
		}
	}
	if other := w.overlay[c]; other != nil && !other.IsEmpty() {
		w.each(w.scratch[:len(out)], func(_ int, d uint32) bool { return other.Contains(d) })
		for i := range out {
			out[i] ^= w.scratch[i]
		}
	}
}

// test asks a column about which no answers are kept.
func (w *worker) test(out []uint64, s *step) {
	codes := w.codesOf(&s.col.cells)
	c := s.cond
	null := c.null == c.want
	if codes == nil {
		fill(out, null)
		return
	}
	fast := c.clock != nil && c.clock.sorted && c.clock.column && c.dict.kind == ofNumbers
	for i := range out {
		word := uint64(0)
		for j, code := range codes[64*i:][:64] {
			var is bool
			switch {
			case code == 0:
				is = null
			case fast:
				is = c.clock.at(c.dict.numbers[code]) == (c.want == True)
			default:
				is = c.truth(code, w.now) == c.want
			}
			if is {
				word |= 1 << j
			}
		}
		out[i] = word
	}
}

// read asks a query, or one condition of it, word by word.
func (w *worker) read(out []uint64, s *step) {
	at := 0
	r := &reading{p: w.g.p, now: w.now}
	r.member = func(c *compiled) bool {
		for i, m := range s.each.members {
			if m == c {
				return w.bits(s.kids[i])[at>>6]>>(at&63)&1 != 0
			}
		}
		return false
	}
	w.each(out, func(j int, d uint32) bool {
		at, r.device = j, d
		if s.each.expr == nil {
			return r.selects(s.each.query)
		}
		return r.truthOf(s.each.query, s.each.expr) == s.each.want
	})
}

// truthOf tells what a condition is that asks no rows of sources that have many.
func (r *reading) truthOf(q *wql.Query, e wql.Expr) Truth {
	c := &combination{reading: r, q: q, seats: make([]seat, len(q.Sources))}
	for i := range q.Sources {
		s := &q.Sources[i]
		c.seats[i] = seat{none: true}
		if s.Class == nil {
			if m := r.p.collection(upper(s.Collection)); m != nil && r.member(m) {
				c.seats[i] = seat{}
			}
		} else if t := r.p.e.tables[s.Class.Index]; !t.many && (s.Class.Index == r.p.e.system || t.present.has(r.device)) {
			c.seats[i] = seat{table: t, row: r.device}
		}
		if s.Outer && s.On != nil && !c.seats[i].none && !r.many(s) && c.truth(s.On) != True {
			c.seats[i] = seat{none: true}
		}
	}
	return c.truth(e)
}

func (r *reading) many(s *wql.Source) bool {
	return s.Class != nil && r.p.e.tables[s.Class.Index].many
}
