package wql

import (
	"strconv"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// literal is a constant before it has the type of what it is compared with.
type literal struct {
	text string // without quotes; a number or True, False, NULL as written
	kind kind   // text or number; name for the words
	pos  int
}

// Type implements Operand.
func (l literal) Type() schema.Type { return schema.Text }

// Position implements Operand.
func (l literal) Position() Pos { return Pos(l.pos) }

// literal reads a constant, if there is one.
func (p *parser) literal() (literal, bool) {
	l := literal{pos: p.tok.pos, kind: p.tok.kind, text: p.tok.text}
	switch {
	case p.is("-"), p.is("+"):
		sign := p.tok.text
		p.next()
		if p.tok.kind != number {
			p.unexpected("a number")
			return l, false
		}
		if l.kind, l.text = number, p.tok.text; sign == "-" {
			l.text = "-" + l.text
		}
	case p.tok.kind == text, p.tok.kind == number:
	case p.keyword("true"), p.keyword("false"), p.keyword("null"):
	default:
		return l, false
	}
	p.next()
	return l, true
}

// operand reads a value: a constant, a property or a function.
func (p *parser) operand(s *scope) Operand {
	if l, ok := p.literal(); ok {
		return l
	}
	pos := p.tok.pos
	switch {
	case p.is("("):
		p.fail(pos, "a value stands without parentheses")
	case p.tok.kind != name:
		p.unexpected("a property or a value")
	case p.clause() && (p.off == len(p.text) || p.text[p.off] != '.'):
		p.unexpected("a property or a value")
	}
	if p.err != nil {
		return nil
	}
	class, property := p.path(false)
	if class == "" && p.is("(") {
		return p.call(s, property, pos)
	}
	return p.column(s, class, property, pos)
}

// functions are those of WQL; the text is how one is written.
var functions = map[string]struct {
	function Function
	form     string
}{
	"upper":     {Upper, "upper(TEXT)"},
	"lower":     {Lower, "lower(TEXT)"},
	"substring": {Substring, "substring(TEXT, FROM, LENGTH)"},
	"datepart":  {DatePart, "DatePart(PART, DATE)"},
	"datediff":  {DateDiff, "DateDiff(PART, FROM, TO)"},
	"dateadd":   {DateAdd, "DateAdd(PART, NUMBER, DATE)"},
}

// call reads the operands of a function.
func (p *parser) call(s *scope, function string, pos int) Operand {
	p.enter()
	defer p.leave()
	p.next()
	if strings.EqualFold(function, "getdate") {
		p.expect(")")
		s.q.Clock = true
		return Now{Pos: Pos(pos)}
	}
	f, ok := functions[strings.ToLower(function)]
	switch {
	case isAggregate(function):
		p.fail(pos, "%s", refuseAggregate(function))
	case !ok:
		p.fail(pos, "unknown function %s: there are upper, lower, substring, GetDate, DatePart, DateDiff and DateAdd", shorten(function))
	}
	if p.err != nil {
		return nil
	}
	c := &Call{Function: f.function, Pos: Pos(pos)}
	types := []schema.Type{schema.Text}
	switch f.function {
	case Substring:
		types = []schema.Type{schema.Text, schema.Number, schema.Number}
	case DatePart:
		types = []schema.Type{schema.Date}
	case DateDiff:
		types = []schema.Type{schema.Date, schema.Date}
	case DateAdd:
		types = []schema.Type{schema.Number, schema.Date}
	}
	if types[0] != schema.Text {
		c.Part = p.part(f.form)
		p.comma(f.form)
	}
	for i, t := range types {
		if i > 0 {
			p.comma(f.form)
		}
		c.Args = append(c.Args, p.argument(s, t, f.form))
	}
	if p.err == nil && !p.is(")") {
		p.fail(p.tok.pos, "expected \")\", found %s: it is %s", p.tok.describe(), f.form)
	}
	p.next()
	return c
}

func (p *parser) comma(form string) {
	if p.err == nil && !p.accept(",") {
		p.fail(p.tok.pos, "expected \",\", found %s: it is %s", p.tok.describe(), form)
	}
}

// argument reads an operand of a function, of a type.
func (p *parser) argument(s *scope, t schema.Type, form string) Operand {
	o := p.operand(s)
	if p.err != nil {
		return nil
	}
	if l, ok := o.(literal); ok {
		c := p.constantOf(l, t, "this operand")
		if c.Round {
			p.fail(l.pos, "%s takes whole numbers", form)
		}
		return c
	}
	switch {
	case isList(o):
		p.fail(int(o.Position()), "%s has several values, and %s takes one", p.describe(o), form)
	case o.Type() != t:
		p.fail(int(o.Position()), "%s is a %s, and %s takes a %s here", p.describe(o), o.Type(), form, t)
	}
	return o
}

// partNames are the names of the parts of a date.
var partNames = map[string]Part{
	"year": Year, "yy": Year, "yyyy": Year, "quarter": Quarter, "qq": Quarter, "q": Quarter,
	"month": Month, "mm": Month, "m": Month, "dayofyear": DayOfYear, "dy": DayOfYear, "y": DayOfYear,
	"day": Day, "dd": Day, "d": Day, "week": Week, "wk": Week, "ww": Week, "weekday": Weekday, "dw": Weekday,
	"hour": Hour, "hh": Hour, "minute": Minute, "mi": Minute, "n": Minute, "second": Second, "ss": Second,
	"s": Second, "millisecond": Millisecond, "ms": Millisecond,
}

// part reads the part of a date; it may stand in quotes.
func (p *parser) part(form string) Part {
	part, ok := partNames[strings.ToLower(p.tok.text)]
	if !ok || p.tok.kind != name && p.tok.kind != text {
		p.fail(p.tok.pos, "expected a part of a date such as day, week or hour, found %s: it is %s", p.tok.describe(), form)
		return 0
	}
	p.next()
	return part
}

// constant turns a literal into the type of what it is compared with.
func (p *parser) constant(l literal, with Operand) Constant {
	return p.constantOf(l, with.Type(), p.describe(with))
}

func (p *parser) constantOf(l literal, t schema.Type, with string) Constant {
	c := Constant{Of: t, Pos: Pos(l.pos)}
	if l.kind == name && strings.EqualFold(l.text, "null") {
		p.fail(l.pos, "nothing compares with NULL: write is null or is not null")
		return c
	}
	switch t {
	case schema.Text:
		c.Text = l.text
	case schema.Number:
		p.number64(&c, l, with)
	case schema.Date:
		ms, err := schema.ParseDate(l.text)
		switch {
		case l.kind != text:
			p.fail(l.pos, "%s is a date, and %s is none: a date stands in quotes, as in \"2026-11-28\"", with, l.text)
		case err != nil:
			p.fail(l.pos, "%s is a date: %v", with, err)
		}
		c.Number = ms
	case schema.Bool:
		is, err := schema.ParseBool(l.text)
		if err != nil {
			p.fail(l.pos, "%s is a bool: %v", with, err)
		}
		if is {
			c.Number = 1
		}
	}
	return c
}

// number64 turns a literal into a number. One with a fraction becomes the whole
// number below it.
func (p *parser) number64(c *Constant, l literal, with string) {
	written := strings.TrimSpace(l.text)
	if l.kind == name {
		if strings.EqualFold(written, "true") {
			c.Number = 1
		}
		return
	}
	whole, fraction, point := strings.Cut(written, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || point && (fraction == "" || strings.Trim(fraction, "0123456789") != "") || !digit(whole[len(whole)-1]) {
		p.fail(l.pos, "%s is a number: %q is not a number of 64 bits", with, shorten(l.text))
		return
	}
	c.Number = n
	if c.Round = strings.Trim(fraction, "0") != ""; c.Round && strings.HasPrefix(whole, "-") {
		if n == -1<<63 {
			p.fail(l.pos, "%s is a number: %q is not a number of 64 bits", with, shorten(l.text))
			return
		}
		c.Number--
	}
}
