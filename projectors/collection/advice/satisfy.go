package advice

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// Contradictions are looked for in queries of so many conditions, and among so many
// values behind in.
const (
	maxLeaves = 512
	maxValues = 256
)

// never speaks of a query whose conditions contradict each other.
func (r *reader) never() {
	root := tree(r.q)
	if root.size() > maxLeaves {
		return
	}
	found := contradiction(r.q, root, nil)
	if found == nil {
		return
	}
	var parts []string
	for _, n := range found[:min(len(found), most)] {
		parts = append(parts, shownNode(r.q, n))
	}
	verb := "can never hold together"
	if len(parts) == 1 {
		verb = "can never hold"
	}
	r.say(never, []remark{{found[0].pos, strings.Join(parts, " and ") + " " + verb}}, r.asOr(found))
}

func shownNode(q *wql.Query, n *node) string {
	text := shown(q, n.leaf)
	if n.not {
		return "not " + text
	}
	return text
}

// contradiction returns leaves of which one is always false if a node is to be true
// and the known ones are; nil if there are none, as far as this looks: at one column
// at a time.
func contradiction(q *wql.Query, n *node, known []*node) []*node {
	if n == nil {
		return nil
	}
	if n.or {
		var first []*node
		for _, k := range n.kids {
			found := contradiction(q, k, known)
			if found == nil {
				return nil
			}
			if first == nil {
				first = found
			}
		}
		return first
	}
	facts := n.facts()
	known = append(slices.Clip(known), facts...)
	for _, f := range facts {
		if found := conflict(q, f, known); found != nil {
			return found
		}
	}
	for _, k := range n.kids {
		if k.leaf == nil {
			if found := contradiction(q, k, known); found != nil {
				return found
			}
		}
	}
	return nil
}

// conflict returns the leaves about the column of one if they cannot all be true.
func conflict(q *wql.Query, n *node, known []*node) []*node {
	c, ok := single(n.leaf)
	if !ok {
		return nil
	}
	var all []*node
	for _, k := range known {
		if o, ok := single(k.leaf); ok && o.Source == c.Source && o.Property == c.Property {
			all = append(all, k)
		}
	}
	if bothNull(all) || !someValue(all) || !someRange(all) || !somePrefix(all) {
		slices.SortStableFunc(all, func(a, b *node) int { return int(a.pos - b.pos) })
		return all
	}
	return nil
}

// single is the column that a leaf compares with constants, if it has one value in
// a row.
func single(e wql.Expr) (c wql.Column, ok bool) {
	switch e := e.(type) {
	case *wql.Compare:
		o, _, _, is := constantOf(e)
		if !is {
			return c, false
		}
		c, ok = o.(wql.Column)
	case *wql.Like:
		c, ok = e.Operand.(wql.Column)
	case *wql.In:
		c, ok = e.Operand.(wql.Column)
	case *wql.IsNull:
		c, ok = e.Operand.(wql.Column)
	}
	return c, ok && !c.List && c.Property >= 0
}

// bothNull tells whether some want NULL and others a value.
func bothNull(all []*node) bool {
	null, value := false, false
	for _, n := range all {
		if e, ok := n.leaf.(*wql.IsNull); ok && e.Not == n.not {
			null = true
		} else {
			value = true
		}
	}
	return null && value
}

// someValue tells whether one of the values that = or in name fits all; without
// such it is true.
func someValue(all []*node) bool {
	for _, n := range all {
		values, ok := wants(n)
		if !ok || len(values) > maxValues {
			continue
		}
		return slices.ContainsFunc(values, func(v wql.Constant) bool {
			return !v.Round && !slices.ContainsFunc(all, func(o *node) bool { return !holds(o, v) })
		})
	}
	return true
}

// wants returns the values of which a leaf wants one.
func wants(n *node) ([]wql.Constant, bool) {
	switch e := n.leaf.(type) {
	case *wql.Compare:
		_, op, v, _ := constantOf(e)
		return []wql.Constant{v}, op == wql.Equal && !n.not || op == wql.NotEqual && n.not
	case *wql.In:
		return e.List, e.Not == n.not
	}
	return nil, false
}

// holds tells whether a leaf is true of a value.
func holds(n *node, v wql.Constant) bool {
	switch e := n.leaf.(type) {
	case *wql.Compare:
		_, op, c, _ := constantOf(e)
		return compares(v, op, c) != n.not
	case *wql.Like:
		return wql.CompileLike(e.Pattern).Match(wql.Fold(v.Text)) != (e.Not != n.not)
	case *wql.In:
		in := slices.ContainsFunc(e.List, func(c wql.Constant) bool { return compares(v, wql.Equal, c) })
		return in != (e.Not != n.not)
	case *wql.IsNull:
		return e.Not != n.not
	}
	return true
}

