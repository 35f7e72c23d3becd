package engine

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// maxSplits is how many cases a query is split into before it is read device by
// device instead.
const maxSplits = 256

// maxSources is how many sources a query can have.
const maxSources = 64

// A compiler turns a query into nodes.
type compiler struct {
	p       *plan
	q       *wql.Query
	sources []origin
	splits  int
	slow    bool // it has to be read device by device
}

// An origin is a source of the query.
type origin struct {
	table *table
	of    *compiled // instead: of a collection
	many  bool      // a device can have several rows
	outer bool
	here  int32 // of what is not many: the devices that have a row
	on    *form // of an outer one that is many: what a row must be to be joined
	bound bool  // of an outer one that is not: it has a condition to be joined, here
}

// query returns the node of the devices that a query selects.
func (p *plan) query(q *wql.Query) (int32, error) {
	if id, ok := p.compiledQuery(q); ok {
		return id, nil
	}
	if err := p.check(q); err != nil {
		return no, err
	}
	p.learn(q)
	c := &compiler{p: p, q: q}
	id, err := c.compile()
	if err != nil {
		return no, err
	}
	p.queries[q] = id
	return id, nil
}

// compiledQuery returns the node of a query that is compiled already. What a parent
// compiled is of no use if the query names a collection that p has otherwise.
func (p *plan) compiledQuery(q *wql.Query) (int32, bool) {
	if id, ok := p.queries[q]; ok || p.parent == nil || p.redefines(q) {
		return id, ok
	}
	return p.parent.compiledQuery(q)
}

func (p *plan) redefines(q *wql.Query) (does bool) {
	if len(p.collections) > 0 {
		eachQuery(q, func(q *wql.Query) {
			for i := range q.Sources {
				if s := &q.Sources[i]; s.Class == nil && p.collections[upper(s.Collection)] != nil {
					does = true
				}
			}
		})
	}
	return does
}

// check refuses trees that do not fit the tables.
func (p *plan) check(q *wql.Query) error {
	switch n := len(q.Sources); {
	case n == 0:
		return errors.New("the query has no source")
	case n > maxSources:
		return fmt.Errorf("the query has %d sources, at most %d are taken", n, maxSources)
	}
	var bad error
	look := func(c wql.Column) {
		if c.Source < 0 || c.Source >= len(q.Sources) {
			bad = fmt.Errorf("source %d of the query is not there", c.Source)
		} else if s := &q.Sources[c.Source]; c.Property >= 0 && (s.Class == nil || c.Property >= len(p.e.tables[s.Class.Index].columns)) {
			bad = fmt.Errorf("property %d of source %s is not known", c.Property, s.Alias)
		}
	}
	for i := range q.Sources {
		s := &q.Sources[i]
		if s.Class != nil && s.Class.Index >= len(p.e.tables) {
			return fmt.Errorf("class %s is not known", s.Class.Name)
		}
		if s.Class == nil && p.collection(upper(s.Collection)) == nil {
			return fmt.Errorf("collection %s is not known", s.Collection)
		}
	}
	for i := range q.Sources {
		columnsOf(q.Sources[i].On, func(c wql.Column) {
			if look(c); c.Source > i {
				bad = fmt.Errorf("source %s is joined by one that comes later", q.Sources[i].Alias)
			}
		})
	}
	columnsOf(q.Where, look)
	for _, c := range q.Columns {
		look(c)
	}
	return bad
}

// learn keeps what reading the query word by word needs.
func (p *plan) learn(q *wql.Query) {
	eachTest(q, func(e wql.Expr) {
		if e, ok := e.(*wql.Like); ok {
			p.patterns[e] = wql.CompileLike(e.Pattern)
		}
	})
	p.watch(q)
}

func (c *compiler) compile() (int32, error) {
	if err := c.open(); err != nil {
		return no, err
	}
	all := []*form{}
	for i := range c.q.Sources {
		s, o := &c.q.Sources[i], &c.sources[i]
		if o.outer {
			continue
		}
		if !o.many {
			all = append(all, c.nodeForm(o.here))
		}
		if s.On != nil {
			f, err := c.form(s.On, True)
			if err != nil {
				return no, err
			}
			all = append(all, f)
		}
	}
	if c.q.Where != nil {
		f, err := c.form(c.q.Where, True)
		if err != nil {
			return no, err
		}
		all = append(all, f)
	}
	var rows uint64
	for i := range c.sources {
		if c.sources[i].many {
			rows |= 1 << i
		}
	}
	if !c.slow {
		if id := c.exists(allOf(all...), rows); !c.slow {
			return id, nil
		}
	}
	return c.read(), nil
}

