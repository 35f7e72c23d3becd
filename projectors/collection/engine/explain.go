package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// An Explanation says why a device is a member of a collection, or why it is not. The
// rules are asked anew; other collections have the members that they had last.
type Explanation struct {
	Collection string
	Device     uint32
	Known      bool         // the device is there
	Was        bool         // it was a member when the collection was evaluated last
	Member     bool         // it is one by what follows
	Limits     []Membership // the limiting collection, its own one, and so on up to the root
	Direct     bool         // a direct rule names the device
	Rules      []Rule       // the queries
	Includes   []Membership
	Excludes   []Membership
	Why        string // what decided, for people
}

// A Membership says whether the device is in a collection.
type Membership struct {
	Collection string
	Member     bool
}

// A Rule says what a query is for the device. It is true if it selects the device; it
// is unknown if it does not, and would if some value were not NULL.
type Rule struct {
	Truth Truth
	// Lacks names a class that the query joins and that the device has no row of;
	// Condition is nil then, as it is if the query has none.
	Lacks string
	// Condition is that behind where, for the combination of rows that comes closest.
	Condition *Condition
}

// A Condition is one of a query, or a part of one.
type Condition struct {
	Text    string // in WQL
	Truth   Truth
	Decides bool         // it is why the whole is what it is
	Values  []string     // of a test: what the device has, such as "A.FreeSpace is 812"
	Terms   []*Condition // of and, or, not

	or, not bool
}

// maxExplained is how many combinations of rows are looked at for the closest one.
const maxExplained = 4096

// Explain says why a device is a member of a collection or is not, at a time. It is
// an error if the collection is not defined.
func (e *Engine) Explain(id string, device uint32, now time.Time) (*Explanation, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	c := e.plan.collection(upper(id))
	if c == nil {
		return nil, fmt.Errorf("explain collection %s: %w", id, errUnknown)
	}
	x := &Explanation{Collection: c.ID, Device: device, Known: e.live.has(device), Was: e.matrix.has(c.slot, device)}
	if c.slot == 0 {
		x.Member = x.Known
		x.Why = x.why()
		return x, nil
	}
	at := func(id string) Membership {
		m := e.plan.collection(upper(id))
		return Membership{m.ID, e.matrix.has(m.slot, device)}
	}
	for up := c; up.slot != 0; {
		limit := up.Limit
		if limit == "" {
			limit = Root
		}
		x.Limits = append(x.Limits, at(limit))
		up = e.plan.collection(upper(limit))
	}
	for _, in := range c.Include {
		x.Includes = append(x.Includes, at(in))
	}
	for _, ex := range c.Exclude {
		x.Excludes = append(x.Excludes, at(ex))
	}
	x.Direct = c.Direct != nil && c.Direct.Contains(device)
	if x.Known {
		r := &run{e: e, p: e.plan, now: unixMilli(now), dry: true}
		x.Rules = r.explainRules(c, device)
	} else {
		x.Rules = make([]Rule, len(c.Queries))
	}
	x.decide()
	return x, nil
}

// decide puts the parts together.
func (x *Explanation) decide() {
	x.Member = x.Known && x.Limits[0].Member && (x.Direct || firstMember(x.Includes) != "" || x.rule() >= 0) && firstMember(x.Excludes) == ""
	x.Why = x.why()
}

func firstMember(all []Membership) string {
	for _, m := range all {
		if m.Member {
			return m.Collection
		}
	}
	return ""
}

// rule is the first query that selects the device, or -1.
func (x *Explanation) rule() int {
	for i, r := range x.Rules {
		if r.Truth == True {
			return i
		}
	}
	return -1
}

func (x *Explanation) why() string {
	switch {
	case !x.Known:
		return "the device is not there"
	case len(x.Limits) == 0:
		return "every device is a member"
	}
	if ex := firstMember(x.Excludes); ex != "" {
		return "collection " + ex + " is excluded, and the device is in it"
	}
	if !x.Limits[0].Member {
		last := x.Limits[0].Collection
		for _, l := range x.Limits[1:] {
			if l.Member {
				break
			}
			last = l.Collection
		}
		if last == x.Limits[0].Collection {
			return "the device is not in the limiting collection " + last
		}
		return "the device is not in the limiting collection " + x.Limits[0].Collection + ", for it is not in " + last
	}
	if x.Direct {
		return "a direct rule names the device"
	}
	if i := x.rule(); i >= 0 {
		return "query " + strconv.Itoa(i+1) + " selects the device"
	}
	if in := firstMember(x.Includes); in != "" {
		return "collection " + in + " is included, and the device is in it"
	}
	for i, r := range x.Rules {
		if r.Truth == Unknown {
			return "no rule selects the device; query " + strconv.Itoa(i+1) + " cannot be decided, for a value is NULL"
		}
	}
	return "no rule selects the device"
}

