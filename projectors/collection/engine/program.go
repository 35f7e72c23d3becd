package engine

// A program computes some collections of a plan, and sets of devices besides. It is
// made for one set of collections and used for any devices.
type program struct {
	p       *plan
	place   map[int32]int // of nodes: which buffer has their bits
	places  int
	loads   []load
	steps   []step
	outputs []output
	extra   []int // places of nodes that were asked for besides
	resting []*worker
}

// A load fills buffers from a column's or a class's answers to many conditions at
// once.
type load struct {
	col   *column // by device; else
	table *table  // by row
	batch *batch
	bits  []bitPlace
}

type bitPlace struct {
	bit   uint8
	place int
}

// A step computes one node.
type step struct {
	*node
	place int
	kids  []int
}

// An output is a collection that the program computes.
type output struct {
	of               *compiled
	place            int
	from, to         int // its steps
	computed, reused int // conditions
}

// program returns one for collections in order, and nodes besides.
func (p *plan) program(collections []*compiled, extra ...int32) *program {
	g := &programmer{program: &program{p: p, place: map[int32]int{}}, running: make(map[*compiled]bool, len(collections)), batches: map[*batch]int{}}
	for _, c := range collections {
		g.running[c] = true
	}
	for _, c := range collections {
		o := output{of: c, from: len(g.steps)}
		g.computed, g.reused, g.met = 0, 0, map[int32]bool{}
		o.place = g.visit(c.node)
		o.to, o.computed, o.reused = len(g.steps), g.computed, g.reused
		g.outputs = append(g.outputs, o)
	}
	for _, id := range extra {
		g.met = map[int32]bool{}
		g.extra = append(g.extra, g.visit(id))
	}
	return g.program
}

type programmer struct {
	*program
	running          map[*compiled]bool
	batches          map[*batch]int // index of the load
	met              map[int32]bool // by this collection
	computed, reused int
}

// visit returns the place of a node, and sees to it that it is computed.
func (g *programmer) visit(id int32) int {
	n := g.p.node(id)
	if n.kind == nodeMember && g.running[n.of] { // it is computed already
		for n.kind == nodeMember && g.running[n.of] {
			id = n.of.node
			n = g.p.node(id)
		}
		return g.place[id]
	}
	again := g.met[id]
	g.met[id] = true
	at, done := g.place[id]
	if n.isCondition() && !again {
		if done {
			g.reused++
		} else {
			g.computed++
		}
	}
	if done {
		if !again && (n.kind == nodeAnd || n.kind == nodeOr || n.kind == nodeNot) {
			g.count(n)
		}
		return at
	}
	var kids []int
	for _, k := range n.kids {
		kids = append(kids, g.visit(k))
	}
	at = g.places
	g.places++
	g.place[id] = at
	switch n.kind {
	case nodeBit:
		g.load(load{col: n.col, batch: n.cond.batch}, n.cond.bit, at)
	case nodeRows:
		g.load(load{table: n.table, batch: n.rows.batch}, n.rows.bit, at)
	default:
		g.steps = append(g.steps, step{n, at, kids})
	}
	return at
}

// count counts the conditions below a node that was computed for another collection.
func (g *programmer) count(n *node) {
	for _, id := range n.kids {
		k := g.p.node(id)
		if g.met[id] || k.kind == nodeMember && g.running[k.of] {
			continue
		}
		g.met[id] = true
		if k.isCondition() {
			g.reused++
		}
		g.count(k)
	}
}

func (g *programmer) load(l load, bit uint8, place int) {
	i, ok := g.batches[l.batch]
	if !ok {
		i = len(g.loads)
		g.batches[l.batch] = i
		g.loads = append(g.loads, l)
	}
	g.loads[i].bits = append(g.loads[i].bits, bitPlace{bit, place})
}

// volatiles are the conditions whose answers are not kept.
func (g *program) volatiles(yield func(*condition)) {
	for i := range g.steps {
		switch s := &g.steps[i]; s.kind {
		case nodeTest, nodeNumber, nodeGlobal:
			yield(s.cond)
		case nodeRowTest:
			s.rows.form.conditions(yield)
		}
	}
}
