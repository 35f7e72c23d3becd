package estate

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A Definition is one of a collection.
type Definition struct {
	ID          string
	Name        string
	Limit       string
	Direct      []uint32 // rising
	Queries     []Query
	Include     []string
	Exclude     []string
	Schedule    string
	Incremental bool
}

// A Query is a query rule.
type Query struct{ Name, WQL string }

// Definitions returns all collections, each after those it depends on.
func (e *Estate) Definitions() []Definition { return e.defined }

// A draft is a graph of collections as it grows.
type draft struct {
	e     *Estate
	r     *rand.Rand
	ids   []string
	depth map[string]int
	broad []string // that hold much of the fleet, by which others are limited
	kinds int      // of queries so far: all kinds in turn
}

// everyBroad is how many collections there are for one that holds much of the fleet.
const everyBroad = 20

// broadQueries are those of such collections.
var broadQueries = []string{
	`select * from SMS_R_System where SMS_R_System.Client = 1`,
	`select SMS_R_System.ResourceId from SMS_R_System where OperatingSystemNameandVersion like "%Workstation 1%"`,
	`select SMS_R_System.ResourceId from SMS_R_System where SMS_R_System.Obsolete = 0 and SMS_R_System.Active = 1`,
	`select SMS_R_System.ResourceId from SMS_R_System where SMS_R_System.ResourceDomainORWorkgroup in ("CORP", "EMEA")`,
	`select SMS_R_System.ResourceId from SMS_R_System inner join SMS_G_System_WORKSTATION_STATUS on SMS_G_System_WORKSTATION_STATUS.ResourceID = SMS_R_System.ResourceId where DateDiff(dd, SMS_G_System_WORKSTATION_STATUS.LastHardwareScan, GetDate()) <= 60`,
	`select SMS_R_System.ResourceId from SMS_R_System where SMS_R_System.IsVirtualMachine = "False"`,
}

func (e *Estate) define() {
	g := &draft{e: e, r: e.random(forDefinitions, 0), depth: map[string]int{event.RootCollection: 0}}
	for i := range e.o.Collections {
		d := Definition{ID: fmt.Sprintf("%s%05X", e.o.Site, i+0x14), Limit: g.limit(i), Incremental: g.r.IntN(4) > 0}
		if g.r.IntN(3) == 0 {
			d.Schedule = fmt.Sprintf("%d %d * * %d", g.r.IntN(60), g.r.IntN(24), g.r.IntN(7))
		}
		g.fill(&d, i)
		g.depth[d.ID] = 1 + g.deepest(&d)
		g.ids = append(g.ids, d.ID)
		e.defined = append(e.defined, d)
	}
}

// limit is that of a collection: mostly one that holds much of the fleet.
func (g *draft) limit(i int) string {
	any, n := g.upTo(MaxDepth-1), g.r.IntN(10)
	switch {
	case len(g.broad) == 0 || n < 1:
		return event.RootCollection
	case i%everyBroad == 0: // they are not deep themselves
		return pick(g.r, g.broad[:min(2, len(g.broad))]...)
	case n < 5:
		return pick(g.r, g.broad...)
	}
	return pick(g.r, any...)
}

// upTo are the collections that are not deeper than depth.
func (g *draft) upTo(depth int) (ids []string) {
	for _, id := range g.ids {
		if g.depth[id] <= depth {
			ids = append(ids, id)
		}
	}
	return ids
}

// deepest is the greatest depth of what a collection depends on.
func (g *draft) deepest(d *Definition) int {
	deep := g.depth[d.Limit]
	for _, id := range slices.Concat(d.Include, d.Exclude) {
		deep = max(deep, g.depth[id])
	}
	for _, q := range d.Queries {
		if id, ok := named(q.WQL); ok {
			deep = max(deep, g.depth[id])
		}
	}
	return deep
}

// fill gives a collection its rules: of ten, six have queries, two include, one
// excludes, one names devices.
func (g *draft) fill(d *Definition, i int) {
	if i%everyBroad == 0 {
		k := len(g.broad) % len(broadQueries)
		d.Name = fmt.Sprintf("Most of the fleet %05d", i)
		d.Queries = []Query{{"most 1", broadQueries[k]}}
		g.broad = append(g.broad, d.ID)
		return
	}
	switch i % 10 {
	case 2, 7:
		d.Name = fmt.Sprintf("Together %05d", i)
		d.Include = g.others(2 + g.r.IntN(4))
	case 4:
		d.Name = fmt.Sprintf("All but some %05d", i)
		g.query(d)
		d.Exclude = g.others(1 + g.r.IntN(2))
	case 9:
		d.Name = fmt.Sprintf("By hand %05d", i)
		d.Direct = g.devices(min(g.e.o.Devices, 5+g.r.IntN(200)))
	default:
		g.query(d)
		d.Name = fmt.Sprintf("%s %05d", d.Queries[0].Name, i)
		if g.r.IntN(12) == 0 {
			g.query(d)
		}
	}
	if len(d.Include)+len(d.Queries)+len(d.Direct) == 0 { // the first have no others to include
		g.query(d)
	}
}

// others are different collections that may be depended on.
func (g *draft) others(n int) (ids []string) {
	from := g.upTo(MaxDepth - 1)
	for _, i := range g.r.Perm(len(from))[:min(n, len(from))] {
		ids = append(ids, from[i])
	}
	slices.Sort(ids)
	return ids
}

func (g *draft) devices(n int) (all []uint32) {
	seen := map[uint32]bool{}
	for len(all) < n {
		if d := 1 + uint32(g.r.IntN(g.e.o.Devices)); !seen[d] {
			seen[d] = true
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all
}

func (g *draft) query(d *Definition) {
	k := &Kinds[g.kinds%len(Kinds)]
	g.kinds++
	d.Queries = append(d.Queries, Query{fmt.Sprintf("%s %d", k.Name, len(d.Queries)+1), k.text(g.e, g.r, g.upTo(MaxDepth-1))})
}

// Compile returns all collections as the engine takes them.
func (e *Estate) Compile() ([]engine.Collection, error) {
	all := make([]engine.Collection, len(e.defined))
	for i := range e.defined {
		d := &e.defined[i]
		c := engine.Collection{ID: d.ID, Limit: d.Limit, Include: d.Include, Exclude: d.Exclude}
		if len(d.Direct) > 0 {
			c.Direct = roaring.BitmapOf(d.Direct...)
		}
		for _, q := range d.Queries {
			parsed, err := wql.Parse(q.WQL, e.schema)
			if err != nil {
				return nil, fmt.Errorf("compile collection %s: query %s: %w: %s", d.ID, q.Name, err, q.WQL)
			}
			c.Queries = append(c.Queries, parsed)
		}
		all[i] = c
	}
	return all, nil
}
