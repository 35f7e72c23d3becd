package wql

import (
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// or reads a condition.
func (p *parser) or(s *scope) Expr {
	first := p.and(s)
	if !p.keyword("or") {
		return first
	}
	e := &Or{Pos: Pos(p.start(first))}
	e.add(first)
	for p.accept("or") {
		e.add(p.and(s))
	}
	return e
}

// add flattens: a or (b or c) is a or b or c.
func (e *Or) add(term Expr) {
	if or, ok := term.(*Or); ok {
		e.Terms = append(e.Terms, or.Terms...)
		return
	}
	e.Terms = append(e.Terms, term)
}

func (p *parser) and(s *scope) Expr {
	first := p.not(s)
	if !p.keyword("and") {
		return first
	}
	e := &And{Pos: Pos(p.start(first))}
	e.add(first)
	for p.accept("and") {
		e.add(p.not(s))
	}
	return e
}

func (e *And) add(term Expr) {
	if and, ok := term.(*And); ok {
		e.Terms = append(e.Terms, and.Terms...)
		return
	}
	e.Terms = append(e.Terms, term)
}

// start is where a condition begins; after an error there may be none.
func (p *parser) start(e Expr) int {
	if p.err != nil {
		return 0
	}
	return int(e.Position())
}

func (p *parser) not(s *scope) Expr {
	p.enter()
	defer p.leave()
	pos := p.tok.pos
	switch {
	case p.accept("not"):
		return &Not{Term: p.not(s), Pos: Pos(pos)}
	case p.accept("("):
		if p.keyword("select") {
			p.fail(p.tok.pos, "a sub-select stands behind in or not in")
			return nil
		}
		e := p.or(s)
		p.close()
		return e
	}
	return p.comparison(s)
}

// close reads the parenthesis that closes.
func (p *parser) close() {
	if p.is("+") || p.is("-") || p.is("*") {
		p.trailing()
	}
	p.expect(")")
}

// comparison reads a condition without and, or, not.
func (p *parser) comparison(s *scope) Expr {
	pos := p.tok.pos
	if p.keyword("exists") {
		p.fail(pos, "exists: write ResourceID in (select ResourceID from …)")
		return nil
	}
	left := p.operand(s)
	if p.err != nil {
		return nil
	}
	at := p.tok.pos
	if op := p.comparator(); op != 0 {
		return p.compare(s, left, op, pos)
	}
	not := p.accept("not")
	switch {
	case p.accept("like"):
		return p.like(left, not, pos)
	case p.accept("in"):
		return p.in(s, left, not, pos)
	case p.keyword("between"):
		p.fail(p.tok.pos, "WQL has no between: write X >= a and X <= b")
	case !not && p.accept("is"):
		e := &IsNull{Operand: left, Not: p.accept("not"), Pos: Pos(pos)}
		p.expect("null")
		p.varies(pos, left)
		return e
	case not:
		p.unexpected("like or in")
	case p.is("+") || p.is("-") || p.is("*"):
		p.trailing()
	default:
		p.fail(at, "expected a comparison such as = or like, found %s", p.tok.describe())
	}
	return nil
}

var comparators = map[string]Op{
	"=": Equal, "!=": NotEqual, "<>": NotEqual, "<": Less, "<=": LessEqual, ">": Greater, ">=": GreaterEqual,
}

// comparator reads the sign of a comparison, 0 if there is none.
func (p *parser) comparator() Op {
	if p.tok.kind != symbol {
		return 0
	}
	op := comparators[p.tok.text]
	if op != 0 {
		p.next()
	}
	return op
}

// turned is a comparison with its sides changed.
func (op Op) turned() Op {
	switch op {
	case Less:
		return Greater
	case LessEqual:
		return GreaterEqual
	case Greater:
		return Less
	case GreaterEqual:
		return LessEqual
	}
	return op
}

// compare reads the right side of a comparison. A constant always gets to the right.
func (p *parser) compare(s *scope, left Operand, op Op, pos int) Expr {
	right := p.operand(s)
	if p.err != nil {
		return nil
	}
	if _, ok := left.(literal); ok {
		left, right, op = right, left, op.turned()
	}
	if !p.varies(pos, left, right) {
		return nil
	}
	if l, ok := right.(literal); ok {
		right = p.constant(l, left)
	} else if left.Type() != right.Type() {
		p.fail(int(right.Position()), "%s is a %s and cannot be compared with a %s", p.describe(right), right.Type(), left.Type())
	} else if isList(left) && isList(right) {
		p.fail(int(right.Position()), "%s and %s have several values each and cannot be compared", p.describe(left), p.describe(right))
	}
	return &Compare{Op: op, Left: left, Right: right, Pos: Pos(pos)}
}

// varies refuses a condition in which nothing is of a device or of the time.
func (p *parser) varies(pos int, operands ...Operand) bool {
	for _, o := range operands {
		if varies(o) {
			return true
		}
	}
	if p.err == nil {
		p.fail(pos, "no property stands in this condition, so it is the same for all devices")
	}
	return false
}

func varies(o Operand) bool {
	switch o := o.(type) {
	case Column, Now:
		return true
	case *Call:
		for _, a := range o.Args {
			if varies(a) {
				return true
			}
		}
	}
	return false
}

func isList(o Operand) bool {
	c, ok := o.(Column)
	return ok && c.List
}

// like reads the pattern behind like.
func (p *parser) like(left Operand, not bool, pos int) Expr {
	switch {
	case !p.varies(pos, left):
		return nil
	case left.Type() != schema.Text:
		p.fail(pos, "like compares texts, and %s is a %s", p.describe(left), left.Type())
	case p.tok.kind != text:
		p.unexpected("a pattern in quotes")
	case len(p.tok.text) > MaxPattern:
		p.fail(p.tok.pos, "a pattern of %d bytes: at most %d are taken", len(p.tok.text), MaxPattern)
	default:
		if wrong := checkPattern(p.tok.text); wrong != "" {
			p.fail(p.tok.pos, "%s", wrong)
			return nil
		}
	}
	e := &Like{Operand: left, Pattern: p.tok.text, Not: not, Pos: Pos(pos)}
	p.next()
	return e
}

// in reads the list or the select behind in.
func (p *parser) in(s *scope, left Operand, not bool, pos int) Expr {
	if !p.varies(pos, left) {
		return nil
	}
	if !p.is("(") {
		p.unexpected(`"(" and a list or a select`)
		return nil
	}
	p.next()
	if p.keyword("select") {
		return p.inQuery(s, left, not, pos)
	}
	e := &In{Operand: left, Not: not, Pos: Pos(pos)}
	for p.err == nil {
		if len(e.List) == MaxList {
			p.fail(p.tok.pos, "more than %d values in a list", MaxList)
			break
		}
		l, ok := p.literal()
		if !ok {
			p.unexpected("a value such as \"text\" or 8")
			break
		}
		e.List = append(e.List, p.constant(l, left))
		if !p.accept(",") {
			break
		}
	}
	p.close()
	return e
}

// inQuery reads the select behind in.
func (p *parser) inQuery(s *scope, left Operand, not bool, pos int) Expr {
	at := p.tok.pos
	q := p.query(s)
	p.close()
	if p.err != nil {
		return nil
	}
	s.q.Clock = s.q.Clock || q.Clock
	s.q.Uses = append(s.q.Uses, q.Uses...)
	if len(q.Columns) != 1 {
		p.fail(at, "a sub-select behind in names one property, as in select ResourceID from …")
		return nil
	}
	column := q.Columns[0]
	switch {
	case isDevice(left) != isDevice(column):
		p.fail(int(column.Pos), "ResourceID and another property do not go together: both sides of in are ResourceID, or none is")
	case column.List:
		p.fail(int(column.Pos), "the property has several values; a sub-select behind in gives one for each row")
	case column.Of != left.Type():
		p.fail(int(column.Pos), "the property is a %s, and %s is a %s", column.Of, p.describe(left), left.Type())
	}
	return &InQuery{Operand: left, Query: q, Not: not, Pos: Pos(pos)}
}

func isDevice(o Operand) bool {
	c, ok := o.(Column)
	return ok && c.Property == device
}

// describe names an operand in an error, as it is written.
func (p *parser) describe(o Operand) string {
	switch o := o.(type) {
	case Column:
		from := p.text[o.Pos:]
		n := 0
		for n < len(from) && (nameByte(from[n], false) || from[n] == '.') {
			n++
		}
		return shorten(from[:n])
	case Now:
		return "GetDate()"
	case *Call:
		from := p.text[o.Pos:]
		if i := strings.IndexByte(from, '('); i >= 0 {
			return strings.TrimSpace(from[:i]) + "()"
		}
	}
	return "this"
}