// explainRules asks the queries of a collection. Whether they select the device is
// computed as always; the words for it are found by reading them.
func (x *run) explainRules(c *compiled, device uint32) []Rule {
	for _, s := range c.sets {
		if s.version == 0 {
			x.askSet(s)
		}
	}
	ids := make([]int32, len(c.Queries))
	for i, q := range c.Queries {
		ids[i], _ = x.p.compiledQuery(q)
	}
	g := x.p.program(nil, ids...)
	x.prepare(g)
	w := g.worker(x.e, x.now, 1)
	w.dry = true
	w.run(chunk{words: 1, devices: []uint32{device}})
	rules := make([]Rule, len(ids))
	r := &reading{p: x.p, device: device, now: x.now}
	r.member = func(c *compiled) bool { return x.member(c, device) }
	for i, q := range c.Queries {
		rules[i] = r.explain(q, w.buf[g.extra[i]]&1 != 0)
	}
	return rules
}

// explain finds words for what a query is; is tells whether it selects the device.
func (r *reading) explain(q *wql.Query, is bool) (rule Rule) {
	var best *Condition
	var seats []seat
	score, tried := -1, 0
	r.combinations(q, func(c *combination) bool {
		if q.Where == nil {
			score = 0
			return false
		}
		t, trues := c.closeness(q.Where)
		if t == Unknown {
			trues += closer
		}
		if t == True || trues > score {
			seats, score = slices.Clone(c.seats), trues
		}
		tried++
		return t != True && tried < maxExplained
	})
	if seats != nil {
		best = (&combination{reading: r, q: q, seats: seats}).explain(q.Where)
	}
	switch {
	case is:
		rule.Truth = True
	case best != nil && best.Truth == Unknown:
		rule.Truth = Unknown
	case score < 0:
		rule.Lacks = r.lacks(q)
		return rule
	}
	if rule.Condition = best; best != nil && (best.Truth == True) == is {
		best.decide()
	}
	return rule
}

// lacks names the first inner source that the device has no row of, or that no row
// could be joined of.
func (r *reading) lacks(q *wql.Query) string {
	for i := range q.Sources {
		s := &q.Sources[i]
		switch {
		case s.Outer:
		case s.Class == nil:
			if m := r.p.collection(upper(s.Collection)); m == nil || !r.member(m) {
				return "collection " + s.Collection
			}
		case s.Class.Index != r.p.e.system && len(r.p.e.tables[s.Class.Index].rows(r.device)) == 0:
			return s.Class.Name
		}
	}
	for i := range q.Sources {
		if s := &q.Sources[i]; s.On != nil && !s.Outer && s.Class != nil {
			return s.Class.Name
		}
	}
	return ""
}

// explain is truth with words.
func (c *combination) explain(e wql.Expr) *Condition {
	out := &Condition{Text: c.q.Print(e)}
	terms := func(all []wql.Expr) {
		for _, x := range all {
			out.Terms = append(out.Terms, c.explain(x))
		}
	}
	switch e := e.(type) {
	case *wql.And:
		terms(e.Terms)
		out.Truth = True
		for _, t := range out.Terms {
			out.Truth = out.Truth.and(t.Truth)
		}
	case *wql.Or:
		terms(e.Terms)
		out.or = true
		for _, t := range out.Terms {
			out.Truth = out.Truth.or(t.Truth)
		}
	case *wql.Not:
		terms([]wql.Expr{e.Term})
		out.not = true
		out.Truth = out.Terms[0].Truth.not()
	default:
		out.Truth = c.truth(e)
		columnsOf(e, func(k wql.Column) { out.Values = append(out.Values, c.value(k)) })
	}
	return out
}

// value prints what a column holds.
func (c *combination) value(k wql.Column) string {
	s, name := &c.q.Sources[k.Source], schema.ResourceID
	var p *schema.Property
	if k.Property >= 0 {
		p = &s.Class.Properties[k.Property]
		name = p.Name
	}
	values := c.operand(k)
	if len(values) == 0 {
		return s.Alias + "." + name + " is NULL"
	}
	texts := make([]string, len(values))
	for i, v := range values {
		switch {
		case p == nil:
			texts[i] = strconv.FormatInt(v.number, 10)
		case p.Type == schema.Text:
			texts[i] = strconv.Quote(v.text)
		default:
			texts[i] = schema.FormatValue(p, schema.Value{Set: true, Number: v.number})
		}
	}
	return s.Alias + "." + name + " is " + strings.Join(texts, ", ")
}

// closer is how much closer to true an unknown condition is than a false one.
const closer = 1 << 20

// closeness is the truth of a condition, and how many of its tests are true.
func (c *combination) closeness(e wql.Expr) (t Truth, trues int) {
	var terms []wql.Expr
	switch e := e.(type) {
	case *wql.And:
		terms, t = e.Terms, True
	case *wql.Or:
		terms = e.Terms
	case *wql.Not:
		t, trues = c.closeness(e.Term)
		return t.not(), trues
	default:
		if t = c.truth(e); t == True {
			trues = 1
		}
		return t, trues
	}
	_, and := e.(*wql.And)
	for _, x := range terms {
		u, n := c.closeness(x)
		if trues += n; and {
			t = t.and(u)
		} else {
			t = t.or(u)
		}
	}
	return t, trues
}

// decide marks the tests that make the whole what it is: one false term of an and, one
// true one of an or, else all that are as the whole is.
func (c *Condition) decide() {
	c.Decides = true
	one := c.Truth == False
	if c.or {
		one = c.Truth == True
	}
	for _, t := range c.Terms {
		switch {
		case c.not:
			t.decide()
		case t.Truth == c.Truth:
			if t.decide(); one {
				return
			}
		}
	}
}
