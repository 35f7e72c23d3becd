package engine

import (
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// maxCombinations is how many combinations of rows a query may make that has to be
// read device by device.
const maxCombinations = 1 << 20

// A run is one evaluation: of collections of a plan, for some devices, at a time.
type run struct {
	e       *Engine
	p       *plan
	now     int64
	dry     bool                          // for a question: the matrix stays as it is
	overlay map[*compiled]*roaring.Bitmap // of a dry run: how members differ from the matrix
	sets    map[*valueSet]bool            // that were computed
}

// Evaluate computes members. The result has a change for each collection that was
// evaluated, in [Engine.Order], also if nothing changed. After an error nothing has.
//
// If a rule asks what an inner query selects, and that has changed, its collection is
// evaluated for all devices whatever r says, and those that depend on it also for
// the devices for which that changed something.
func (e *Engine) Evaluate(r Request) ([]Change, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	order, err := e.chosen(r.Collections)
	if err != nil {
		return nil, err
	}
	x := &run{e: e, p: e.plan, now: unixMilli(r.Now)}
	return x.evaluate(order, r.Devices, r.Collections == nil)
}

// chosen returns the collections with these ids in order; nil means all.
func (e *Engine) chosen(ids []string) ([]*compiled, error) {
	if ids == nil {
		return e.plan.order, nil
	}
	order := make([]*compiled, 0, len(ids))
	for _, id := range ids {
		c := e.plan.collection(upper(id))
		if c == nil {
			return nil, fmt.Errorf("evaluate collection %s: it is not defined", id)
		}
		order = append(order, c)
	}
	slices.SortFunc(order, func(a, b *compiled) int { return a.rank - b.rank })
	return slices.Compact(order), nil
}

// evaluate computes collections in order for devices; nil means all of them. It goes
// by stages: one ends before a collection whose rules ask a set of values, for that
// has to be known first, and may make all devices count.
func (x *run) evaluate(order []*compiled, devices *roaring.Bitmap, full bool) ([]Change, error) {
	if x.p.slow() {
		if err := x.check(x.p.program(order), devices); err != nil {
			return nil, err
		}
	}
	changes := make([]Change, 0, len(order))
	for len(order) > 0 {
		n := 1
		for n < len(order) && len(order[n].sets) == 0 {
			n++
		}
		stage := order[:n]
		g := x.p.full
		if !full || n < len(order) || len(changes) > 0 || g == nil {
			g = x.p.program(stage)
			if full && n == len(order) && len(changes) == 0 {
				x.p.full = g
			}
		}
		scope, stale := x.askSets(stage[0], devices)
		if stale && n > 1 { // all devices for this one, but not for the others
			n, stage = 1, order[:1]
			g = x.p.program(stage)
		}
		got := x.compute(g, scope)
		if stale && devices != nil {
			devices = devices.Clone()
			devices.Or(got[0].Added)
			devices.Or(got[0].Removed)
		}
		changes = append(changes, got...)
		order = order[n:]
	}
	return changes, nil
}

// askSets brings the sets that a collection asks up to date. If one is another than
// its members were computed with, all devices are in scope.
func (x *run) askSets(c *compiled, devices *roaring.Bitmap) (scope *roaring.Bitmap, stale bool) {
	for i, s := range c.sets {
		x.askSet(s)
		if c.seen[i] != s.version {
			stale = true
		}
	}
	if !x.dry && (stale || devices == nil) {
		for i, s := range c.sets {
			c.seen[i] = s.version
		}
	}
	if stale {
		return nil, true
	}
	return devices, false
}

// compute runs a program and returns what became of its collections.
func (x *run) compute(g *program, devices *roaring.Bitmap) []Change {
	return x.changes(g, x.start(g, devices, nil))
}

// prepare makes ready what a program asks.
func (x *run) prepare(g *program) {
	x.e.refresh()
	g.volatiles(func(c *condition) {
		if c.clock != nil {
			c.clock.prepare(x.now)
		}
	})
}

// start runs a program; keep takes the bits of its extra nodes.
func (x *run) start(g *program, devices *roaring.Bitmap, keep []*marks) []*worker {
	x.prepare(g)
	chunks := x.e.chunks(devices)
	stride := 1
	for i := range chunks {
		stride = max(stride, chunks[i].words)
	}
	ws := make([]*worker, workers(len(chunks)))
	for i := range ws {
		ws[i] = g.worker(x.e, x.now, stride)
		ws[i].dry, ws[i].overlay, ws[i].keep = x.dry, x.overlay, keep
	}
	parallel(len(ws), len(chunks), func(w, i int) { ws[w].run(chunks[i]) })
	return ws
}

// workers is how many goroutines do n pieces of work.
func workers(n int) int { return max(1, min(n, runtime.GOMAXPROCS(0))) }

// parallel does n pieces of work with so many workers, and waits for them.
func parallel(workers, n int, do func(worker, i int)) {
	if workers == 1 {
		for i := range n {
			do(0, i)
		}
		return
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(w, i)
			}
		})
	}
	all.Wait()
}

