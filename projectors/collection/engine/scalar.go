package engine

import (
	"cmp"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A scalar is a value that is not NULL: a folded text, or a number; half says that
// the number is half as much again, which only constants can be.
type scalar struct {
	text   string
	number int64
	half   bool
}

func order3(a, b scalar, text bool) int {
	if text {
		return strings.Compare(a.text, b.text)
	}
	if c := cmp.Compare(a.number, b.number); c != 0 || a.half == b.half {
		return c
	}
	if a.half {
		return 1
	}
	return -1
}

// holds tells whether op holds for what compares as c with 0.
func holds(op wql.Op, c int) bool {
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
	return false
}

func truthOf(is bool) Truth {
	if is {
		return True
	}
	return False
}

// not is the negation.
func (t Truth) not() Truth {
	switch t {
	case True:
		return False
	case False:
		return True
	}
	return Unknown
}

// and and or are those of SQL.
func (t Truth) and(u Truth) Truth {
	if t == False || u == False {
		return False
	}
	if t == True && u == True {
		return True
	}
	return Unknown
}

func (t Truth) or(u Truth) Truth { return t.not().and(u.not()).not() }

// String returns "false", "true" or "unknown".
func (t Truth) String() string {
	switch t {
	case True:
		return "true"
	case False:
		return "false"
	}
	return "unknown"
}

// constant is the value of one; false: NULL.
func constant(c wql.Constant) (scalar, bool) {
	if c.Null {
		return scalar{}, false
	}
	if c.Of == schema.Text {
		return scalar{text: wql.Fold(c.Text)}, true
	}
	return scalar{number: c.Number, half: c.Round}, true
}

// call is what a function makes of operands that are not NULL; first is the first
// of them.
func call(c *wql.Call, first scalar, rest []scalar) scalar {
	arg := func(i int) int64 {
		if i < len(rest) {
			return rest[i].number
		}
		return 0
	}
	switch c.Function {
	case wql.Upper:
		return scalar{text: wql.Fold(strings.ToUpper(first.text))}
	case wql.Lower:
		return scalar{text: wql.Fold(strings.ToLower(first.text))}
	case wql.Substring:
		return scalar{text: wql.SubstringOf(first.text, arg(0), arg(1))}
	case wql.DatePart:
		return scalar{number: c.Part.Of(first.number)}
	case wql.DateDiff:
		return scalar{number: c.Part.Diff(first.number, arg(0))}
	case wql.DateAdd:
		return scalar{number: c.Part.Add(first.number, arg(0))}
	}
	return scalar{}
}

// columnsOf yields every place in a condition or operand where a column stands; not
// those in the queries inside of it.
func columnsOf(x any, yield func(wql.Column)) {
	switch x := x.(type) {
	case wql.Column:
		yield(x)
	case *wql.Call:
		for _, a := range x.Args {
			columnsOf(a, yield)
		}
	case *wql.And:
		for _, t := range x.Terms {
			columnsOf(t, yield)
		}
	case *wql.Or:
		for _, t := range x.Terms {
			columnsOf(t, yield)
		}
	case *wql.Not:
		columnsOf(x.Term, yield)
	case *wql.Compare:
		columnsOf(x.Left, yield)
		columnsOf(x.Right, yield)
	case *wql.Like:
		columnsOf(x.Operand, yield)
	case *wql.In:
		columnsOf(x.Operand, yield)
	case *wql.InQuery:
		columnsOf(x.Operand, yield)
	case *wql.IsNull:
		columnsOf(x.Operand, yield)
	}
}

// asksTime tells whether GetDate() stands in an operand or a condition; not in a
// query inside of it.
func asksTime(x any) bool {
	switch x := x.(type) {
	case wql.Now:
		return true
	case *wql.Call:
		for _, a := range x.Args {
			if asksTime(a) {
				return true
			}
		}
	case *wql.Compare:
		return asksTime(x.Left) || asksTime(x.Right)
	case *wql.Like:
		return asksTime(x.Operand)
	case *wql.In:
		return asksTime(x.Operand)
	case *wql.InQuery:
		return asksTime(x.Operand)
	case *wql.IsNull:
		return asksTime(x.Operand)
	}
	return false
}

// eachQuery yields a query and all that stand inside of it, inner ones later.
func eachQuery(q *wql.Query, yield func(*wql.Query)) {
	yield(q)
	eachTest(q, func(e wql.Expr) {
		if e, ok := e.(*wql.InQuery); ok {
			eachQuery(e.Query, yield)
		}
	})
}

// eachTest yields the tests of a query: what and, or and not join.
func eachTest(q *wql.Query, yield func(wql.Expr)) {
	var walk func(e wql.Expr)
	walk = func(e wql.Expr) {
		switch e := e.(type) {
		case *wql.And:
			for _, t := range e.Terms {
				walk(t)
			}
		case *wql.Or:
			for _, t := range e.Terms {
				walk(t)
			}
		case *wql.Not:
			walk(e.Term)
		default:
			yield(e)
		}
	}
	if q.Where != nil {
		walk(q.Where)
	}
	for i := range q.Sources {
		if on := q.Sources[i].On; on != nil {
			walk(on)
		}
	}
}
