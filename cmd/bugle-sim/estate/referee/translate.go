package referee

import (
	"fmt"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A translation turns a query into SQL.
type translation struct {
	d       dialect
	now     time.Time
	numbers map[string]int // of collections
	// changed limits the query to the devices of the table of this name.
	changed bool
	depth   int // of sub-selects; the names of tables differ
}

// An untranslated is what a query has that this package does not translate; it is
// thrown within translation and caught by Select.
type untranslated string

// Select returns the SELECT of a query: device numbers, each once.
func (t translation) Select(q *wql.Query) (sql string, err error) {
	defer func() {
		if u, ok := recover().(untranslated); ok {
			err = fmt.Errorf("translate query: %s: %s", string(u), q.Text)
		}
	}()
	return t.selection(q, "distinct "+t.source(0)+".device"), nil
}

func (t translation) source(i int) string { return fmt.Sprintf("s%d_%d", t.depth, i) }

func (t translation) selection(q *wql.Query, columns string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "select %s from ", columns)
	for i := range q.Sources {
		s := &q.Sources[i]
		switch {
		case i == 0:
		case s.Outer:
			b.WriteString(" left join ")
		default:
			b.WriteString(" join ")
		}
		fmt.Fprintf(&b, "%s %s", t.table(s), t.source(i))
		if i > 0 {
			fmt.Fprintf(&b, " on %s.device = %s.device", t.source(i), t.source(0))
			if s.On != nil {
				b.WriteString(" and " + t.condition(q, s.On))
			}
		}
	}
	var conditions []string
	if t.changed && t.depth == 0 {
		conditions = append(conditions, t.source(0)+".device in (select device from changed)")
	}
	if q.Where != nil {
		conditions = append(conditions, t.condition(q, q.Where))
	}
	if len(conditions) > 0 {
		b.WriteString(" where " + strings.Join(conditions, " and "))
	}
	return b.String()
}

func (t translation) table(s *wql.Source) string {
	if s.Class != nil {
		return tableOf(s.Class)
	}
	return fmt.Sprintf("(select device from member where coll = %d)", t.numbers[s.Collection])
}

func tableOf(c *schema.Class) string { return strings.ToLower(c.Name) }

func columnOf(p *schema.Property) string { return strings.ToLower(p.Name) }

func (t translation) condition(q *wql.Query, e wql.Expr) string {
	switch e := e.(type) {
	case *wql.And:
		return t.terms(q, e.Terms, " and ")
	case *wql.Or:
		return t.terms(q, e.Terms, " or ")
	case *wql.Not:
		return "not " + t.condition(q, e.Term)
	case *wql.IsNull:
		return "(" + t.operand(q, e.Operand) + " is" + not(e.Not) + " null)"
	case *wql.Compare:
		return t.compare(q, e)
	case *wql.Like:
		return t.some(q, e.Operand, func(v string) string { return "(" + not(e.Not) + " (" + t.like(v, e.Pattern) + "))" })
	case *wql.In:
		return t.some(q, e.Operand, func(v string) string { return t.in(v, e) })
	case *wql.InQuery:
		return t.inQuery(q, e)
	}
	panic(untranslated(fmt.Sprintf("condition %T", e)))
}

func not(b bool) string {
	if b {
		return " not"
	}
	return ""
}

func (t translation) terms(q *wql.Query, terms []wql.Expr, and string) string {
	list := make([]string, len(terms))
	for i, x := range terms {
		list[i] = t.condition(q, x)
	}
	return "(" + strings.Join(list, and) + ")"
}

// some applies a condition to an operand, or to each value of a list.
func (t translation) some(q *wql.Query, o wql.Operand, condition func(string) string) string {
	if isList(o) {
		return t.d.some(t.operand(q, o), condition)
	}
	return condition(t.operand(q, o))
}

func isList(o wql.Operand) bool {
	c, ok := o.(wql.Column)
	return ok && c.List
}

func (t translation) like(value, pattern string) string {
	pattern = folded(pattern)
	if strings.Contains(pattern, "[") {
		return t.d.matches(value, expression(pattern))
	}
	return t.d.like(value, pattern)
}

