package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A DefinitionError says which collection cannot be taken, and why.
type DefinitionError struct {
	Collection string
	Err        error
}

// Error implements error.
func (e *DefinitionError) Error() string {
	return fmt.Sprintf("define collection %s: %v", e.Collection, e.Err)
}

// Unwrap returns the reason.
func (e *DefinitionError) Unwrap() error { return e.Err }

// A CycleError says that collections depend on each other in a circle.
type CycleError struct {
	// Path is the ids on the circle, each depending on the next one; the last is the
	// first again.
	Path []string
}

// Error implements error. It prints the circle.
func (e *CycleError) Error() string {
	return "define collections: " + strings.Join(e.Path, " depends on ") + ": that is a circle"
}

// upper is the form in which ids are compared.
func upper(id string) string { return strings.ToUpper(id) }

// inputsOf returns the ids that a definition names, in upper case, each once.
func inputsOf(c *Collection) (ids []string) {
	add := func(id string) {
		if id = upper(id); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if c.Limit == "" {
		add(Root)
	} else {
		add(c.Limit)
	}
	for _, id := range c.Include {
		add(id)
	}
	for _, id := range c.Exclude {
		add(id)
	}
	for _, q := range c.Queries {
		eachQuery(q, func(q *wql.Query) {
			for i := range q.Sources {
				if s := &q.Sources[i]; s.Class == nil {
					add(s.Collection)
				}
			}
		})
	}
	return ids
}

// A graph is definitions by id in upper case, with what each names.
type graph struct {
	defs   map[string]*Collection
	inputs map[string][]string
}

// newGraph checks ids and references.
func newGraph(all []Collection) (*graph, error) {
	g := &graph{defs: make(map[string]*Collection, len(all)), inputs: make(map[string][]string, len(all))}
	for i := range all {
		c := &all[i]
		id := upper(c.ID)
		switch {
		case id == "":
			return nil, &DefinitionError{c.ID, errors.New("it has no id")}
		case id == Root:
			return nil, &DefinitionError{c.ID, errors.New("the root has no definition")}
		case g.defs[id] != nil:
			return nil, &DefinitionError{c.ID, errors.New("it is defined twice")}
		}
		g.defs[id] = c
	}
	for id, c := range g.defs {
		g.inputs[id] = inputsOf(c)
	}
	for i := range all { // in their order: the first error is always the same
		for _, in := range g.inputs[upper(all[i].ID)] {
			if in != Root && g.defs[in] == nil {
				return nil, &DefinitionError{all[i].ID, fmt.Errorf("it names collection %s, which is not defined", in)}
			}
		}
	}
	return g, nil
}

// order returns the ids so that each is behind all that it names: by depth, then by
// whether rules ask sets of values (those are late), then by id.
func (g *graph) order() ([]string, error) {
	waits := make(map[string]int, len(g.defs))
	feeds := map[string][]string{}
	var ready []string
	for id, ins := range g.inputs {
		for _, in := range ins {
			if in != Root {
				waits[id]++
				feeds[in] = append(feeds[in], id)
			}
		}
		if waits[id] == 0 {
			ready = append(ready, id)
		}
	}
	slices.Sort(ready)
	out := make([]string, 0, len(g.defs))
	var late []string
	for len(ready)+len(late) > 0 {
		if len(ready) == 0 {
			id := late[0]
			late = late[1:]
			out = append(out, id)
			ready = g.freed(nil, id, feeds, waits)
			continue
		}
		var next []string
		for _, id := range ready {
			if asksSets(g.defs[id]) {
				late = append(late, id)
				continue
			}
			out = append(out, id)
			next = g.freed(next, id, feeds, waits)
		}
		slices.Sort(next)
		ready = next
	}
	if len(out) < len(g.defs) {
		return nil, &CycleError{g.circle(waits)}
	}
	return out, nil
}

// ordered tells that the order of an earlier graph, of which only edited ones are
// defined otherwise, is the order of this one: the same collections name the same.
func (g *graph) ordered(was *graph, edited map[string]bool) bool {
	if len(g.defs) != len(was.defs) {
		return false
	}
	for id := range edited {
		before := was.defs[id]
		if before == nil || !slices.Equal(g.inputs[id], was.inputs[id]) || asksSets(g.defs[id]) != asksSets(before) {
			return false
		}
	}
	return true
}

// freed appends those that waited for id last.
func (g *graph) freed(to []string, id string, feeds map[string][]string, waits map[string]int) []string {
	for _, f := range feeds[id] {
		if waits[f]--; waits[f] == 0 {
			to = append(to, f)
		}
	}
	return to
}

// asksSets tells whether a rule of a collection asks for values that an inner query
// selects.
func asksSets(c *Collection) (does bool) {
	for _, q := range c.Queries {
		eachQuery(q, func(q *wql.Query) {
			eachTest(q, func(e wql.Expr) {
				if e, ok := e.(*wql.InQuery); ok && !ofDevice(e.Operand) {
					does = true
				}
			})
		})
	}
	return does
}

// circle finds one among the collections that still wait.
func (g *graph) circle(waits map[string]int) []string {
	var id string
	for i, n := range waits {
		if n > 0 && (id == "" || i < id) {
			id = i
		}
	}
	at := map[string]int{}
	var path []string
	for {
		if i, been := at[id]; been {
			path = append(path[i:], id)
			break
		}
		at[id] = len(path)
		path = append(path, id)
		next := ""
		for _, in := range g.inputs[id] {
			if waits[in] > 0 {
				next = in
				break
			}
		}
		id = next
	}
	for i, id := range path {
		path[i] = g.defs[id].ID
	}
	return path
}