// chunks cuts devices into chunks; nil means all that are there or were.
func (e *Engine) chunks(devices *roaring.Bitmap) (out []chunk) {
	if devices == nil {
		groups := max(len(e.live.pages)*pageSize/64, len(e.matrix.groups))
		if groups > 0 {
			e.matrix.room(groups - 1)
		}
		for g := 0; g < groups; g += chunkWords {
			out = append(out, chunk{group: g, words: min(chunkWords, pageSize/64)})
		}
		return out
	}
	if devices.IsEmpty() {
		return nil
	}
	all := devices.ToArray()
	for len(all) > 0 && all[len(all)-1] > MaxDevice {
		all = all[:len(all)-1]
	}
	if len(all) == 0 {
		return nil
	}
	e.matrix.room(int(all[len(all)-1] >> 6))
	for len(all) > 0 {
		n := min(len(all), e.share(len(all)))
		for n < len(all) && n > 1 && all[n]>>6 == all[n-1]>>6 {
			n-- // a group of 64 is one chunk's
		}
		out = append(out, chunk{devices: all[:n], words: (n + 63) / 64})
		all = all[n:]
	}
	return out
}

// share is how many of n devices a chunk gets: all workers should have some.
func (e *Engine) share(n int) int {
	if n <= chunkDevices {
		return max(128, (n/runtime.GOMAXPROCS(0)+63)/64*64)
	}
	return chunkDevices
}

// check refuses what would take for ever, before anything changes.
func (x *run) check(g *program, devices *roaring.Bitmap) (err error) {
	for i := range g.steps {
		if s := &g.steps[i]; s.kind == nodeEach && s.each.expr == nil {
			eachQuery(s.each.query, func(q *wql.Query) {
				if err == nil {
					err = x.checkQuery(q, devices)
				}
			})
		}
	}
	return err
}

func (x *run) checkQuery(q *wql.Query, devices *roaring.Bitmap) error {
	var many []*table
	for i := range q.Sources {
		if c := q.Sources[i].Class; c != nil && x.e.tables[c.Index].many {
			many = append(many, x.e.tables[c.Index])
		}
	}
	if len(many) < 2 {
		return nil
	}
	for d := range x.e.live.all {
		if devices != nil && !devices.Contains(d) {
			continue
		}
		n := 1
		for _, t := range many {
			if n *= max(1, len(t.lists.at(d))); n > maxCombinations {
				return fmt.Errorf("evaluate device %d: the joins of a query make over %d combinations of its rows: %.200s", d, maxCombinations, q.Text)
			}
		}
	}
	return nil
}

// refresh brings all kept answers up to date: first those about texts and numbers,
// then those about lists of texts, then those about rows, for each is made from the
// ones before.
func (e *Engine) refresh() {
	var plain, lists []*dictionary
	var rows []*table
	for _, t := range e.tables {
		for _, c := range t.columns {
			d := c.dict
			if d.kind == ofLists {
				if d.answers.dirty {
					lists = append(lists, d)
				}
				d = d.values
			}
			if d.answers.dirty {
				plain = append(plain, d)
			}
		}
		if t.answers.dirty {
			rows = append(rows, t)
		}
	}
	stage(plain, func(d *dictionary) []job { return d.answers.refresh(d.size(), ask) })
	stage(lists, func(d *dictionary) []job { return d.answers.refresh(d.size(), d.listWord) })
	stage(rows, func(t *table) []job { return t.answers.refresh(len(t.refs), ask) })
}

// stage does the jobs of all, before another stage begins.
func stage[T any](all []T, of func(T) []job) {
	var jobs []job
	for _, x := range all {
		jobs = append(jobs, of(x)...)
	}
	if len(jobs) > 0 {
		parallel(workers(len(jobs)), len(jobs), func(_, i int) { jobs[i]() })
	}
}

