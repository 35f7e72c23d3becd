package wql

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Parse reads a query and checks it against a schema: all names are known, all
// types agree, everything in it can be evaluated. The error is an *[Error].
func Parse(query string, s *schema.Schema) (*Query, error) {
	if len(query) > MaxText {
		return nil, place("", 0, fmt.Sprintf("a query of %d bytes: at most %d are taken", len(query), MaxText))
	}
	if !utf8.ValidString(query) {
		return nil, place(query, Pos(validUntil(query)), "the text is not UTF-8 from here on")
	}
	p := &parser{text: query, schema: s}
	p.next()
	q := p.query(nil)
	if p.tok.kind != end {
		p.trailing()
	}
	if p.err != nil {
		return nil, p.err
	}
	q.Text = query
	return q, nil
}

func validUntil(s string) int {
	for i, c := range s {
		if _, n := utf8.DecodeRuneInString(s[i:]); c == utf8.RuneError && n == 1 {
			return i
		}
	}
	return len(s)
}

// parser reads a query from left to right. The first error ends it: from then on all
// tokens are the end, and what it returns means nothing.
type parser struct {
	text   string
	schema *schema.Schema
	off    int // behind tok
	tok    token
	depth  int
	err    *Error
}

// enter goes one level deeper; whoever calls it calls leave.
func (p *parser) enter() {
	if p.depth++; p.depth > MaxDepth {
		p.fail(p.tok.pos, "more than %d levels inside each other", MaxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

// scope is a select that is being read.
type scope struct {
	q     *Query
	outer *scope // the select around it
}

// listed is an item of a select list, before its classes are known.
type listed struct {
	class, property string // class may be empty; property "*" is all
	pos             int
}

// query reads a select.
func (p *parser) query(outer *scope) *Query {
	p.enter()
	defer p.leave()
	s := &scope{q: &Query{}, outer: outer}
	p.expect("select")
	s.q.Distinct = p.accept("distinct")
	list := p.list()
	p.expect("from")
	p.source(s, false)
	for p.join(s) {
	}
	if p.accept("where") {
		s.q.Where = p.or(s)
	}
	p.order(s)
	p.columns(s, list)
	slices.Sort(s.q.Uses)
	s.q.Uses = slices.Compact(s.q.Uses)
	return s.q
}

// list reads a select list.
func (p *parser) list() []listed {
	var all []listed
	for {
		item := listed{pos: p.tok.pos}
		switch {
		case p.accept("*"):
			item.property = "*"
		case p.tok.kind != name || p.keyword("from"):
			p.unexpected("a property or *")
			return nil
		default:
			item.class, item.property = p.path(true)
		}
		switch {
		case p.is("("):
			p.fail(item.pos, "%s", refuseFunction(item.property))
		case p.tok.kind == number && strings.EqualFold(item.property, "top"):
			p.fail(item.pos, "top: a rule takes all devices that it selects")
		case p.keyword("as") || p.tok.kind == name && !p.keyword("from"):
			p.fail(p.tok.pos, "a property of the select list takes no other name")
		}
		if all = append(all, item); len(all) > MaxColumns {
			p.fail(item.pos, "more than %d properties in the select list", MaxColumns)
		}
		if p.err != nil || !p.accept(",") {
			return all
		}
	}
}

// refuseFunction says why a function cannot stand in a select list.
func refuseFunction(function string) string {
	if isAggregate(function) {
		return refuseAggregate(function)
	}
	return fmt.Sprintf("%s() in a select list: a collection takes whole devices, so the list names properties only", shorten(function))
}

func isAggregate(function string) bool {
	return slices.Contains([]string{"count", "sum", "min", "max", "avg"}, strings.ToLower(function))
}

func refuseAggregate(function string) string {
	return fmt.Sprintf("%s() counts over many devices, and a rule is asked of one device at a time", strings.ToLower(function))
}

// path reads NAME or NAME.NAME; with star also NAME.*. It returns the part before the
// point, which may be empty, and the last one.
func (p *parser) path(star bool) (class, property string) {
	property = p.tok.text
	p.next()
	if !p.accept(".") {
		return "", property
	}
	class, property = property, p.tok.text
	switch {
	case p.tok.kind == name || star && p.is("*"):
		p.next()
	default:
		p.unexpected("a property")
	}
	if p.is(".") {
		p.fail(p.tok.pos, "a name has two parts, CLASS.PROPERTY")
	}
	return class, property
}

// columns looks up the items of a select list.
func (p *parser) columns(s *scope, list []listed) {
	if len(list) == 1 && list[0].property == "*" && list[0].class == "" {
		return
	}
	for _, item := range list {
		if p.err != nil {
			return
		}
		switch {
		case item.property != "*":
			s.q.Columns = append(s.q.Columns, p.column(s, item.class, item.property, item.pos))
		case item.class == "":
			p.fail(item.pos, "* stands alone in a select list")
		default:
			p.all(s, item)
		}
		if len(s.q.Columns) > MaxColumns {
			p.fail(item.pos, "more than %d properties in the select list", MaxColumns)
		}
	}
}

// all adds the columns of CLASS.*.
func (p *parser) all(s *scope, item listed) {
	i := p.find(s, item.class, item.pos)
	if i < 0 {
		return
	}
	s.q.Columns = append(s.q.Columns, s.column(i, device, item.pos))
	if c := s.q.Sources[i].Class; c != nil {
		for j := range c.Properties {
			s.q.Columns = append(s.q.Columns, s.column(i, j, item.pos))
		}
	}
}

// order reads order by, which has no meaning for a set, and refuses what else may
// follow.
func (p *parser) order(s *scope) {
	switch {
	case p.keyword("group"), p.keyword("having"):
		p.fail(p.tok.pos, "%s counts over many devices, and a rule is asked of one device at a time", strings.ToLower(p.tok.text))
	case p.keyword("union"), p.keyword("except"), p.keyword("intersect"):
		p.fail(p.tok.pos, "%s of two selects: write one select with or, and, not, or two rules", strings.ToLower(p.tok.text))
	case p.accept("order"):
		p.expect("by")
		for {
			if p.tok.kind != name {
				p.unexpected("a property")
				return
			}
			pos := p.tok.pos
			class, property := p.path(false)
			if p.is("(") {
				p.fail(pos, "order by takes properties only")
			}
			p.column(s, class, property, pos)
			if !p.accept("asc") {
				p.accept("desc")
			}
			if !p.accept(",") {
				return
			}
		}
	}
}

// trailing says what is wrong with what stands behind a query.
func (p *parser) trailing() {
	switch {
	case p.is("+") || p.is("-") || p.is("*"):
		p.fail(p.tok.pos, "nothing is calculated in WQL; DateAdd moves a date")
	case p.is(")"):
		p.fail(p.tok.pos, "this parenthesis closes none")
	default:
		p.fail(p.tok.pos, "%s is not expected here", p.tok.describe())
	}
}
