package console

import (
	"context"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/projectors/collection"
)

// stateOf is the definitions as a snapshot has them.
func (c *Console) stateOf(v *reading, s *collection.Snapshot) *definitions.State {
	now := c.cfg.Definitions.Now()
	if !v.past && now.Version() <= s.Position() {
		return now
	}
	var all []*definitions.Definition
	for _, i := range s.List() {
		all = append(all, definitions.Of(i.Collection, i.Defined.Event))
	}
	return now.With(all)
}

// relations are the words of edges.
var relations = map[definitions.Relation]string{
	definitions.LimitedBy: "limit", definitions.Includes: "include", definitions.Excludes: "exclude", definitions.Queries: "query",
}

type graphInput struct {
	When
	Collection string `query:"collection" maxLength:"256" doc:"the one in the middle, by id or name; default all collections"`
	Depth      int    `query:"depth" minimum:"0" maximum:"1000" doc:"how many steps away from the one in the middle; default all"`
}

func (c *Console) getCollectionGraph(ctx context.Context, in *graphInput) (*out[CollectionGraph], error) {
	if in.Collection == "" && in.Depth > 0 {
		return nil, badRequest("The request contradicts itself", "depth counts from a collection: name one.")
	}
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	reply := CollectionGraph{}
	reply.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		g := newGraph(s, c.stateOf(v, s))
		if in.Collection == "" {
			for _, i := range s.List() {
				g.node(i.ID)
			}
		} else {
			info, err := findCollection(s, in.Collection)
			if err != nil {
				return err
			}
			reply.Collection = info.ID
			g.around(info.ID, in.Depth)
		}
		g.finish(&reply)
		return nil
	})
	if err != nil {
		return nil, c.failView(ctx, "read how collections depend on one another", err)
	}
	return answerAt(reply, reply.Event)
}

// A graph is being made from the definitions of all collections.
type graph struct {
	s          *collection.Snapshot
	inputs     map[string][]definitions.Input
	dependants map[string][]string
	nodes      map[string]*GraphNode
}

func newGraph(s *collection.Snapshot, state *definitions.State) *graph {
	g := &graph{s: s, inputs: map[string][]definitions.Input{}, dependants: map[string][]string{}, nodes: map[string]*GraphNode{}}
	for _, i := range s.List() {
		g.inputs[i.ID] = state.Inputs(i.ID)
		for _, in := range g.inputs[i.ID] {
			g.dependants[in.ID] = append(g.dependants[in.ID], i.ID)
		}
	}
	return g
}

func (g *graph) node(id string) *GraphNode {
	n := g.nodes[id]
	if n == nil {
		info, _ := g.s.Get(id)
		n = &GraphNode{ID: id, Name: info.Name, Members: info.Members}
		g.nodes[id] = n
	}
	return n
}

// around takes what is at most so many steps from a collection, in both directions;
// 0 means any number.
func (g *graph) around(id string, depth int) {
	g.node(id)
	up := func(id string) (ids []string) {
		for _, in := range g.inputs[id] {
			ids = append(ids, in.ID)
		}
		return ids
	}
	g.steps(id, depth, up, func(n *GraphNode, step int) { n.Above = step })
	g.steps(id, depth, func(id string) []string { return g.dependants[id] }, func(n *GraphNode, step int) { n.Below = step })
}

// steps walks the breadth first and numbers what it meets.
func (g *graph) steps(from string, depth int, next func(string) []string, number func(n *GraphNode, step int)) {
	seen, level := map[string]bool{from: true}, []string{from}
	for step := 1; len(level) > 0 && (depth == 0 || step <= depth); step++ {
		var following []string
		for _, id := range level {
			for _, other := range next(id) {
				if !seen[other] {
					seen[other] = true
					number(g.node(other), step)
					following = append(following, other)
				}
			}
		}
		level = following
	}
}

// finish lists the nodes, and the edges of which both ends are among them.
func (g *graph) finish(reply *CollectionGraph) {
	reply.Nodes, reply.Edges = []GraphNode{}, []GraphEdge{}
	for _, n := range g.nodes {
		reply.Nodes = append(reply.Nodes, *n)
	}
	slices.SortFunc(reply.Nodes, func(a, b GraphNode) int { return strings.Compare(a.ID, b.ID) })
	for _, n := range reply.Nodes {
		for _, in := range g.inputs[n.ID] {
			if reply.Collection == "" {
				if g.nodes[in.ID] == nil {
					continue
				}
			} else if !g.between(n.ID, in.ID, reply.Collection) {
				continue
			}
			reply.Edges = append(reply.Edges, GraphEdge{n.ID, in.ID, relations[in.Relation]})
		}
	}
}

// between tells whether an edge lies on the way up or down from the middle.
func (g *graph) between(from, to, middle string) bool {
	a, b := g.nodes[from], g.nodes[to]
	if a == nil || b == nil {
		return false
	}
	up := (from == middle || a.Above > 0) && b.Above > 0
	down := a.Below > 0 && (to == middle || b.Below > 0)
	return up || down
}
