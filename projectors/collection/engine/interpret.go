package engine

import (
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A reading takes a query's tree word by word for one device: the slow way, for what
// does not compile to columns, and for explanations.
type reading struct {
	p      *plan
	device uint32
	now    int64
	member func(*compiled) bool // whether the device is in a collection

	inner map[*wql.Query]bool // what inner queries are for the device of
	of    uint32
}

// innerSelects is selects for a query inside of another, which each combination of
// rows asks again.
func (r *reading) innerSelects(q *wql.Query) bool {
	if r.inner == nil || r.of != r.device {
		r.inner, r.of = map[*wql.Query]bool{}, r.device
	}
	is, known := r.inner[q]
	if !known {
		is = r.selects(q)
		r.inner[q] = is
	}
	return is
}

// A seat is one source's part of a combination of rows.
type seat struct {
	table *table // nil: of a collection
	row   uint32 // number in the table's columns
	none  bool   // a row of NULLs
}

// A combination is a row for each source of a query.
type combination struct {
	*reading
	q     *wql.Query
	seats []seat
}

// selects tells whether a query selects the device.
func (r *reading) selects(q *wql.Query) (is bool) {
	r.combinations(q, func(c *combination) bool {
		is = q.Where == nil || c.truth(q.Where) == True
		return !is
	})
	return is
}

// combinations yields the combinations of rows that the joins of a query make.
func (r *reading) combinations(q *wql.Query, yield func(*combination) bool) {
	c := &combination{reading: r, q: q, seats: make([]seat, 0, len(q.Sources))}
	c.join(yield)
}

func (c *combination) join(yield func(*combination) bool) bool {
	i := len(c.seats)
	if i == len(c.q.Sources) {
		return yield(c)
	}
	s := &c.q.Sources[i]
	c.seats = append(c.seats, seat{})
	defer func() { c.seats = c.seats[:i] }()
	found := false
	take := func(t *table, row uint32) bool {
		c.seats[i] = seat{table: t, row: row}
		if s.On != nil && c.truth(s.On) != True {
			return true
		}
		found = true
		more := c.join(yield)
		c.seats = c.seats[:i+1]
		return more
	}
	if s.Class == nil {
		if m := c.p.collection(upper(s.Collection)); m != nil && c.member(m) && !take(nil, c.device) {
			return false
		}
	} else {
		t := c.p.e.tables[s.Class.Index]
		if s.Class.Index == c.p.e.system {
			if !take(t, c.device) {
				return false
			}
		} else {
			for _, row := range t.rows(c.device) {
				if !take(t, row) {
					return false
				}
			}
		}
	}
	if found || !s.Outer {
		return true
	}
	c.seats[i] = seat{none: true}
	return c.join(yield)
}

// operand returns the values of an operand: none for NULL, several of a list.
func (c *combination) operand(o wql.Operand) []scalar {
	switch o := o.(type) {
	case wql.Column:
		s := c.seats[o.Source]
		switch {
		case s.none:
			return nil
		case o.Property < 0:
			return []scalar{{number: int64(c.device)}}
		case s.table == nil || o.Property >= len(s.table.columns):
			return nil
		}
		col := s.table.columns[o.Property]
		return col.dict.scalars(col.at(s.row))
	case wql.Constant:
		if v, ok := constant(o); ok {
			return []scalar{v}
		}
	case wql.Now:
		return []scalar{{number: c.now}}
	case *wql.Call:
		return c.call(o)
	}
	return nil
}

func (c *combination) call(o *wql.Call) (out []scalar) {
	var rest []scalar
	var first []scalar
	for i, a := range o.Args {
		v := c.operand(a)
		if len(v) == 0 {
			return nil
		}
		if i == 0 {
			first = v
		} else {
			rest = append(rest, v[0])
		}
	}
	for _, v := range first {
		out = append(out, call(o, v, rest))
	}
	return out
}

// truth of a condition for the combination.
func (c *combination) truth(e wql.Expr) Truth {
	switch e := e.(type) {
	case *wql.And:
		t := True
		for _, x := range e.Terms {
			if t = t.and(c.truth(x)); t == False {
				break
			}
		}
		return t
	case *wql.Or:
		t := False
		for _, x := range e.Terms {
			if t = t.or(c.truth(x)); t == True {
				break
			}
		}
		return t
	case *wql.Not:
		return c.truth(e.Term).not()
	case *wql.IsNull:
		return truthOf((len(c.operand(e.Operand)) == 0) != e.Not)
	case *wql.Compare:
		text := e.Left.Type() == schema.Text
		return some(c.operand(e.Left), func(a scalar) Truth {
			return some(c.operand(e.Right), func(b scalar) Truth { return truthOf(holds(e.Op, order3(a, b, text))) })
		})
	case *wql.Like:
		p := c.p.pattern(e)
		return some(c.operand(e.Operand), func(v scalar) Truth { return truthOf(p.Match(v.text) != e.Not) })
	case *wql.In:
		return some(c.operand(e.Operand), func(v scalar) Truth { return inList(e, v) })
	case *wql.InQuery:
		return c.inQuery(e)
	}
	return Unknown
}

// some is the best truth that one of the values has; unknown if there is none.
func some(values []scalar, is func(scalar) Truth) Truth {
	if len(values) == 0 {
		return Unknown
	}
	t := False
	for _, v := range values {
		t = t.or(is(v))
	}
	return t
}

func inList(e *wql.In, v scalar) Truth {
	t, text := False, e.Operand.Type() == schema.Text
	for _, k := range e.List {
		w, ok := constant(k)
		switch {
		case !ok:
			t = t.or(Unknown)
		case order3(v, w, text) == 0:
			t = True
		}
	}
	return negatedIf(t, e.Not)
}

func negatedIf(t Truth, not bool) Truth {
	if not {
		return t.not()
	}
	return t
}

func (c *combination) inQuery(e *wql.InQuery) Truth {
	values := c.operand(e.Operand)
	if len(values) == 0 {
		return Unknown
	}
	if ofDevice(e.Operand) {
		return truthOf(c.innerSelects(e.Query) != e.Not)
	}
	s, text := c.p.set(e), e.Operand.Type() == schema.Text
	if s == nil {
		return Unknown
	}
	return some(values, func(v scalar) Truth { return negatedIf(s.has(v, text), e.Not) })
}

// ofDevice tells whether an operand is a ResourceID.
func ofDevice(o wql.Operand) bool {
	c, ok := o.(wql.Column)
	return ok && c.Property < 0
}
