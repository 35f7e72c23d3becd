package wql

import (
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// device is the property of a [Column] that is ResourceID.
const device = -1

// members is how the class of a collection's members begins; the id follows.
const members = "SMS_CM_RES_COLL_"

// maxID is the length of a collection's id: site code and five digits.
const maxID = 8

// clauses are the words that may stand behind a class, so they are no other name of
// it, and those that mean something in a condition.
var clauses = []string{
	"where", "inner", "left", "right", "full", "outer", "cross", "natural", "join", "on", "order", "group", "having",
	"union", "except", "intersect", "as", "and", "or", "not", "in", "is", "like", "between", "select", "from", "exists",
}

// source reads a class and its other name.
func (p *parser) source(s *scope, outer bool) {
	if p.tok.kind != name {
		p.unexpected("a class")
		return
	}
	src := Source{Pos: Pos(p.tok.pos), Outer: outer, Alias: p.tok.text}
	if len(src.Alias) > len(members) && strings.EqualFold(src.Alias[:len(members)], members) {
		src.Collection = p.collection(src.Alias[len(members):])
		src.Alias = members + src.Collection
		s.q.Uses = append(s.q.Uses, src.Collection)
	} else if c, ok := p.schema.Class(src.Alias); ok {
		src.Class, src.Alias = c, c.Name
	} else {
		p.unknownClass(src.Alias)
		return
	}
	p.next()
	if p.accept("as") && (p.tok.kind != name || p.clause()) {
		p.unexpected("another name of the class")
		return
	}
	pos := p.tok.pos
	if p.tok.kind == name && !p.clause() {
		src.Alias = p.tok.text
		p.next()
	} else {
		pos = int(src.Pos)
	}
	for _, other := range s.q.Sources {
		if strings.EqualFold(other.Alias, src.Alias) {
			p.fail(pos, "%s stands here a second time: give it another name, as in %s as B", src.Alias, p.class(&src))
			return
		}
	}
	s.q.Sources = append(s.q.Sources, src)
}

// class is the name of a source's class.
func (p *parser) class(src *Source) string {
	if src.Class == nil {
		return members + src.Collection
	}
	return src.Class.Name
}

func (p *parser) clause() bool {
	for _, word := range clauses {
		if strings.EqualFold(p.tok.text, word) {
			return true
		}
	}
	return false
}

// collection checks the id of a collection.
func (p *parser) collection(id string) string {
	if len(id) != maxID || strings.Contains(id, "_") {
		p.fail(p.tok.pos+len(members), "%q is not the id of a collection, which has %d letters and digits", shorten(id), maxID)
	}
	return strings.ToUpper(id)
}

// unknownClass says what is wrong with the class that is the token.
func (p *parser) unknownClass(class string) {
	reasons := []struct{ prefix, reason string }{
		{"SMS_R_User", "users are not kept, only devices"},
		{"SMS_G_User_", "users are not kept, only devices"},
		{"SMS_GH_", "the history of inventory is not kept"},
		{"SMS_GEH_", "the history of inventory is not kept"},
		{"SMS_CollectionMemberClientBaselineStatus", "whether a device is online is not part of its inventory"},
		{"SMS_FullCollectionMembership", "the members of a collection are " + members + " and its id, as in " + members + "XYZ00012"},
		{"SMS_CollectionMember", "the members of a collection are " + members + " and its id, as in " + members + "XYZ00012"},
	}
	for _, r := range reasons {
		if len(class) >= len(r.prefix) && strings.EqualFold(class[:len(r.prefix)], r.prefix) {
			p.fail(p.tok.pos, "unknown class %s: %s", shorten(class), r.reason)
			return
		}
	}
	if near := p.schema.Nearest(class); near != "" {
		p.fail(p.tok.pos, "unknown class %s: did you mean %s?", shorten(class), near)
		return
	}
	p.fail(p.tok.pos, "unknown class %s", shorten(class))
}

// join reads a join, if there is one.
func (p *parser) join(s *scope) bool {
	pos := p.tok.pos
	outer := false
	switch {
	case p.is(","):
		p.fail(pos, "a comma joins every device with every other one: write inner join CLASS on CLASS.ResourceID = %s.ResourceID", schema.System)
	case p.keyword("right"), p.keyword("full"):
		p.fail(pos, "%s join: it brings rows without a device of the class before it; write the classes the other way round with left join, or leave out %[1]s", strings.ToLower(p.tok.text))
	case p.keyword("cross"), p.keyword("natural"):
		p.fail(pos, "%s join: a join is inner or left, on ResourceID", strings.ToLower(p.tok.text))
	case p.accept("inner"):
	case p.accept("left"):
		p.accept("outer")
		outer = true
	case !p.keyword("join"):
		return false
	}
	p.expect("join")
	if len(s.q.Sources) > MaxJoins {
		p.fail(pos, "more than %d joins", MaxJoins)
	}
	p.source(s, outer)
	p.expect("on")
	on := p.or(s)
	if p.err == nil {
		p.on(s, len(s.q.Sources)-1, on)
	}
	return p.err == nil
}

// on takes the equation of ResourceID out of the condition of a join.
func (p *parser) on(s *scope, joined int, condition Expr) {
	terms := []Expr{condition}
	if and, ok := condition.(*And); ok {
		terms = and.Terms
	}
	src := &s.q.Sources[joined]
	equation, with := -1, 0
	for i, t := range terms {
		if with = equated(t, joined); with >= 0 {
			equation = i
			break
		}
	}
	rest := make([]Expr, 0, len(terms))
	for i, t := range terms {
		switch {
		case i != equation:
			rest = append(rest, t)
		case s.q.Sources[with].Outer:
			// A row of NULLs of the other class equals nothing, although the device
			// is the same.
			rest = append(rest, &IsNull{Operand: s.column(with, device, int(t.Position())), Not: true, Pos: t.Position()})
		}
	}
	if equation < 0 && (src.Class == nil || !src.Class.Implied) {
		p.fail(int(condition.Position()), "a join must be on ResourceID, as in %s.ResourceID = %s.ResourceID: other joins bring devices together, and a rule is asked of one at a time", src.Alias, s.q.Sources[0].Alias)
		return
	}
	src.On = conjunction(rest)
}

// equated returns the source whose ResourceID a term equates with that of a joined
// one, -1 if it does not.
func equated(t Expr, joined int) int {
	c, ok := t.(*Compare)
	if !ok || c.Op != Equal {
		return -1
	}
	a, isA := c.Left.(Column)
	b, isB := c.Right.(Column)
	switch {
	case !isA || !isB || a.Property != device || b.Property != device || a.Source == b.Source:
		return -1
	case a.Source == joined:
		return b.Source
	case b.Source == joined:
		return a.Source
	}
	return -1
}

func conjunction(terms []Expr) Expr {
	switch len(terms) {
	case 0:
		return nil
	case 1:
		return terms[0]
	}
	return &And{Terms: terms, Pos: terms[0].Position()}
}

// column makes the column of a property of a source.
func (s *scope) column(source, property, pos int) Column {
	c := Column{Source: source, Property: property, Of: schema.Number, Pos: Pos(pos)}
	if property != device {
		p := &s.q.Sources[source].Class.Properties[property]
		c.Of, c.List = p.Type, p.List
	}
	return c
}

// find returns the source that a query calls by a name, -1 after an error.
func (p *parser) find(s *scope, class string, pos int) int {
	for i := range s.q.Sources {
		if strings.EqualFold(s.q.Sources[i].Alias, class) {
			return i
		}
	}
	for o := s.outer; o != nil; o = o.outer {
		for i := range o.q.Sources {
			if strings.EqualFold(o.q.Sources[i].Alias, class) {
				p.fail(pos, "%s belongs to the select around this one: a sub-select must stand on its own", shorten(class))
				return -1
			}
		}
	}
	for i := range s.q.Sources {
		if src := &s.q.Sources[i]; strings.EqualFold(p.class(src), class) {
			p.fail(pos, "%s has another name here: %s", shorten(class), src.Alias)
			return -1
		}
	}
	p.fail(pos, "%s is not among the classes named so far", shorten(class))
	return -1
}

// column looks up a property. Without a class, it is that of SMS_R_System, else of
// the only source that has it.
func (p *parser) column(s *scope, class, property string, pos int) Column {
	if p.err != nil {
		return Column{}
	}
	if class != "" {
		i := p.find(s, class, pos)
		if i < 0 {
			return Column{}
		}
		j, ok := s.q.Sources[i].property(property)
		if !ok {
			p.unknownProperty(&s.q.Sources[i], property, pos)
			return Column{}
		}
		return s.column(i, j, pos)
	}
	if strings.EqualFold(property, schema.ResourceID) {
		return s.column(0, device, pos) // of all classes; that of the first is never NULL
	}
	var all []Column // those that it may be
	for i := range s.q.Sources {
		if j, ok := s.q.Sources[i].property(property); ok {
			all = append(all, s.column(i, j, pos))
		}
	}
	if len(all) == 0 {
		p.unknownUnqualified(s, property, pos)
		return Column{}
	}
	of := slices.DeleteFunc(slices.Clone(all), func(c Column) bool { return !isSystem(&s.q.Sources[c.Source]) })
	if len(of) == 0 {
		of = all
	}
	if len(of) > 1 {
		p.fail(pos, "%s is of %s and of %s: say which", shorten(property), s.q.Sources[of[0].Source].Alias, s.q.Sources[of[1].Source].Alias)
	}
	return of[0]
}

func isSystem(src *Source) bool { return src.Class != nil && src.Class.Name == schema.System }

// property returns the place of a property of a source, in any case.
func (src *Source) property(property string) (int, bool) {
	switch {
	case src.Class == nil:
		return device, strings.EqualFold(property, schema.ResourceID)
	case src.Class.IsDevice(property):
		return device, true
	}
	return src.Class.Property(property)
}

func (p *parser) unknownProperty(src *Source, property string, pos int) {
	if src.Class == nil {
		p.fail(pos, "unknown property %s: the members of a collection have ResourceID only; join %s for the rest", shorten(property), schema.System)
		return
	}
	if near := src.Class.Nearest(property); near != "" {
		p.fail(pos, "unknown property %s of %s: did you mean %s?", shorten(property), src.Class.Name, near)
		return
	}
	p.fail(pos, "unknown property %s of %s", shorten(property), src.Class.Name)
}

func (p *parser) unknownUnqualified(s *scope, property string, pos int) {
	for o := s.outer; o != nil; o = o.outer {
		for i := range o.q.Sources {
			if _, ok := o.q.Sources[i].property(property); ok {
				p.fail(pos, "%s belongs to the select around this one: a sub-select must stand on its own", shorten(property))
				return
			}
		}
	}
	for i := range s.q.Sources {
		src := &s.q.Sources[i]
		if src.Class == nil && len(s.q.Sources) == 1 {
			p.unknownProperty(src, property, pos)
			return
		}
		if src.Class == nil {
			continue
		}
		if near := src.Class.Nearest(property); near != "" {
			p.fail(pos, "no class behind from has a property %s: did you mean %s.%s?", shorten(property), src.Alias, near)
			return
		}
	}
	p.fail(pos, "no class behind from has a property %s (a text stands in quotes)", shorten(property))
}
