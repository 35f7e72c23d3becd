package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// Root is the id of the collection of all devices. It has no definition.
const Root = "SMS00001"

// MaxDevice is the highest number of a device. Memory is taken for every number up to
// the highest that is in use, so numbers should be dense.
const MaxDevice = 1<<26 - 1

// A Collection is the definition of one as the engine takes it. Nobody changes it.
type Collection struct {
	ID      string
	Limit   string          // id of the limiting collection; empty: all devices, the root
	Direct  *roaring.Bitmap // device numbers, or nil
	Queries []*wql.Query
	Include []string
	Exclude []string
}

// A Request asks for an evaluation.
type Request struct {
	// Collections are those to evaluate, in any order; nil means all. Whatever they
	// depend on and is not among them counts as it was last.
	Collections []string
	// Devices are those to look at; nil means all. The others stay as they are, which
	// is exact if nothing changed that their membership depends on.
	Devices *roaring.Bitmap
	Now     time.Time // what GetDate() is
}

// A Change is what became of one collection.
type Change struct {
	ID             string
	Added, Removed *roaring.Bitmap // never nil; the caller's
	Members        int             // after it
	Took           time.Duration   // what it alone cost
	Computed       int             // conditions that were computed
	Reused         int             // conditions that another collection had computed
}

// A Truth is what a condition is for a device.
type Truth uint8

// The truths.
const (
	False Truth = iota
	True
	Unknown // a value that it needs is NULL
)

// An Engine holds the values of all devices and the members of all collections. It
// is not safe for concurrent use. Make one with [New].
type Engine struct {
	schema *schema.Schema
	clock  func() time.Time // tells what a collection cost, nothing else
	system int              // place of schema.System
	tables []*table         // by class
	live   marks            // devices that are there
	matrix matrix
	plan   *plan
	graph  *graph // the definitions
	shape  int    // classes that a device has several rows of, when the plan was made
	ids    uint64 // the last one that was given away
}

// An Option of [New].
type Option func(*Engine)

// WithClock sets what [Change.Took] is measured by; else it is time.Now.
func WithClock(now func() time.Time) Option { return func(e *Engine) { e.clock = now } }

// New returns an engine without devices and collections.
func New(s *schema.Schema, options ...Option) *Engine {
	e := &Engine{clock: time.Now}
	for _, o := range options {
		o(e)
	}
	e.matrix.take() // of the root
	e.Extend(s)
	if err := e.Define(nil); err != nil {
		panic(fmt.Sprintf("define no collection: %v", err))
	}
	return e
}

// Extend gives the engine a schema that has classes or properties more; the places
// of the others are the same.
func (e *Engine) Extend(s *schema.Schema) {
	e.schema = s
	for i, c := range s.Classes() {
		switch {
		case i == len(e.tables):
			e.tables = append(e.tables, newTable(c))
		default:
			e.tables[i].extend(c)
		}
		if c.Name == schema.System {
			e.system = i
		}
	}
}

// Put takes the record of a device, a new one or one that it had. Its members are
// those of the last evaluation until the device is evaluated. It fails, and takes
// nothing, on a number above [MaxDevice] or a class that is not in the schema.
func (e *Engine) Put(r *schema.Record) error {
	if r.Device > MaxDevice {
		return fmt.Errorf("put device %d: numbers up to %d are taken", r.Device, MaxDevice)
	}
	for i := range r.Classes {
		if k := r.Classes[i].Class; k < 0 || k >= len(e.tables) {
			return fmt.Errorf("put device %d: class %d is not in the schema", r.Device, k)
		}
	}
	e.live.set(r.Device, true)
	at := 0
	for k, t := range e.tables {
		for at < len(r.Classes) && r.Classes[at].Class < k {
			at++
		}
		var rows []schema.Row
		if at < len(r.Classes) && r.Classes[at].Class == k {
			rows = r.Classes[at].Rows
		}
		t.put(r.Device, rows)
	}
	return nil
}

