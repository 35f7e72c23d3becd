package advice

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A relation says how a collection depends on another one, in words between two names.
type relation string

const (
	limitedBy relation = "is limited by"
	includes  relation = "includes"
	excludes  relation = "excludes"
	asksFor   relation = "asks in a query for"
)

// An input is a collection that another one depends on.
type input struct {
	id  string
	how relation
}

// A graph is how collections depend on one another. What is missing is an input, but
// no node.
type graph struct {
	order      []string // of all but the root, by name
	byID       map[string]*Collection
	inputs     map[string][]input  // the limit first
	dependants map[string][]string // direct ones, each once, by name
	limited    map[string][]string // that a collection limits, by name
	cycle      []input             // one, its first collection again at the end; nil if there is none
	above      map[string]input    // the deepest of the inputs
	depth      map[string]int      // steps to the root along it; 0 on a cycle
}

func newGraph(in *Input) graph {
	g := graph{byID: make(map[string]*Collection, len(in.Collections)), inputs: map[string][]input{}, dependants: map[string][]string{},
		limited: map[string][]string{}, above: map[string]input{}, depth: map[string]int{}}
	for i := range in.Collections {
		c := &in.Collections[i]
		if c.ID == event.RootCollection || g.byID[c.ID] != nil {
			continue
		}
		g.byID[c.ID] = c
		g.order = append(g.order, c.ID)
	}
	slices.SortFunc(g.order, func(a, b string) int {
		return cmp.Or(strings.Compare(wql.Fold(g.byID[a].Name), wql.Fold(g.byID[b].Name)), strings.Compare(a, b))
	})
	for _, id := range g.order {
		g.connect(g.byID[id])
	}
	g.walk()
	return g
}

func (g *graph) connect(c *Collection) {
	all := []input{{limitOf(c), limitedBy}}
	for _, id := range c.Include {
		all = append(all, input{id, includes})
	}
	for _, id := range c.Exclude {
		all = append(all, input{id, excludes})
	}
	for i := range c.Rules {
		if q := c.Rules[i].Parsed; q != nil {
			for _, id := range q.Uses {
				all = append(all, input{id, asksFor})
			}
		}
	}
	g.inputs[c.ID] = all
	g.limited[limitOf(c)] = append(g.limited[limitOf(c)], c.ID)
	for _, in := range all {
		if d := g.dependants[in.id]; len(d) == 0 || d[len(d)-1] != c.ID {
			g.dependants[in.id] = append(d, c.ID)
		}
	}
}

// limitOf is the limiting collection; one without is limited to the root.
func limitOf(c *Collection) string { return cmp.Or(c.Limit, event.RootCollection) }

// there tells whether there is a collection.
func (g *graph) there(id string) bool { return id == event.RootCollection || g.byID[id] != nil }

// A step is a collection on the way down a walk, and the inputs that are left.
type step struct {
	at   input
	left []input
}

// walk reckons depths, and finds a cycle if there is one, depth first and without
// recursion.
func (g *graph) walk() {
	const under, done = 1, 2
	state := map[string]int{event.RootCollection: done}
	for _, start := range g.order {
		if state[start] != 0 {
			continue
		}
		state[start] = under
		path := []step{{input{id: start}, g.inputs[start]}}
		for len(path) > 0 {
			top := &path[len(path)-1]
			if len(top.left) == 0 {
				state[top.at.id] = done
				g.measure(top.at.id)
				path = path[:len(path)-1]
				continue
			}
			next := top.left[0]
			top.left = top.left[1:]
			switch state[next.id] {
			case under:
				if g.cycle == nil {
					g.cycle = cycleOf(path, next)
				}
			case done:
			default:
				state[next.id] = under
				path = append(path, step{next, g.inputs[next.id]})
			}
		}
	}
}

// measure reckons the depth of a collection whose inputs are measured.
func (g *graph) measure(id string) {
	for _, in := range g.inputs[id] {
		if d := g.depth[in.id] + 1; d > g.depth[id] {
			g.depth[id], g.above[id] = d, in
		}
	}
}

func cycleOf(path []step, closing input) []input {
	i := slices.IndexFunc(path, func(s step) bool { return s.at.id == closing.id })
	found := []input{{id: closing.id}}
	for _, s := range path[i+1:] {
		found = append(found, s.at)
	}
	return append(found, closing)
}

// below returns what depends on a collection through any steps, without it, in no
// order that matters; next says what a step is.
func (g *graph) below(id string, next map[string][]string) []string {
	seen, all := map[string]bool{id: true}, []string{}
	for left := []string{id}; len(left) > 0; {
		at := left[len(left)-1]
		left = left[:len(left)-1]
		for _, d := range next[at] {
			if !seen[d] {
				seen[d] = true
				all, left = append(all, d), append(left, d)
			}
		}
	}
	return all
}

// levels is how many levels of collections there are that one limits, one below
// the other.
func (g *graph) levels(id string) (n int) {
	seen, level := map[string]bool{id: true}, []string{id}
	for {
		var next []string
		for _, at := range level {
			for _, d := range g.limited[at] {
				if !seen[d] {
					seen[d] = true
					next = append(next, d)
				}
			}
		}
		if len(next) == 0 {
			return n
		}
		n, level = n+1, next
	}
}