func (t translation) in(value string, e *wql.In) string {
	var list []string
	for _, c := range e.List {
		if !c.Round {
			list = append(list, t.constant(c))
		}
	}
	if len(list) == 0 {
		panic(untranslated("a list without values that can be equal"))
	}
	return "(" + value + not(e.Not) + " in (" + strings.Join(list, ", ") + "))"
}

func (t translation) inQuery(q *wql.Query, e *wql.InQuery) string {
	inner := t
	inner.depth++
	column, ok := e.Query.Columns[0], len(e.Query.Columns) == 1
	if !ok {
		panic(untranslated("a sub-select of several columns"))
	}
	sql := inner.selection(e.Query, inner.operand(e.Query, column))
	value := t.operand(q, e.Operand)
	return "(" + value + " is not null and " + value + not(e.Not) + " in (" + sql + "))"
}

var operators = map[wql.Op]string{wql.Equal: "=", wql.NotEqual: "<>", wql.Less: "<", wql.LessEqual: "<=", wql.Greater: ">", wql.GreaterEqual: ">="}

func (t translation) compare(q *wql.Query, e *wql.Compare) string {
	if c, ok := e.Right.(wql.Constant); ok && c.Round {
		panic(untranslated("a fraction"))
	}
	if c, ok := e.Left.(wql.Constant); ok && c.Round {
		panic(untranslated("a fraction"))
	}
	if isList(e.Right) {
		return t.some(q, e.Right, func(v string) string { return "(" + t.operand(q, e.Left) + " " + operators[e.Op] + " " + v + ")" })
	}
	return t.some(q, e.Left, func(v string) string { return "(" + v + " " + operators[e.Op] + " " + t.operand(q, e.Right) + ")" })
}

func (t translation) operand(q *wql.Query, o wql.Operand) string {
	switch o := o.(type) {
	case wql.Column:
		if o.Property < 0 {
			return t.source(o.Source) + ".device"
		}
		return t.source(o.Source) + "." + columnOf(&q.Sources[o.Source].Class.Properties[o.Property])
	case wql.Constant:
		return t.constant(o)
	case wql.Now:
		return fmt.Sprint(t.now.UnixMilli())
	case *wql.Call:
		return t.call(q, o)
	}
	panic(untranslated(fmt.Sprintf("operand %T", o)))
}

func (t translation) constant(c wql.Constant) string {
	switch {
	case c.Null:
		return "null"
	case c.Of == schema.Text:
		return literal(folded(c.Text))
	}
	return fmt.Sprint(c.Number)
}

const dayMS = 24 * 3600 * 1000

var lengths = map[wql.Part]int64{wql.Day: dayMS, wql.DayOfYear: dayMS, wql.Weekday: dayMS, wql.Week: 7 * dayMS, wql.Hour: dayMS / 24, wql.Minute: 60_000, wql.Second: 1000, wql.Millisecond: 1}

var months = map[wql.Part]int64{wql.Month: 1, wql.Quarter: 3, wql.Year: 12}

func (t translation) call(q *wql.Query, c *wql.Call) string {
	args := make([]string, len(c.Args))
	for i, a := range c.Args {
		args[i] = t.operand(q, a)
	}
	switch c.Function {
	case wql.Upper, wql.Lower:
		return args[0] // all is folded
	case wql.DateDiff:
		return "(" + t.since(c.Part, args[1]) + " - " + t.since(c.Part, args[0]) + ")"
	case wql.DateAdd:
		if n, ok := lengths[c.Part]; ok {
			return fmt.Sprintf("(%s + (%s)::bigint * %d)", args[1], args[0], n)
		}
	}
	panic(untranslated(fmt.Sprintf("function %d of part %d", c.Function, c.Part)))
}

// since is how many beginnings of a part there were since some fixed one.
func (t translation) since(part wql.Part, ms string) string {
	if n, ok := months[part]; ok {
		return t.d.divide(t.d.months(ms), n)
	}
	if part == wql.Week { // 1970 began on a Thursday
		ms = fmt.Sprintf("%s + %d", ms, 4*dayMS)
	}
	return t.d.divide(ms, lengths[part])
}
