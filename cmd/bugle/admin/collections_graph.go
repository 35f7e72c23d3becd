package admin

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func collectionsGraph(o *Options) *cobra.Command {
	var past pastFlag
	var dot bool
	var depth int
	c := &cobra.Command{
		Use:   "graph [COLLECTION]",
		Short: "Show how collections depend on one another",
		Long: `Show how collections depend on one another, with the number of their members: which one
limits which, what they include and exclude, and what their queries ask for.

Without a collection it is the tree of limiting collections, with everything else that each
depends on beside it. With one it is two trees: what it is made from, and what is made from
it; --depth ends both after so many steps. --dot prints the graph for Graphviz, -o json its
nodes and edges, -o csv its edges.`,
		Example: `  bugle collections graph Laptops --depth 2
  bugle collections graph --dot | dot -Tsvg > collections.svg`,
		Args:              atMost("COLLECTION"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			switch {
			case depth < 0:
				return usage("--depth: %d is less than 0", depth)
			case depth > 0 && len(args) == 0:
				return usage("--depth counts from a collection: name one")
			case dot && !s.out.table():
				return usage("--dot and --output exclude each other")
			}
			if err := past.check(); err != nil {
				return err
			}
			q := query("collection", strings.Join(args, ""))
			if depth > 0 {
				q.Set("depth", strconv.Itoa(depth))
			}
			var g console.CollectionGraph
			if err := s.getAs(s.ctx, &past, console.PathCollectionGraph, q, &g); err != nil {
				return err
			}
			return s.showGraph(&g, dot)
		}),
	}
	c.Flags().BoolVar(&dot, "dot", false, "print the graph in the language of Graphviz")
	c.Flags().IntVar(&depth, "depth", 0, "at most so many steps away from the collection, 0 means all")
	past.add(c)
	return c
}

func (s *session) showGraph(g *console.CollectionGraph, dot bool) error {
	switch {
	case dot:
		s.dot(g)
	case s.out.format == "csv":
		columns := []column[console.GraphEdge]{
			{"from", false, func(e console.GraphEdge) any { return e.From }},
			{"how", false, func(e console.GraphEdge) any { return e.How }},
			{"to", false, func(e console.GraphEdge) any { return e.To }},
		}
		return list(s.out, columns, all(g.Edges))
	case !s.out.table():
		s.out.json(g, s.out.format == "json")
	case g.Collection == "":
		s.limitTree(g)
	default:
		s.aroundTrees(g)
	}
	return nil
}

// dot prints the graph: an arrow leads from what a collection depends on to it.
func (s *session) dot(g *console.CollectionGraph) {
	looks := map[string]string{"limit": "", "include": ` [label="include", color="darkgreen"]`,
		"exclude": ` [label="exclude", color="red", style="dashed"]`, "query": ` [label="query", color="blue"]`}
	s.out.printf("digraph collections {\n  rankdir=LR;\n  node [shape=box];\n")
	for _, n := range g.Nodes {
		style := ""
		if n.ID == g.Collection {
			style = ", style=bold"
		}
		s.out.printf("  %s [label=%s%s];\n", dotText(n.ID), dotText(nodeWords(n)), style)
	}
	for _, e := range g.Edges {
		s.out.printf("  %s -> %s%s;\n", dotText(e.To), dotText(e.From), looks[e.How])
	}
	s.out.printf("}\n")
}

var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func dotText(t string) string { return `"` + dotEscapes.Replace(clean(t)) + `"` }

func nodeWords(n console.GraphNode) string {
	name := n.Name
	if name == "" {
		name = "(is not there)"
	}
	return fmt.Sprintf("%s  %s  %d", n.ID, name, n.Members)
}

// A branch is what hangs below something in a tree.
type branch struct {
	text string // in front of the name: how it depends
	id   string
}

// An outline prints a graph as a tree: what was shown before is not unfolded again.
type outline struct {
	s     *session
	nodes map[string]console.GraphNode
	below func(id string) []branch
	notes func(id string) []string // beside a node
	seen  map[string]bool
}

func (s *session) newOutline(g *console.CollectionGraph) *outline {
	t := &outline{s: s, nodes: map[string]console.GraphNode{}, seen: map[string]bool{}, notes: func(string) []string { return nil }}
	for _, n := range g.Nodes {
		t.nodes[n.ID] = n
	}
	return t
}

// print shows what hangs below a node; indent is in front of each line. The depth of
// a graph of collections is bounded by their number, and each is unfolded once.
func (t *outline) print(id, indent string) {
	branches := t.below(id)
	for i, b := range branches {
		joint, more := "├─ ", "│  "
		if i == len(branches)-1 {
			joint, more = "└─ ", "   "
		}
		again := t.seen[b.id] && len(t.below(b.id)) > 0
		text := b.text + clean(nodeWords(t.nodes[b.id]))
		for _, n := range t.notes(b.id) {
			text += "  " + clean(n)
		}
		if again {
			text += "  (see above)"
		}
		t.s.out.printf("%s%s%s\n", indent, joint, text)
		if !again {
			t.seen[b.id] = true
			t.print(b.id, indent+more)
		}
	}
}

// limitTree shows all collections by what limits them.
func (s *session) limitTree(g *console.CollectionGraph) {
	t := s.newOutline(g)
	limits, others, limited := map[string][]branch{}, map[string][]string{}, map[string]bool{}
	for _, e := range g.Edges {
		if e.How == "limit" {
			limits[e.To] = append(limits[e.To], branch{id: e.From})
			limited[e.From] = true
			continue
		}
		words := map[string]string{"include": "+ ", "exclude": "− ", "query": "? "}
		others[e.From] = append(others[e.From], words[e.How]+e.To)
	}
	t.below = func(id string) []branch { return limits[id] }
	t.notes = func(id string) []string {
		if len(others[id]) == 0 {
			return nil
		}
		return []string{"[" + strings.Join(others[id], ", ") + "]"}
	}
	for _, n := range g.Nodes {
		if !limited[n.ID] {
			s.out.printf("%s\n", clean(nodeWords(n)))
			t.seen[n.ID] = true
			t.print(n.ID, "")
		}
	}
	if len(others) > 0 {
		s.note("+ includes, − excludes, ? asks in a query for")
	}
}

// aroundTrees shows what one collection is made from, and what is made from it.
func (s *session) aroundTrees(g *console.CollectionGraph) {
	t := s.newOutline(g)
	s.out.printf("%s\n", clean(nodeWords(t.nodes[g.Collection])))
	words := map[string]string{"limit": "limited by ", "include": "includes ", "exclude": "excludes ", "query": "asks in a query for "}
	up, down := map[string][]branch{}, map[string][]branch{}
	for _, e := range g.Edges {
		from, to := t.nodes[e.From], t.nodes[e.To]
		if to.Above > 0 {
			up[e.From] = append(up[e.From], branch{words[e.How], e.To})
		}
		if from.Below > 0 {
			down[e.To] = append(down[e.To], branch{map[string]string{"limit": "limits ", "include": "included by ", "exclude": "excluded by ",
				"query": "asked for by "}[e.How], e.From})
		}
	}
	for _, part := range []struct {
		title string
		below map[string][]branch
	}{{"is made from", up}, {"is needed by", down}} {
		if len(part.below[g.Collection]) == 0 {
			continue
		}
		s.out.printf("%s\n", part.title)
		t.below = func(id string) []branch { return part.below[id] }
		t.seen = map[string]bool{}
		t.print(g.Collection, "")
	}
}
