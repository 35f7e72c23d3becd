package enginetest

import (
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A maker makes one random query.
type maker struct {
	t           *rapid.T
	s           *schema.Schema
	collections []string // that it may name
	across      bool     // it may ask about the values of all devices
	depth       int      // of sub-selects that it is in
	uses        map[string]bool
	clock       *bool
	sources     []wql.Source
}

// Query returns a random checked query that may name some collections and, if across, may
// ask about the values of all devices.
func Query(t *rapid.T, s *schema.Schema, collections []string, across bool) *wql.Query {
	m := &maker{t: t, s: s, collections: collections, across: across, uses: map[string]bool{}, clock: new(bool)}
	return m.query()
}

func (m *maker) chance(percent int, what string) bool {
	return rapid.IntRange(0, 99).Draw(m.t, what) >= 100-percent
}

func pick[T any](m *maker, what string, from ...T) T {
	return rapid.SampledFrom(from).Draw(m.t, what)
}

func (m *maker) query() *wql.Query {
	m.sources = []wql.Source{m.source()}
	for range pick(m, "joins", 0, 0, 0, 1, 1, 2, 3) {
		s := m.source()
		s.Outer = m.chance(30, "outer")
		m.sources = append(m.sources, s)
		if m.chance(25, "condition of the join") {
			on := m.condition(1)
			m.sources[len(m.sources)-1].On = on
		}
	}
	q := &wql.Query{Sources: m.sources, Columns: []wql.Column{m.device(0)}, Distinct: m.chance(10, "distinct")}
	if m.chance(95, "where") {
		q.Where = m.condition(pick(m, "depth of conditions", 0, 1, 1, 2, 3))
	}
	q.Clock, q.Uses = *m.clock, slices.Sorted(maps.Keys(m.uses))
	return q
}

func (m *maker) source() wql.Source {
	alias := string(rune('A'+m.depth)) + string(rune('0'+len(m.sources)))
	if len(m.collections) > 0 && m.chance(12, "collection as a source") {
		id := pick(m, "collection", m.collections...)
		m.uses[id] = true
		return wql.Source{Collection: id, Alias: alias}
	}
	c, _ := m.s.Class(pick(m, "class", schema.System, schema.System, one, many, many))
	return wql.Source{Class: c, Alias: alias}
}

func (m *maker) device(source int) wql.Column {
	return wql.Column{Source: source, Property: -1, Of: schema.Number}
}

// inner makes a query inside this one.
func (m *maker) inner() *wql.Query {
	n := &maker{t: m.t, s: m.s, collections: m.collections, across: m.across, depth: m.depth + 1, uses: map[string]bool{}, clock: new(bool)}
	q := n.query()
	m.take(n)
	return q
}

// values makes an inner query whose column is of a type.
func (m *maker) values(of schema.Type) (*wql.Query, bool) {
	n := &maker{t: m.t, s: m.s, collections: m.collections, across: m.across, depth: m.depth + 1, uses: map[string]bool{}, clock: new(bool)}
	q := n.query()
	c, ok := n.column(of)
	if !ok || c.List {
		return nil, false
	}
	q.Columns = []wql.Column{c}
	m.take(n)
	return q, true
}

// take notes what a query inside this one asks for.
func (m *maker) take(inner *maker) {
	maps.Copy(m.uses, inner.uses)
	*m.clock = *m.clock || *inner.clock
}

func (m *maker) condition(depth int) wql.Expr {
	if depth > 0 {
		switch pick(m, "connective", "and", "or", "not", "none") {
		case "and":
			return &wql.And{Terms: m.terms(depth)}
		case "or":
			return &wql.Or{Terms: m.terms(depth)}
		case "not":
			return &wql.Not{Term: m.condition(depth - 1)}
		}
	}
	return m.simple()
}

func (m *maker) terms(depth int) (all []wql.Expr) {
	for range pick(m, "terms", 2, 2, 3) {
		all = append(all, m.condition(depth-1))
	}
	return all
}

func (m *maker) simple() wql.Expr {
	kind := pick(m, "condition", "compare", "compare", "compare", "like", "in", "null", "query", "clock")
	if kind == "query" && m.depth < 2 {
		return &wql.InQuery{Operand: m.device(rapid.IntRange(0, len(m.sources)-1).Draw(m.t, "source")), Query: m.inner(), Not: m.chance(50, "not in")}
	}
	column, ok := m.column(pick(m, "type", schema.Text, schema.Text, schema.Number, schema.Date, schema.Bool))
	if ok && m.across && m.depth < 2 && m.chance(10, "values of all devices") {
		if q, ok := m.values(column.Of); ok {
			return &wql.InQuery{Operand: column, Query: q, Not: m.chance(50, "not in")}
		}
	}
	switch {
	case kind == "clock":
		return m.clocked()
	case !ok:
		return &wql.IsNull{Operand: m.device(0), Not: m.chance(80, "is not null")}
	case kind == "null":
		return &wql.IsNull{Operand: column, Not: m.chance(50, "is not null")}
	case kind == "in":
		return &wql.In{Operand: column, List: m.constants(column.Of), Not: m.chance(40, "not in")}
	case kind == "like" && column.Of == schema.Text:
		return &wql.Like{Operand: m.wrapped(column), Pattern: m.pattern(), Not: m.chance(40, "not like")}
	}
	return m.compare(column)
}

// column is one of a type, if the sources have any.
func (m *maker) column(of schema.Type) (wql.Column, bool) {
	var all []wql.Column
	for i, s := range m.sources {
		if s.Class == nil {
			continue
		}
		for j := range s.Class.Properties {
			p := &s.Class.Properties[j]
			if p.Type == of && (s.Class.Index != 0 || slices.Contains(used, p.Name)) {
				all = append(all, wql.Column{Source: i, Property: j, List: p.List, Of: of})
			}
		}
	}
	if len(all) == 0 {
		return wql.Column{}, false
	}
	return pick(m, "column", all...), true
}

func (m *maker) operator() wql.Op {
	return pick(m, "operator", wql.Equal, wql.Equal, wql.NotEqual, wql.Less, wql.LessEqual, wql.Greater, wql.GreaterEqual)
}

func (m *maker) compare(column wql.Column) wql.Expr {
	left, right := m.wrapped(column), wql.Operand(m.constant(column.Of))
	if other, ok := m.column(column.Of); ok && !other.List && m.chance(15, "two columns") {
		right = other
	}
	if m.chance(15, "turned round") {
		left, right = right, left
	}
	return &wql.Compare{Op: m.operator(), Left: left, Right: right}
}

// wrapped is a column, or a function of it that has the same type.
func (m *maker) wrapped(c wql.Column) wql.Operand {
	if c.List || !m.chance(20, "function") {
		return c
	}
	switch {
	case c.Of == schema.Text && m.chance(50, "substring"):
		return &wql.Call{Function: wql.Substring, Args: []wql.Operand{c, m.number(rapid.Int64Range(1, 3)), m.number(rapid.Int64Range(0, 3))}}
	case c.Of == schema.Text:
		return &wql.Call{Function: pick(m, "case", wql.Upper, wql.Lower), Args: []wql.Operand{c}}
	case c.Of == schema.Date:
		return &wql.Call{Function: wql.DateAdd, Part: m.part(), Args: []wql.Operand{m.number(rapid.Int64Range(-3, 3)), c}}
	}
	return c
}

func (m *maker) number(g *rapid.Generator[int64]) wql.Constant {
	return wql.Constant{Of: schema.Number, Number: g.Draw(m.t, "number")}
}

func (m *maker) part() wql.Part {
	return rapid.Custom(func(t *rapid.T) wql.Part {
		return wql.Part(rapid.IntRange(int(wql.Year), int(wql.Millisecond)).Draw(t, "part"))
	}).Draw(m.t, "part")
}

// clocked is a condition with the time, or with another date in its place.
func (m *maker) clocked() wql.Expr {
	left, kind := m.date(), pick(m, "function of the time", "compare", "difference", "sum", "part")
	if kind == "part" {
		return &wql.Compare{Op: m.operator(), Left: &wql.Call{Function: wql.DatePart, Part: m.part(), Args: []wql.Operand{left}}, Right: m.number(rapid.Int64Range(0, 31))}
	}
	right := wql.Operand(m.constant(schema.Date))
	if m.chance(80, "two dates") {
		right = m.date()
	}
	switch kind {
	case "difference":
		return &wql.Compare{Op: m.operator(), Left: &wql.Call{Function: wql.DateDiff, Part: m.part(), Args: []wql.Operand{left, right}}, Right: m.number(rapid.Int64Range(-3, 40))}
	case "sum":
		add := &wql.Call{Function: wql.DateAdd, Part: m.part(), Args: []wql.Operand{m.count(), left}}
		return &wql.Compare{Op: m.operator(), Left: right, Right: add}
	}
	return &wql.Compare{Op: m.operator(), Left: left, Right: right}
}

// count is how many parts a date moves.
func (m *maker) count() wql.Operand {
	if c, ok := m.column(schema.Number); ok && m.chance(15, "column as a number") {
		return c
	}
	return m.number(rapid.Int64Range(-40, 40))
}

// date is a column, if there is one, or the time.
func (m *maker) date() wql.Operand {
	if c, ok := m.column(schema.Date); ok && !m.chance(40, "now") {
		return m.wrapped(c)
	}
	*m.clock = true
	return wql.Now{}
}

func (m *maker) constant(of schema.Type) wql.Constant {
	c := wql.Constant{Of: of}
	switch of {
	case schema.Text:
		c.Text = rapid.SampledFrom(texts).Draw(m.t, "text")
	case schema.Date:
		c.Number = date(m.t)
	case schema.Bool:
		c.Number = rapid.Int64Range(0, 1).Draw(m.t, "bool")
	default:
		c.Number = rapid.SampledFrom(ints[1:8]).Draw(m.t, "number")
		c.Round = m.chance(15, "fraction")
	}
	return c
}

func (m *maker) constants(of schema.Type) (all []wql.Constant) {
	for range rapid.IntRange(1, 3).Draw(m.t, "constants") {
		all = append(all, m.constant(of))
	}
	return all
}

var pieces = []string{"%", "%", "_", "a", "B", "ä", "1", "[a-f]", "[^a]", "[a%]", "[_]", "ł", "ß", "x"}

func (m *maker) pattern() (p string) {
	for _, s := range rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 4).Draw(m.t, "pattern") {
		p += s
	}
	return p
}

// later is a time after another one.
func later(t *rapid.T, than time.Time) time.Time {
	return than.Add(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, 25 * time.Minute, time.Hour, 7 * time.Hour, 24 * time.Hour, 3 * 24 * time.Hour, 40 * 24 * time.Hour}).Draw(t, "step"))
}
