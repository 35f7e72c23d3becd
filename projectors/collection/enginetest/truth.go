package enginetest

import (
	"fmt"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A truth is one of three, ordered so that and is the least and or the greatest.
type truth int

const (
	no truth = iota
	unknown
	yes
)

func of(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth { return yes - t }

// negated is t, or what not makes of it.
func (t truth) negated(not bool) truth {
	if not {
		return t.not()
	}
	return t
}

// truth is that of a condition for a combination of rows.
func (r row) truth(e wql.Expr) truth {
	switch e := e.(type) {
	case *wql.And:
		t := yes
		for _, x := range e.Terms {
			t = min(t, r.truth(x))
		}
		return t
	case *wql.Or:
		t := no
		for _, x := range e.Terms {
			t = max(t, r.truth(x))
		}
		return t
	case *wql.Not:
		return r.truth(e.Term).not()
	case *wql.IsNull:
		return of((len(r.operand(e.Operand)) == 0) != e.Not)
	case *wql.Compare:
		return r.compare(e)
	case *wql.Like:
		return r.some(e.Operand, func(v scalar) truth { return of(like(v.folded(), e.Pattern)).negated(e.Not) })
	case *wql.In:
		return r.some(e.Operand, func(v scalar) truth {
			t := no
			for _, c := range e.List {
				t = max(t, equalsConstant(v, c))
			}
			return t.negated(e.Not)
		})
	case *wql.InQuery:
		return r.inQuery(e)
	}
	panic(fmt.Sprintf("condition %T", e))
}

// some is the best truth that one of the operand's values has; unknown if it has
// none.
func (r row) some(o wql.Operand, is func(scalar) truth) truth {
	values := r.operand(o)
	if len(values) == 0 {
		return unknown
	}
	t := no
	for _, v := range values {
		t = max(t, is(v))
	}
	return t
}

func (r row) inQuery(e *wql.InQuery) truth {
	if len(r.operand(e.Operand)) == 0 {
		return unknown
	}
	if ofDevice(e.Operand) {
		return of(r.f.Selects(e.Query, r.device, r.now)).negated(e.Not)
	}
	values, null := r.f.selection(e.Query, r.now)
	return r.some(e.Operand, func(v scalar) truth {
		t := no
		if null {
			t = unknown
		}
		for _, w := range values {
			t = max(t, of(order(v, w) == 0))
		}
		return t.negated(e.Not)
	})
}

// ofDevice tells whether an operand is a ResourceID.
func ofDevice(o wql.Operand) bool {
	c, ok := o.(wql.Column)
	return ok && c.Property < 0
}

func (r row) compare(e *wql.Compare) truth {
	return r.some(e.Left, func(a scalar) truth {
		return r.some(e.Right, func(b scalar) truth { return of(holds(e.Op, a, b)) })
	})
}

// holds compares two scalars of which one may lie half above its number.
func holds(op wql.Op, a, b scalar) bool {
	c := order(a, b)
	switch op {
	case wql.Equal:
		return c == 0
	case wql.NotEqual:
		return c != 0
	case wql.Less:
		return c < 0
	case wql.LessEqual:
		return c <= 0
	case wql.Greater:
		return c > 0
	case wql.GreaterEqual:
		return c >= 0
	}
	panic(fmt.Sprintf("comparison %d", op))
}

func equalsConstant(v scalar, c wql.Constant) truth {
	w := constant(c)
	if len(w) == 0 {
		return unknown
	}
	return of(order(v, w[0]) == 0)
}
