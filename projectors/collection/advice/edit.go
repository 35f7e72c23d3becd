package advice

import (
	"slices"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// An edit is what is to be changed in a query and those in it. The query stays as
// it is: a copy is changed.
type edit struct {
	leaves  map[wql.Expr]wql.Expr // what stands in place of a condition; nil in and or or: nothing
	queries map[*wql.Query]func(copied *wql.Query)
}

func newEdit() *edit {
	return &edit{map[wql.Expr]wql.Expr{}, map[*wql.Query]func(*wql.Query){}}
}

func (e *edit) query(q *wql.Query) *wql.Query {
	c := *q
	c.Sources = slices.Clone(q.Sources)
	for i := range c.Sources {
		c.Sources[i].On = e.expr(c.Sources[i].On)
	}
	c.Columns = slices.Clone(q.Columns)
	c.Where = e.expr(q.Where)
	if change := e.queries[q]; change != nil {
		change(&c)
	}
	return &c
}

func (e *edit) expr(x wql.Expr) wql.Expr {
	if other, ok := e.leaves[x]; ok {
		return other
	}
	switch x := x.(type) {
	case *wql.And:
		terms := e.terms(x.Terms)
		if len(terms) < 2 {
			return only(terms)
		}
		return &wql.And{Terms: terms, Pos: x.Pos}
	case *wql.Or:
		terms := e.terms(x.Terms)
		if len(terms) < 2 {
			return only(terms)
		}
		return &wql.Or{Terms: terms, Pos: x.Pos}
	case *wql.Not:
		if term := e.expr(x.Term); term != nil {
			return &wql.Not{Term: term, Pos: x.Pos}
		}
		return nil
	case *wql.InQuery:
		c := *x
		c.Query = e.query(x.Query)
		return &c
	}
	return x
}

func only(terms []wql.Expr) wql.Expr {
	if len(terms) == 0 {
		return nil
	}
	return terms[0]
}

func (e *edit) terms(all []wql.Expr) (kept []wql.Expr) {
	for _, t := range all {
		if t := e.expr(t); t != nil {
			kept = append(kept, t)
		}
	}
	return kept
}

// onSource is an operand whose columns are of another source.
func onSource(o wql.Operand, place func(int) int) wql.Operand {
	switch o := o.(type) {
	case wql.Column:
		o.Source = place(o.Source)
		return o
	case *wql.Call:
		c := *o
		c.Args = slices.Clone(o.Args)
		for i := range c.Args {
			c.Args[i] = onSource(c.Args[i], place)
		}
		return &c
	}
	return o
}

// replace gives the columns of a condition other sources.
func replace(x wql.Expr, place func(int) int) wql.Expr {
	switch x := x.(type) {
	case *wql.And:
		return &wql.And{Terms: replaceAll(x.Terms, place), Pos: x.Pos}
	case *wql.Or:
		return &wql.Or{Terms: replaceAll(x.Terms, place), Pos: x.Pos}
	case *wql.Not:
		return &wql.Not{Term: replace(x.Term, place), Pos: x.Pos}
	case *wql.Compare:
		c := *x
		c.Left, c.Right = onSource(x.Left, place), onSource(x.Right, place)
		return &c
	case *wql.Like:
		c := *x
		c.Operand = onSource(x.Operand, place)
		return &c
	case *wql.In:
		c := *x
		c.Operand = onSource(x.Operand, place)
		return &c
	case *wql.InQuery:
		c := *x
		c.Operand = onSource(x.Operand, place)
		return &c
	case *wql.IsNull:
		c := *x
		c.Operand = onSource(x.Operand, place)
		return &c
	}
	return x
}

func replaceAll(all []wql.Expr, place func(int) int) []wql.Expr {
	other := make([]wql.Expr, len(all))
	for i := range all {
		other[i] = replace(all[i], place)
	}
	return other
}

// rearrange gives the columns of a whole query other sources; its sources are
// already in their new places.
func rearrange(q *wql.Query, place func(int) int) {
	for i := range q.Sources {
		if q.Sources[i].On != nil {
			q.Sources[i].On = replace(q.Sources[i].On, place)
		}
	}
	if q.Where != nil {
		q.Where = replace(q.Where, place)
	}
	for i := range q.Columns {
		q.Columns[i].Source = place(q.Columns[i].Source)
	}
}
