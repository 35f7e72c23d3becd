package wql

import (
	"strconv"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// String prints a query on one line, all names with their class. Parse reads the same
// tree from it. (Of a query near the limit of length it may be longer than that.)
func (q *Query) String() string {
	w := &printer{q: q}
	w.query()
	return w.String()
}

// Print prints a condition of the query as String does.
func (q *Query) Print(e Expr) string {
	w := &printer{q: q}
	w.expr(e)
	return w.String()
}

// printer prints what belongs to one query.
type printer struct {
	strings.Builder
	q *Query
}

func (w *printer) query() {
	w.WriteString("select ")
	if w.q.Distinct {
		w.WriteString("distinct ")
	}
	if w.q.Columns == nil {
		w.WriteString("*")
	}
	for i, c := range w.q.Columns {
		w.comma(i)
		w.operand(c)
	}
	w.WriteString(" from ")
	for i := range w.q.Sources {
		w.source(i)
	}
	if w.q.Where != nil {
		w.WriteString(" where ")
		w.expr(w.q.Where)
	}
}

func (w *printer) comma(i int) {
	if i > 0 {
		w.WriteString(", ")
	}
}

func (w *printer) source(i int) {
	src := &w.q.Sources[i]
	switch {
	case i == 0:
	case src.Outer:
		w.WriteString(" left join ")
	default:
		w.WriteString(" inner join ")
	}
	class := members + src.Collection
	if src.Class != nil {
		class = src.Class.Name
	}
	w.WriteString(class)
	if src.Alias != class {
		w.WriteString(" as " + src.Alias)
	}
	if i == 0 {
		return
	}
	w.WriteString(" on " + src.Alias + "." + schema.ResourceID + " = " + w.q.Sources[0].Alias + "." + schema.ResourceID)
	if src.On == nil {
		return
	}
	w.WriteString(" and ")
	w.term(src.On, isOr)
}

func isOr(e Expr) bool {
	_, ok := e.(*Or)
	return ok
}

func isAndOr(e Expr) bool {
	_, ok := e.(*And)
	return ok || isOr(e)
}

// term prints a condition, in parentheses if it needs them.
func (w *printer) term(e Expr, needs func(Expr) bool) {
	if !needs(e) {
		w.expr(e)
		return
	}
	w.WriteString("(")
	w.expr(e)
	w.WriteString(")")
}

func (w *printer) expr(e Expr) {
	switch e := e.(type) {
	case *And:
		for i, t := range e.Terms {
			if i > 0 {
				w.WriteString(" and ")
			}
			w.term(t, isAndOr)
		}
	case *Or:
		for i, t := range e.Terms {
			if i > 0 {
				w.WriteString(" or ")
			}
			w.term(t, isOr)
		}
	case *Not:
		w.WriteString("not ")
		w.term(e.Term, isAndOr)
	case *Compare:
		w.operand(e.Left)
		w.WriteString(" " + e.Op.String() + " ")
		w.operand(e.Right)
	default:
		w.test(e)
	}
}

// test prints like, in and is null.
func (w *printer) test(e Expr) {
	switch e := e.(type) {
	case *Like:
		w.operand(e.Operand)
		w.word(e.Not, " like ")
		w.quote(e.Pattern)
	case *In:
		w.operand(e.Operand)
		w.word(e.Not, " in (")
		for i, c := range e.List {
			w.comma(i)
			w.constant(c)
		}
		w.WriteString(")")
	case *InQuery:
		w.operand(e.Operand)
		w.word(e.Not, " in (")
		w.WriteString(e.Query.String())
		w.WriteString(")")
	case *IsNull:
		w.operand(e.Operand)
		w.WriteString(" is")
		w.word(e.Not, " null")
	}
}

func (w *printer) word(not bool, word string) {
	if not {
		w.WriteString(" not")
	}
	w.WriteString(word)
}

// String returns the sign of a comparison.
func (op Op) String() string {
	return [...]string{"?", "=", "!=", "<", "<=", ">", ">="}[op]
}

func (w *printer) operand(o Operand) {
	switch o := o.(type) {
	case Column:
		src := &w.q.Sources[o.Source]
		w.WriteString(src.Alias + ".")
		if o.Property == device {
			w.WriteString(schema.ResourceID)
		} else {
			w.WriteString(src.Class.Properties[o.Property].Name)
		}
	case Constant:
		w.constant(o)
	case Now:
		w.WriteString("GetDate()")
	case *Call:
		w.call(o)
	}
}

func (w *printer) call(c *Call) {
	w.WriteString(c.Function.String() + "(")
	if c.Part != 0 {
		w.WriteString(c.Part.String() + ", ")
	}
	for i, a := range c.Args {
		w.comma(i)
		w.operand(a)
	}
	w.WriteString(")")
}

// String returns the function's name.
func (f Function) String() string {
	return [...]string{"?", "upper", "lower", "substring", "DatePart", "DateDiff", "DateAdd"}[f]
}

// String returns the part's long name.
func (p Part) String() string {
	return [...]string{"?", "year", "quarter", "month", "dayofyear", "day", "week", "weekday", "hour", "minute", "second", "millisecond"}[p]
}

func (w *printer) constant(c Constant) {
	switch c.Of {
	case schema.Text:
		w.quote(c.Text)
	case schema.Date:
		w.quote(schema.FormatDate(c.Number))
	case schema.Bool:
		if c.Number != 0 {
			w.WriteString("True")
		} else {
			w.WriteString("False")
		}
	case schema.Number:
		w.number(c)
	}
}

// number prints a number; of one with a fraction only the whole number below it is
// known, and any fraction means the same.
func (w *printer) number(c Constant) {
	switch {
	case !c.Round:
		w.WriteString(strconv.FormatInt(c.Number, 10))
	case c.Number == -1:
		w.WriteString("-0.5")
	case c.Number < 0:
		w.WriteString(strconv.FormatInt(c.Number+1, 10) + ".5")
	default:
		w.WriteString(strconv.FormatInt(c.Number, 10) + ".5")
	}
}

var quoteEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func (w *printer) quote(s string) {
	w.WriteByte('"')
	w.WriteString(quoteEscaper.Replace(s))
	w.WriteByte('"')
}