// changes puts together what the workers found.
func (x *run) changes(g *program, ws []*worker) []Change {
	out := make([]Change, len(g.outputs))
	empty := make([]roaring.Bitmap, 2*len(out))
	loading, computed := time.Duration(0), 0
	for _, w := range ws {
		loading += w.loading
	}
	for k := range g.outputs {
		computed += g.outputs[k].computed
	}
	for k := range out {
		o := &g.outputs[k]
		out[k] = Change{ID: o.of.ID, Added: &empty[2*k], Removed: &empty[2*k+1], Computed: o.computed, Reused: o.reused}
		out[k].Took = loading * time.Duration(o.computed) / time.Duration(max(1, computed))
		for _, w := range ws {
			out[k].Took += w.took[k]
		}
		if o.of.slot >= 0 {
			out[k].Members = x.e.matrix.counts[o.of.slot]
		}
	}
	var busy []int
	for _, w := range ws {
		busy = append(busy, w.touched...)
	}
	slices.Sort(busy)
	busy = slices.Compact(busy)
	parallel(workers(len(busy)/64), len(busy), func(_, i int) {
		k := busy[i]
		collect(ws, out[k].Added, func(w *worker) []diff { return w.added[k] })
		collect(ws, out[k].Removed, func(w *worker) []diff { return w.removed[k] })
	})
	for _, k := range busy {
		of, c := g.outputs[k].of, &out[k]
		c.Members += int(c.Added.GetCardinality()) - int(c.Removed.GetCardinality())
		if x.dry {
			x.overlay[of] = roaring.Or(c.Added, c.Removed)
		} else {
			x.e.matrix.counts[of.slot] = c.Members
		}
	}
	g.rest(ws)
	return out
}

// collect puts what the workers found into a set.
func collect(ws []*worker, into *roaring.Bitmap, of func(*worker) []diff) {
	lists := make([][]diff, 0, len(ws))
	n := 0
	for _, w := range ws {
		if l := of(w); len(l) > 0 {
			lists = append(lists, l)
			n += len(l)
		}
	}
	if n < 64 {
		for _, l := range lists {
			for _, d := range l {
				addWord(into, d)
			}
		}
		return
	}
	// A worker takes chunks in order, so each list rises.
	var b setBuilder
	for range n {
		least := 0
		for i, l := range lists {
			if l[0].group < lists[least][0].group {
				least = i
			}
		}
		d := lists[least][0]
		b.add(d.group, d.word)
		if lists[least] = lists[least][1:]; len(lists[least]) == 0 {
			lists = slices.Delete(lists, least, least+1)
		}
	}
	into.Or(b.set())
}

func addWord(into *roaring.Bitmap, d diff) {
	for w := d.word; w != 0; w &= w - 1 {
		into.Add(uint32(d.group<<6) | uint32(bits.TrailingZeros64(w)))
	}
}

// select returns the devices of a node, of all that are there.
func (x *run) selected(node int32) *marks {
	g := x.p.program(nil, node)
	keep := &marks{pages: make([][]uint64, max(len(x.e.live.pages), len(x.e.matrix.groups)*64/pageSize+1))}
	for p := range keep.pages {
		keep.pages[p] = make([]uint64, pageSize/64)
	}
	x.start(g, nil, []*marks{keep})
	return keep
}

// askSet computes what an inner query selects.
func (x *run) askSet(s *valueSet) {
	if x.sets[s] {
		return
	}
	devices := x.selected(s.node)
	values, null := map[scalar]struct{}{}, false
	column := s.query.Columns[0]
	r := &reading{p: x.p, now: x.now, member: nil}
	for d := range devices.all {
		r.device = d
		r.member = func(c *compiled) bool { return x.member(c, d) }
		r.combinations(s.query, func(c *combination) bool {
			if s.query.Where == nil || c.truth(s.query.Where) == True {
				found := c.operand(column)
				null = null || len(found) == 0
				for _, v := range found {
					values[v] = struct{}{}
				}
			}
			return true
		})
	}
	s.become(values, null)
	if x.sets == nil {
		x.sets = map[*valueSet]bool{}
	}
	x.sets[s] = true
}

// member tells whether a device is in a collection, as the run has it.
func (x *run) member(c *compiled, device uint32) bool {
	is := x.e.matrix.has(c.slot, device)
	if o := x.overlay[c]; o != nil && o.Contains(device) {
		return !is
	}
	return is
}

// setsOf returns the sets that queries ask, inner ones first.
func (p *plan) setsOf(queries []*wql.Query) (out []*valueSet) {
	for _, q := range queries {
		eachQuery(q, func(q *wql.Query) {
			eachTest(q, func(e wql.Expr) {
				if e, ok := e.(*wql.InQuery); ok && !ofDevice(e.Operand) {
					if s := p.set(e); s != nil && !slices.Contains(out, s) {
						out = append(out, s)
					}
				}
			})
		})
	}
	slices.Reverse(out)
	return out
}

// unixMilli keeps an instant within what can be computed with.
func unixMilli(t time.Time) int64 {
	return min(max(t.UnixMilli(), math.MinInt64/4), math.MaxInt64/4)
}