// read returns the node that reads the query device by device.
func (c *compiler) read() int32 {
	c.p.reads = true
	return c.eachNode(&each{query: c.q}, fmt.Sprintf("read %p %d", c.q, c.p.serial))
}

func (c *compiler) eachNode(n *each, key string) int32 {
	nd := node{kind: nodeEach, each: n}
	eachQuery(c.q, func(q *wql.Query) {
		for i := range q.Sources {
			if s := &q.Sources[i]; s.Class == nil {
				m := c.p.collection(upper(s.Collection))
				n.members = append(n.members, m)
				nd.kids = append(nd.kids, c.p.member(m))
			}
		}
	})
	return c.p.add(nd, key)
}

// open looks at the sources.
func (c *compiler) open() error {
	c.sources = make([]origin, len(c.q.Sources))
	for i := range c.q.Sources {
		s, o := &c.q.Sources[i], &c.sources[i]
		o.outer = s.Outer
		if s.Class == nil {
			o.of = c.p.collection(upper(s.Collection))
			o.here = c.p.member(o.of)
		} else {
			o.table = c.p.e.tables[s.Class.Index]
			if o.many = o.table.many; !o.many {
				o.here = c.p.present(o.table)
			}
		}
		if !s.Outer || s.On == nil {
			continue
		}
		// The condition may ask this row itself; until its answer is known, the row is
		// there if it is at all.
		o.outer = false
		f, err := c.form(s.On, True)
		o.outer = true
		switch {
		case err != nil:
			return err
		case o.many && f.rows&^(1<<i) == 0 && !f.device:
			o.on = f
		case !o.many && f.rows == 0:
			o.here, o.bound = c.p.and(o.here, c.deviceNode(f)), true
		default:
			c.slow = true
		}
	}
	return nil
}

func (c *compiler) nodeForm(id int32) *form {
	switch id {
	case no:
		return formFalse
	case yes:
		return formTrue
	}
	return &form{kind: formNode, node: id, device: true}
}

// form returns what makes a condition come out as wanted: true, or false.
func (c *compiler) form(e wql.Expr, want Truth) (*form, error) {
	switch e := e.(type) {
	case *wql.Not:
		return c.form(e.Term, want.not())
	case *wql.And:
		return c.terms(e.Terms, want, want == True)
	case *wql.Or:
		return c.terms(e.Terms, want, want == False)
	}
	return c.leaf(e, want)
}

func (c *compiler) terms(terms []wql.Expr, want Truth, all bool) (*form, error) {
	kids := make([]*form, len(terms))
	for i, t := range terms {
		var err error
		if kids[i], err = c.form(t, want); err != nil {
			return nil, err
		}
	}
	if all {
		return allOf(kids...), nil
	}
	return oneOf(kids...), nil
}

// leaf is the form of one test.
func (c *compiler) leaf(e wql.Expr, want Truth) (*form, error) {
	if q, ok := e.(*wql.InQuery); ok && !ofDevice(q.Operand) {
		if err := c.defineSet(q); err != nil {
			return nil, err
		}
	}
	var columns []wql.Column
	columnsOf(e, func(k wql.Column) { columns = append(columns, k) })
	switch {
	case len(columns) == 0:
		return c.global(e, want), nil
	case len(columns) == 1 && columns[0].Property < 0:
		return c.ofNumber(e, columns[0], want)
	case len(columns) == 1:
		return c.ofColumn(e, columns[0], want), nil
	}
	return c.ofColumns(e, columns, want), nil
}

// global is a condition that asks nothing of the device.
func (c *compiler) global(e wql.Expr, want Truth) *form {
	k, set := compileTest(e, false, c.p.set)
	if !asksTime(e) && set == nil {
		if k.of(want) {
			return formTrue
		}
		return formFalse
	}
	cond := &condition{want: want, test: k.test, set: set}
	if k.flip {
		cond.want = want.not()
	}
	return c.nodeForm(c.p.add(node{kind: nodeGlobal, cond: cond}, fmt.Sprintf("global %s %t %d", k.key, k.flip, want)))
}

