package advice

import (
	"iter"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// queries looks at what query rules ask.
func (a *adviser) queries() {
	for _, id := range a.order {
		c := a.byID[id]
		for i := range c.Rules {
			if q := c.Rules[i].Parsed; q != nil {
				r := &reader{adviser: a, c: c, rule: i, q: q}
				r.someOther()
				r.orBesideJoin()
				r.textOrder()
				r.wildcards()
				r.never()
				r.absent()
			}
		}
	}
}

// A reader looks at one query rule.
type reader struct {
	*adviser
	c    *Collection
	rule int // its index
	q    *wql.Query
}

// A remark is about one place in a query.
type remark struct {
	pos  wql.Pos
	what string // without a full stop
}

// say adds one advice about all places of a query to which the same applies, with
// the query as it was probably meant; edit may be nil. It returns nil if there is
// nothing to say.
func (r *reader) say(code string, remarks []remark, edit *edit) *Advice {
	if len(remarks) == 0 {
		return nil
	}
	slices.SortStableFunc(remarks, func(a, b remark) int { return int(a.pos - b.pos) })
	what := make([]string, len(remarks))
	for i, m := range remarks {
		what[i] = m.what
	}
	said := r.adviser.say(code, []string{r.c.ID}, "%s: %s.", r.c.ruleName(r.rule), several(slices.Compact(what)))
	said.Rule = r.c.rule(r.rule, remarks[0].pos)
	if edit == nil {
		return said
	}
	corrected := edit.query(r.q).String()
	if len(corrected) > wql.MaxText {
		return said
	}
	said.Rule.Corrected = corrected
	if name := said.Rule.Name; name != "" { // a query with a name replaces the one that has it
		said.Commands = []string{command("collections", "add-rule", r.c.ID, "--query", corrected, "--query-name", name)}
		return said
	}
	said.Commands = []string{command("collections", "add-rule", r.c.ID, "--query", corrected),
		command("collections", "remove-rule", r.c.ID, "--query", decimal(r.rule+1))}
	return said
}

// subQueries returns a query and all that stand in it, each before those in it.
func subQueries(q *wql.Query) iter.Seq[*wql.Query] {
	return func(yield func(*wql.Query) bool) {
		for left := []*wql.Query{q}; len(left) > 0; {
			at := left[len(left)-1]
			left = left[:len(left)-1]
			if !yield(at) {
				return
			}
			for e := range leaves(at) {
				if in, ok := e.(*wql.InQuery); ok {
					left = append(left, in.Query)
				}
			}
		}
	}
}

// leaves returns the conditions of a query that and, or and not put together, those
// of its joins too, but not those of sub-selects.
func leaves(q *wql.Query) iter.Seq[wql.Expr] {
	return func(yield func(wql.Expr) bool) {
		var left []wql.Expr
		for i := range q.Sources {
			left = append(left, q.Sources[i].On)
		}
		left = append(left, q.Where)
		for len(left) > 0 {
			at := left[len(left)-1]
			left = left[:len(left)-1]
			switch e := at.(type) {
			case nil:
			case *wql.And:
				left = append(left, e.Terms...)
			case *wql.Or:
				left = append(left, e.Terms...)
			case *wql.Not:
				left = append(left, e.Term)
			default:
				if !yield(e) {
					return
				}
			}
		}
	}
}

// A node is a condition with its nots pushed down to the leaves. What it is true
// for is the same.
type node struct {
	kids []*node // of and and or, at least two
	or   bool
	leaf wql.Expr // without kids
	not  bool     // the leaf is negated
	pos  wql.Pos
}

// tree is the whole condition of a query: behind where, and of its inner joins. nil
// if there is none.
func tree(q *wql.Query) *node {
	var all []*node
	if q.Where != nil {
		all = append(all, push(q.Where, false))
	}
	for i := range q.Sources {
		if s := &q.Sources[i]; s.On != nil && !s.Outer {
			all = append(all, push(s.On, false))
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return join(all, false, all[0].pos)
}

func push(e wql.Expr, not bool) *node {
	var terms []wql.Expr
	or := not
	switch e := e.(type) {
	case *wql.Not:
		return push(e.Term, !not)
	case *wql.And:
		terms = e.Terms
	case *wql.Or:
		terms, or = e.Terms, !not
	default:
		return &node{leaf: e, not: not, pos: e.Position()}
	}
	kids := make([]*node, len(terms))
	for i, t := range terms {
		kids[i] = push(t, not)
	}
	return join(kids, or, e.Position())
}

// join makes one node of several; those of its own sort give their kids.
func join(kids []*node, or bool, pos wql.Pos) *node {
	n := &node{or: or, pos: pos}
	for _, k := range kids {
		if k.leaf == nil && k.or == or {
			n.kids = append(n.kids, k.kids...)
		} else {
			n.kids = append(n.kids, k)
		}
	}
	return n
}

// facts are the leaves that hold whenever the node is true: its own if it is one,
// and those that and puts together.
func (n *node) facts() (all []*node) {
	if n.leaf != nil {
		return []*node{n}
	}
	if n.or {
		return nil
	}
	for _, k := range n.kids {
		if k.leaf != nil {
			all = append(all, k)
		}
	}
	return all
}

// visit calls f for each node with the leaves that must hold as well, its own
// facts among them.
func (n *node) visit(known []*node, f func(n *node, known []*node)) {
	if n == nil {
		return
	}
	known = append(slices.Clip(known), n.facts()...)
	f(n, known)
	for _, k := range n.kids {
		if k.leaf == nil || n.or {
			k.visit(known, f)
		}
	}
}

// size is how many leaves there are.
func (n *node) size() (all int) {
	if n == nil {
		return 0
	}
	if n.leaf != nil {
		return 1
	}
	for _, k := range n.kids {
		all += k.size()
	}
	return all
}

// columnOf is the only column in an operand, also in a function.
func columnOf(o wql.Operand) (found wql.Column, ok bool) {
	for c := range columns(o) {
		if ok {
			return c, false
		}
		found, ok = c, true
	}
	return found, ok
}

func columns(o wql.Operand) iter.Seq[wql.Column] {
	return func(yield func(wql.Column) bool) {
		switch o := o.(type) {
		case wql.Column:
			yield(o)
		case *wql.Call:
			for _, a := range o.Args {
				for c := range columns(a) {
					if !yield(c) {
						return
					}
				}
			}
		}
	}
}

// operands are those of a leaf.
func operands(e wql.Expr) []wql.Operand {
	switch e := e.(type) {
	case *wql.Compare:
		return []wql.Operand{e.Left, e.Right}
	case *wql.Like:
		return []wql.Operand{e.Operand}
	case *wql.In:
		return []wql.Operand{e.Operand}
	case *wql.InQuery:
		return []wql.Operand{e.Operand}
	case *wql.IsNull:
		return []wql.Operand{e.Operand}
	}
	return nil
}

// of tells whether a leaf asks for something of a source.
func of(e wql.Expr, source int) bool {
	for _, o := range operands(e) {
		for c := range columns(o) {
			if c.Source == source {
				return true
			}
		}
	}
	return false
}

// about tells whether something under a node asks for something of a source.
func (n *node) about(source int) bool {
	if n.leaf != nil {
		return of(n.leaf, source)
	}
	return slices.ContainsFunc(n.kids, func(k *node) bool { return k.about(source) })
}

// constantOf is a comparison of a column with a constant, with the column on the
// left.
func constantOf(e *wql.Compare) (column wql.Operand, op wql.Op, constant wql.Constant, ok bool) {
	if c, is := e.Right.(wql.Constant); is {
		return e.Left, e.Op, c, true
	}
	if c, is := e.Left.(wql.Constant); is {
		return e.Right, mirrored[e.Op], c, true
	}
	return nil, 0, wql.Constant{}, false
}

// mirrored is what a comparison is with its sides changed.
var mirrored = map[wql.Op]wql.Op{wql.Equal: wql.Equal, wql.NotEqual: wql.NotEqual, wql.Less: wql.Greater, wql.LessEqual: wql.GreaterEqual,
	wql.Greater: wql.Less, wql.GreaterEqual: wql.LessEqual}

// property is the property of a column; nil for ResourceID.
func property(q *wql.Query, c wql.Column) *schema.Property {
	if class := q.Sources[c.Source].Class; class != nil && c.Property >= 0 && c.Property < len(class.Properties) {
		return &class.Properties[c.Property]
	}
	return nil
}

// shown is a condition as texts repeat it: without the names of classes, and not
// longer than a line.
func shown(q *wql.Query, e wql.Expr) string {
	text := q.Print(e)
	for i := range q.Sources {
		if alias := q.Sources[i].Alias; strings.HasPrefix(alias, "SMS_") {
			text = strings.ReplaceAll(text, alias+".", "")
		}
	}
	if r := []rune(text); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return text
}

// longest is how many characters of a condition a text repeats.
const longest = 80