// compares compares a value, which is whole, with a constant, which may have a
// fraction.
func compares(v wql.Constant, op wql.Op, c wql.Constant) bool {
	by := order(v, c)
	if c.Round && by == 0 {
		by = -1 // c is above its Number
	}
	switch op {
	case wql.Equal:
		return by == 0
	case wql.NotEqual:
		return by != 0
	case wql.Less:
		return by < 0
	case wql.LessEqual:
		return by <= 0
	case wql.Greater:
		return by > 0
	}
	return by >= 0
}

func order(a, b wql.Constant) int {
	if a.Of == schema.Text {
		return strings.Compare(wql.Fold(a.Text), wql.Fold(b.Text))
	}
	return cmp.Compare(a.Number, b.Number)
}

// someRange tells whether the bounds that <, <=, > and >= set leave anything.
func someRange(all []*node) bool {
	var low, high *wql.Constant
	lowOpen, highOpen := false, false
	for _, n := range all {
		e, ok := n.leaf.(*wql.Compare)
		if !ok {
			continue
		}
		_, op, c, _ := constantOf(e)
		if n.not {
			op = opposite[op]
		}
		switch {
		case c.Round && (op == wql.Less || op == wql.LessEqual):
			op, c.Round = wql.LessEqual, false
		case c.Round && (op == wql.Greater || op == wql.GreaterEqual):
			op, c.Round = wql.Greater, false
		}
		switch op {
		case wql.Less, wql.LessEqual:
			if high == nil || order(c, *high) < 0 || order(c, *high) == 0 && op == wql.Less {
				high, highOpen = &c, op == wql.Less
			}
		case wql.Greater, wql.GreaterEqual:
			if low == nil || order(c, *low) > 0 || order(c, *low) == 0 && op == wql.Greater {
				low, lowOpen = &c, op == wql.Greater
			}
		}
	}
	if low == nil || high == nil {
		return true
	}
	by := order(*low, *high)
	if by == 0 {
		return !lowOpen && !highOpen
	}
	whole := low.Of == schema.Number || low.Of == schema.Bool
	return by < 0 && !(whole && lowOpen && highOpen && high.Number-low.Number == 1)
}

// opposite is the comparison that is true where another one is false.
var opposite = map[wql.Op]wql.Op{wql.Equal: wql.NotEqual, wql.NotEqual: wql.Equal, wql.Less: wql.GreaterEqual, wql.GreaterEqual: wql.Less,
	wql.Greater: wql.LessEqual, wql.LessEqual: wql.Greater}

// somePrefix tells whether some text can begin as all patterns want.
func somePrefix(all []*node) bool {
	longest := ""
	for _, n := range all {
		e, ok := n.leaf.(*wql.Like)
		if !ok || e.Not != n.not {
			continue
		}
		p := e.Pattern
		if i := strings.IndexAny(p, "%_["); i >= 0 {
			p = p[:i]
		}
		p = wql.Fold(p)
		switch {
		case strings.HasPrefix(p, longest):
			longest = p
		case !strings.HasPrefix(longest, p):
			return false
		}
	}
	return true
}

// asOr puts leaves that exclude each other together by or where and did, if they all
// name values and stand beside each other; else nil.
func (r *reader) asOr(found []*node) *edit {
	for _, n := range found {
		_, wanted := wants(n)
		like, isLike := n.leaf.(*wql.Like)
		if n.not || !wanted && (!isLike || like.Not) {
			return nil
		}
	}
	and := andOf(r.q.Where, found)
	if and == nil || len(found) < 2 {
		return nil
	}
	e := newEdit()
	terms := make([]wql.Expr, len(found))
	for i, n := range found {
		terms[i] = n.leaf
		e.leaves[n.leaf] = nil
	}
	e.leaves[found[0].leaf] = &wql.Or{Terms: terms, Pos: found[0].pos}
	return e
}

// andOf returns the and that has all of the leaves among its terms.
func andOf(x wql.Expr, found []*node) *wql.And {
	switch x := x.(type) {
	case *wql.And:
		if !slices.ContainsFunc(found, func(n *node) bool { return !slices.Contains(x.Terms, n.leaf) }) {
			return x
		}
		for _, t := range x.Terms {
			if a := andOf(t, found); a != nil {
				return a
			}
		}
	case *wql.Or:
		for _, t := range x.Terms {
			if a := andOf(t, found); a != nil {
				return a
			}
		}
	}
	return nil
}