// Remove forgets a device. It stays a member until it is evaluated.
func (e *Engine) Remove(device uint32) {
	if !e.live.has(device) {
		return
	}
	e.live.set(device, false)
	for _, t := range e.tables {
		t.put(device, nil)
	}
}

// Devices returns all devices; the set is the caller's.
func (e *Engine) Devices() *roaring.Bitmap { return e.live.bitmap() }

// Define takes the definitions of all collections but the root, and forgets those
// that it had. Members of collections that stay, stay; a new one has none until it is
// evaluated or restored. On an error, which is a [*DefinitionError] or a [*CycleError],
// everything is as it was.
func (e *Engine) Define(all []Collection) error {
	g, err := newGraph(slices.Clone(all))
	if err != nil {
		return err
	}
	p, err := e.newPlan(g)
	if err != nil {
		return err
	}
	e.use(p)
	e.graph = g
	return nil
}

// newPlan compiles definitions.
func (e *Engine) newPlan(g *graph) (*plan, error) {
	order, err := g.order()
	if err != nil {
		return nil, err
	}
	p := newPlan(e, nil)
	p.take(&compiled{Collection: Collection{ID: Root}, node: yes})
	for _, id := range order {
		if err := p.compile(g.defs[id], -1); err != nil {
			p.release()
			return nil, err
		}
	}
	return p, nil
}

// take adds a collection to the plan.
func (p *plan) take(c *compiled) {
	p.e.ids++
	c.serial = p.e.ids
	c.rank = len(p.order)
	p.collections[upper(c.ID)] = c
	p.order = append(p.order, c)
}

// compile adds a collection whose inputs are there.
func (p *plan) compile(def *Collection, slot int) error {
	c := &compiled{Collection: *def, slot: slot}
	ids := make([]int32, 0, len(def.Queries)+len(def.Include)+1)
	if def.Direct != nil && !def.Direct.IsEmpty() {
		ids = append(ids, p.add(node{kind: nodeDirect, marks: marksOf(def.Direct)}, fmt.Sprintf("direct %p", def.Direct)))
	}
	for i, q := range def.Queries {
		id, err := p.query(q)
		if err != nil {
			return &DefinitionError{def.ID, fmt.Errorf("query %d: %w", i+1, err)}
		}
		ids = append(ids, id)
	}
	for _, id := range def.Include {
		ids = append(ids, p.member(p.collection(upper(id))))
	}
	limit := def.Limit
	if limit == "" {
		limit = Root
	}
	all := []int32{p.or(ids...), p.member(p.collection(upper(limit)))}
	for _, id := range def.Exclude {
		all = append(all, p.not(p.member(p.collection(upper(id)))))
	}
	c.node = p.and(all...)
	c.sets = p.setsOf(def.Queries)
	c.seen = make([]uint64, len(c.sets))
	for _, id := range inputsOf(def) {
		c.inputs = append(c.inputs, p.collection(id))
	}
	p.take(c)
	return nil
}

// use makes a plan the one that holds, and gives its collections slots.
func (e *Engine) use(p *plan) {
	old := e.plan
	for _, c := range p.order {
		c.slot = -1
		if old == nil {
			if upper(c.ID) == Root {
				c.slot = 0
			}
		} else if was := old.collections[upper(c.ID)]; was != nil {
			c.slot = was.slot
		}
	}
	if old != nil {
		for id, was := range old.collections {
			if p.collections[id] == nil {
				e.matrix.drop(was.slot)
			}
		}
		old.release()
	}
	e.matrix.widen(len(p.order))
	for _, c := range p.order {
		if c.slot < 0 {
			c.slot = e.matrix.take()
		}
	}
	e.plan = p
	e.shape = e.manyTables()
}

func (e *Engine) manyTables() (n int) {
	for _, t := range e.tables {
		if t.many {
			n++
		}
	}
	return n
}