// of tells whether a test that asks for no value comes out as wanted.
func (k keyed) of(want Truth) bool {
	if k.flip {
		want = want.not()
	}
	return k.test(scalar{}, 0) == want
}

// condition returns that of a test of a column.
func (c *compiler) condition(e wql.Expr, d *dictionary, want Truth) *condition {
	k, set := compileTest(e, d.kind == ofLists, c.p.set)
	cond := d.condition(k, want, &c.p.e.ids)
	if cond.uses == 0 {
		cond.set = set
		if asksTime(e) {
			cond.clock = newClock(e)
			cond.clock.flip = k.flip
		}
	}
	c.p.hold(cond)
	return cond
}

// ofColumn is a condition on one column.
func (c *compiler) ofColumn(e wql.Expr, k wql.Column, want Truth) *form {
	o := &c.sources[k.Source]
	col := o.table.columns[k.Property]
	cond := c.condition(e, col.dict, want)
	if o.many {
		return &form{kind: formRow, cond: cond, col: col, rows: 1 << k.Source}
	}
	kind := nodeBit
	if cond.volatile() {
		kind = nodeTest
	}
	id := c.p.add(node{kind: kind, cond: cond, col: col}, "c"+strconv.FormatUint(cond.id, 36))
	if !o.bound {
		return c.nodeForm(id)
	}
	id = c.p.and(o.here, id)
	if cond.null == cond.want {
		id = c.p.or(id, c.p.not(o.here))
	}
	return c.nodeForm(id)
}

// ofColumns is a condition on several columns, or on one in several places.
func (c *compiler) ofColumns(e wql.Expr, columns []wql.Column, want Truth) *form {
	var rows uint64
	number := false
	for _, k := range columns {
		if c.sources[k.Source].many {
			rows |= 1 << k.Source
		}
		number = number || k.Property < 0
	}
	_, inner := e.(*wql.InQuery)
	switch {
	case rows == 0 && !inner:
		n := &each{query: c.q, expr: e, want: want}
		return c.nodeForm(c.eachNode(n, fmt.Sprintf("expr %p %d %d", e, want, c.p.serial)))
	case bits.OnesCount64(rows) == 1 && rows == 1<<columns[0].Source && !number && sameSource(columns):
		r := &rowEach{c.p, c.q, e, columns[0].Source, c.sources[columns[0].Source].table, want, asksTime(e) || inner, fmt.Sprintf("each %p %d %d", e, want, c.p.serial)}
		return &form{kind: formEach, each: r, rows: rows}
	}
	c.slow = true
	return &form{kind: formMixed, rows: rows, device: true}
}

func sameSource(columns []wql.Column) bool {
	for _, k := range columns {
		if k.Source != columns[0].Source {
			return false
		}
	}
	return true
}

// A rowEach is a condition on several columns of one row, read word by word.
type rowEach struct {
	p        *plan
	q        *wql.Query
	expr     wql.Expr
	source   int
	table    *table
	want     Truth
	volatile bool
	key      string
}

func (r *rowEach) is(row uint32, now int64) bool {
	c := combination{reading: &reading{p: r.p, now: now}, q: r.q, seats: make([]seat, len(r.q.Sources))}
	c.seats[r.source] = seat{table: r.table, row: row}
	return c.truth(r.expr) == r.want
}

// defineSet makes the set of values of an inner query.
func (c *compiler) defineSet(q *wql.InQuery) error {
	if c.p.sets[q] != nil || c.p.set(q) != nil && !c.p.redefines(q.Query) {
		return nil
	}
	if len(q.Query.Columns) != 1 {
		return fmt.Errorf("the inner query selects %d columns, not one", len(q.Query.Columns))
	}
	if text := q.Operand.Type() == schema.Text; text != (q.Query.Columns[0].Of == schema.Text) {
		return errors.New("the inner query selects another type than what is looked for")
	}
	id, err := c.p.query(q.Query)
	if err != nil {
		return err
	}
	c.p.e.ids++
	c.p.sets[q] = &valueSet{id: c.p.e.ids, query: q.Query, node: id}
	return nil
}
