package engine

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A nodeKind says how a node's bits come about.
type nodeKind uint8

const (
	nodeNo      nodeKind = iota
	nodeYes              // every device that is there
	nodeBit              // a condition on a column by device
	nodeTest             // the same, of a condition whose answer is not kept
	nodeRows             // a condition on one row: some row of the device
	nodeRowTest          // the same, not kept
	nodePresent          // the device has a row
	nodeDirect           // a set of devices
	nodeNumber           // a condition on the device's number
	nodeGlobal           // a condition on nothing of the device
	nodeEach             // a condition or a query, read device by device
	nodeMember           // the device is in a collection
	nodeAnd
	nodeOr
	nodeNot
)

// A node is a set of devices, made from others that have lower numbers. Equal nodes
// are one, so what several collections ask is computed once.
type node struct {
	kind  nodeKind
	kids  []int32
	cond  *condition
	col   *column
	table *table
	rows  *rowCondition
	marks *marks
	of    *compiled
	each  *each
}

// isCondition tells what counts as a condition in [Change].
func (n *node) isCondition() bool {
	switch n.kind {
	case nodeBit, nodeTest, nodeRows, nodeRowTest, nodeNumber, nodeGlobal, nodeEach:
		return true
	}
	return false
}

// An each is read word by word.
type each struct {
	query   *wql.Query
	expr    wql.Expr    // nil: all of the query
	want    Truth       // of expr
	members []*compiled // that the query names, in the order of the node's kids
}

// A compiled is a collection as a plan has it.
type compiled struct {
	Collection
	slot   int // its place in the matrix; -1: it is not there
	node   int32
	serial uint64      // tells it from all others, also from earlier ones of its id
	rank   int         // in the order
	inputs []*compiled // each once
	sets   []*valueSet // that its rules ask
	seen   []uint64    // versions of them that its members were computed with
}

// A rowCondition asks whether a row of a class is as a formula of conditions on its
// columns says.
type rowCondition struct {
	key   string
	table *table
	form  *form
	still bool // answers are kept: nothing in it is volatile
	uses  int
	batch *batch
	bit   uint8
}

// answer implements asked.
func (r *rowCondition) answer(row uint32) bool { return r.form.kept(row) }

func (r *rowCondition) settle() {
	if r.uses++; r.uses == 1 && r.still {
		r.batch, r.bit = r.table.answers.add(r, false)
	}
}

func (r *rowCondition) leave() {
	if r.uses--; r.uses > 0 {
		return
	}
	delete(r.table.asked, r.key)
	if r.batch != nil {
		r.table.answers.drop(r.batch, r.bit)
	}
}

// A plan is what collections compiled to. One that has a parent adds to it and
// leaves it as it is.
type plan struct {
	e      *Engine
	serial uint64
	parent *plan
	base   int32 // how many nodes the parent has
	nodes  []node
	known  map[string]int32

	conditions map[*condition]bool
	rows       map[*rowCondition]bool
	patterns   map[*wql.Like]*wql.Pattern
	sets       map[*wql.InQuery]*valueSet
	queries    map[*wql.Query]int32
	watches    map[string]watch

	collections map[string]*compiled // by id in upper case
	order       []*compiled          // without what is not defined here
	full        *program             // for all of order
	reads       bool                 // there are queries that are read device by device
}

func newPlan(e *Engine, parent *plan) *plan {
	e.ids++
	p := &plan{e: e, serial: e.ids, parent: parent, known: map[string]int32{}, conditions: map[*condition]bool{}, rows: map[*rowCondition]bool{},
		patterns: map[*wql.Like]*wql.Pattern{}, sets: map[*wql.InQuery]*valueSet{}, queries: map[*wql.Query]int32{},
		watches: map[string]watch{}, collections: map[string]*compiled{}}
	if parent != nil {
		p.base = parent.size()
		return p
	}
	p.add(node{kind: nodeNo}, "no")
	p.add(node{kind: nodeYes}, "yes")
	return p
}

const (
	no  int32 = 0 // nodes that every plan has
	yes int32 = 1
)

func (p *plan) size() int32 { return p.base + int32(len(p.nodes)) }

func (p *plan) node(id int32) *node {
	for id < p.base {
		p = p.parent
	}
	return &p.nodes[id-p.base]
}

// release gives back what the plan has of columns' answers.
func (p *plan) release() {
	for c := range p.conditions {
		c.leave()
	}
	for r := range p.rows {
		r.leave()
	}
}

// slow tells whether there are queries that are read device by device.
func (p *plan) slow() bool { return p.reads || p.parent != nil && p.parent.slow() }

func (p *plan) collection(id string) *compiled {
	for ; p != nil; p = p.parent {
		if c := p.collections[id]; c != nil {
			return c
		}
	}
	return nil
}

func (p *plan) pattern(e *wql.Like) *wql.Pattern {
	for ; p != nil; p = p.parent {
		if x := p.patterns[e]; x != nil {
			return x
		}
	}
	return wql.CompileLike(e.Pattern)
}

func (p *plan) set(e *wql.InQuery) *valueSet {
	for ; p != nil; p = p.parent {
		if s := p.sets[e]; s != nil {
			return s
		}
	}
	return nil
}

// hold keeps a condition and its answers until the plan is released.
func (p *plan) hold(c *condition) {
	for q := p; q != nil; q = q.parent {
		if q.conditions[c] {
			return
		}
	}
	p.conditions[c] = true
	c.settle()
}

func (p *plan) holdRows(r *rowCondition) {
	for q := p; q != nil; q = q.parent {
		if q.rows[r] {
			return
		}
	}
	p.rows[r] = true
	r.settle()
}

// add returns the node with a key, the one that is there or n.
func (p *plan) add(n node, key string) int32 {
	for q := p; q != nil; q = q.parent {
		if id, ok := q.known[key]; ok {
			return id
		}
	}
	id := p.size()
	p.nodes = append(p.nodes, n)
	p.known[key] = id
	return id
}

func (p *plan) and(kids ...int32) int32 { return p.join(nodeAnd, yes, no, kids) }
func (p *plan) or(kids ...int32) int32  { return p.join(nodeOr, no, yes, kids) }

// join makes a node of others; neutral among them changes nothing, final is all.
func (p *plan) join(k nodeKind, neutral, final int32, kids []int32) int32 {
	all := make([]int32, 0, len(kids))
	for _, id := range kids {
		switch n := p.node(id); {
		case id == neutral:
		case id == final:
			return final
		case n.kind == k:
			all = append(all, n.kids...)
		default:
			all = append(all, id)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	switch len(all) {
	case 0:
		return neutral
	case 1:
		return all[0]
	}
	return p.add(node{kind: k, kids: all}, kidsKey(k, all))
}

func kidsKey(k nodeKind, kids []int32) string {
	key := make([]byte, 0, 2+5*len(kids))
	key = append(key, '0'+byte(k))
	for _, id := range kids {
		key = binary.AppendVarint(key, int64(id))
	}
	return string(key)
}

func (p *plan) not(id int32) int32 {
	if id == no {
		return yes
	}
	return p.add(node{kind: nodeNot, kids: []int32{id}}, kidsKey(nodeNot, []int32{id}))
}

func (p *plan) member(c *compiled) int32 {
	return p.add(node{kind: nodeMember, of: c}, "member "+strconv.FormatUint(c.serial, 10))
}

func (p *plan) present(t *table) int32 {
	if t.class.Index == p.e.system {
		return yes
	}
	return p.add(node{kind: nodePresent, table: t}, "present "+strconv.Itoa(t.class.Index))
}
