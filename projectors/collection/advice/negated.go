package advice

import (
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// someOther speaks of != and the like where a device can have several rows or
// values, and nothing says which one is meant: it is true of any other one.
func (r *reader) someOther() {
	var remarks []remark
	e := newEdit()
	for q := range subQueries(r.q) {
		bad := map[int]bool{} // sources whose conditions move into a sub-select
		tree(q).visit(nil, func(n *node, known []*node) {
			for _, leaf := range n.facts() {
				o, ok := negative(leaf)
				if !ok {
					continue
				}
				c, ok := columnOf(o)
				switch {
				case !ok:
				case c.List && !leaf.not:
					e.leaves[leaf.leaf] = &wql.Not{Term: positive(leaf.leaf), Pos: leaf.pos}
					remarks = append(remarks, remark{leaf.pos, shown(q, leaf.leaf) + " is true of devices that have some other value too"})
				case !c.List && severalRows(q, c.Source) && !pinned(known, c.Source):
					e.leaves[leaf.leaf] = notIn(q, c.Source, leaf)
					bad[c.Source] = true
					remarks = append(remarks, remark{leaf.pos, shown(q, leaf.leaf) + " is true of devices that have some other row of " + q.Sources[c.Source].Class.Name})
				}
			}
		})
		if len(bad) > 0 {
			top := q == r.q
			e.queries[q] = func(copied *wql.Query) { dropUnused(copied, bad, top) }
		}
	}
	said := r.say(someOther, remarks, e)
	switch {
	case said == nil:
	case len(e.queries) > 0:
		said.Remedy = "Ask for devices that have no such row, with not in. That selects those as well that have no row at all."
	default:
		said.Remedy = "Put not before the condition."
	}
}

// severalRows tells whether a device can have several rows of a source.
func severalRows(q *wql.Query, source int) bool {
	class := q.Sources[source].Class
	return class != nil && class.Keyed()
}

// negative tells whether a leaf is true of what is not something, and returns what
// it looks at.
func negative(n *node) (wql.Operand, bool) {
	switch e := n.leaf.(type) {
	case *wql.Compare:
		column, op, _, ok := constantOf(e)
		return column, ok && (op == wql.NotEqual && !n.not || op == wql.Equal && n.not)
	case *wql.Like:
		return e.Operand, e.Not != n.not
	case *wql.In:
		return e.Operand, e.Not != n.not
	}
	return nil, false
}

// positive is the opposite of a leaf that is negative by itself, and else the leaf.
func positive(e wql.Expr) wql.Expr {
	switch e := e.(type) {
	case *wql.Compare:
		c := *e
		c.Op = wql.Equal
		return &c
	case *wql.Like:
		c := *e
		c.Not = false
		return &c
	case *wql.In:
		c := *e
		c.Not = false
		return &c
	}
	return e
}

// pinned tells whether something says which row of a source is meant: any condition
// that is not negative itself, nor about NULL.
func pinned(known []*node, source int) bool {
	for _, n := range known {
		if _, null := n.leaf.(*wql.IsNull); null || !of(n.leaf, source) {
			continue
		}
		if _, not := negative(n); !not {
			return true
		}
	}
	return false
}

// notIn is a leaf as a sub-select: no row of the class is such. Where the leaf
// stands behind a not, so does what is returned.
func notIn(q *wql.Query, source int, n *node) wql.Expr {
	class := q.Sources[source].Class
	first := func(int) int { return 0 }
	sub := &wql.Query{
		Sources: []wql.Source{{Class: class, Alias: class.Name}},
		Columns: []wql.Column{device(0)},
		Where:   replace(positive(n.leaf), first),
	}
	return &wql.InQuery{Operand: device(0), Query: sub, Not: !n.not, Pos: n.pos}
}

// device is the ResourceID of a source.
func device(source int) wql.Column {
	return wql.Column{Source: source, Property: -1, Of: schema.Number}
}

// dropUnused takes sources away to which no condition belongs any more. What is left
// without a first one reads all devices.
func dropUnused(q *wql.Query, bad map[int]bool, top bool) {
	for s := len(q.Sources) - 1; s >= 0; s-- {
		if bad[s] && !asked(q, s) && !listed(q, s, top) {
			drop(q, s)
		}
	}
}

// asked tells whether a condition of a query needs a source.
func asked(q *wql.Query, source int) bool {
	for e := range leaves(q) {
		if of(e, source) && !isDevice(e) {
			return true
		}
	}
	return false
}

// isDevice tells whether a leaf asks for nothing but whether the device is among
// others, which any source can answer.
func isDevice(e wql.Expr) bool {
	in, ok := e.(*wql.InQuery)
	if !ok {
		return false
	}
	c, ok := in.Operand.(wql.Column)
	return ok && c.Property == -1
}

// listed tells whether the list of a sub-select needs a source; that of the query
// itself decides nothing.
func listed(q *wql.Query, source int, top bool) bool {
	for _, c := range q.Columns {
		if c.Source == source && c.Property != -1 && !top {
			return true
		}
	}
	return false
}

// drop takes a source out of a query. In place of the first one stands the next, if
// it is an inner join on nothing else, or else all devices do.
func drop(q *wql.Query, s int) {
	next := len(q.Sources) > 1 && !q.Sources[1].Outer && q.Sources[1].On == nil
	class, _ := schema.Standard().Class(schema.System)
	if s == 0 && !next && slices.ContainsFunc(q.Sources, func(o wql.Source) bool { return strings.EqualFold(o.Alias, class.Name) }) {
		return
	}
	q.Columns = slices.DeleteFunc(q.Columns, func(c wql.Column) bool { return c.Source == s && c.Property != -1 })
	if len(q.Columns) == 0 {
		q.Columns = nil // all
	}
	if s == 0 && !next {
		q.Sources[0] = wql.Source{Class: class, Alias: class.Name}
		return
	}
	q.Sources = slices.Delete(q.Sources, s, s+1)
	rearrange(q, func(at int) int {
		switch {
		case at == s:
			return 0
		case at > s:
			return at - 1
		}
		return at
	})
}