// ready compiles again if a class has become one of which devices have several rows.
func (e *Engine) ready() error {
	if e.shape == e.manyTables() {
		return nil
	}
	p, err := e.newPlan(e.graph)
	if err != nil {
		return err
	}
	e.use(p)
	return nil
}

// Restore sets the members of a collection to what they are known to be. One that is
// not defined is left alone.
func (e *Engine) Restore(id string, members *roaring.Bitmap) {
	if c := e.plan.collection(upper(id)); c != nil {
		e.matrix.restore(c.slot, members)
	}
}

// Members returns the members of a collection as they were evaluated or restored
// last; the set is the caller's. One that is not defined has none.
func (e *Engine) Members(id string) *roaring.Bitmap {
	c := e.plan.collection(upper(id))
	if c == nil {
		return roaring.New()
	}
	return e.matrix.members(c.slot)
}

// Count returns how many members a collection has.
func (e *Engine) Count(id string) int {
	c := e.plan.collection(upper(id))
	if c == nil {
		return 0
	}
	return e.matrix.counts[c.slot]
}

// Order returns the ids of all collections, the root first, each behind all that it
// depends on.
func (e *Engine) Order() []string { return idsOf(e.plan.order) }

func idsOf(cs []*compiled) []string {
	ids := make([]string, len(cs))
	for i, c := range cs {
		ids[i] = c.ID
	}
	return ids
}

// Inputs returns the ids of the collections that one is made from directly: its limit,
// what it includes and excludes, and what its queries name. The root has none.
func (e *Engine) Inputs(id string) []string {
	c := e.plan.collection(upper(id))
	if c == nil {
		return nil
	}
	return idsOf(c.inputs)
}

// Dependants returns the ids of all collections that depend on one, directly or by
// way of others, in [Engine.Order].
func (e *Engine) Dependants(id string) []string {
	c := e.plan.collection(upper(id))
	if c == nil {
		return nil
	}
	return idsOf(e.plan.dependants(map[*compiled]bool{c: true}))
}

// dependants are the collections that depend on some, in order.
func (p *plan) dependants(on map[*compiled]bool) (out []*compiled) {
	hit := make(map[*compiled]bool, len(on))
	for c := range on {
		hit[c] = true
	}
	for _, c := range p.order {
		if !hit[c] && slices.ContainsFunc(c.inputs, func(in *compiled) bool { return hit[in] }) {
			hit[c] = true
			out = append(out, c)
		}
	}
	return out
}

// Query returns the devices that a query selects at a time, with members as they are
// now; the set is the caller's.
func (e *Engine) Query(q *wql.Query, now time.Time) (*roaring.Bitmap, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	p := newPlan(e, e.plan)
	defer p.release()
	id, err := p.query(q)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	x := &run{e: e, p: p, now: unixMilli(now), dry: true}
	if p.slow() {
		if err := x.check(p.program(nil, id), nil); err != nil {
			return nil, fmt.Errorf("query: %w", err)
		}
	}
	for _, s := range p.setsOf([]*wql.Query{q}) {
		x.askSet(s)
	}
	return x.selected(id).bitmap(), nil
}

// Stats are sizes, in bytes where they are no counts.
type Stats struct {
	Devices, Collections int
	Conditions           int // that are asked, each once
	Heap                 int // about all of the engine
	Values               int // of that, columns with their dictionaries and rows
	Members              int // of that, who is a member of what
}

// Stats tells how large the engine is. It takes a while.
func (e *Engine) Stats() Stats {
	s := Stats{Devices: e.live.n, Collections: len(e.plan.order), Conditions: len(e.plan.conditions), Members: e.matrix.heap()}
	for _, t := range e.tables {
		s.Values += t.heap()
	}
	s.Values += e.live.heap()
	s.Heap = s.Values + s.Members
	return s
}

var errUnknown = errors.New("it is not defined")
