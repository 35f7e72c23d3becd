package definitions

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A Relation says how a collection depends on another one.
type Relation string

// The relations, in words that stand between two names.
const (
	LimitedBy Relation = "is limited by"
	Includes  Relation = "includes"
	Excludes  Relation = "excludes"
	Queries   Relation = "asks in a query for"
)

// An Input is a collection that another one depends on, and how.
type Input struct {
	ID       string
	Relation Relation
}

// queries is what the queries of a definition name. They are looked at when it is
// needed, and again with a later schema if they could not be read with an earlier.
type queries struct {
	mu   sync.Mutex
	with *schema.Schema
	uses []string
	err  error
}

// read returns the ids of the collections that the queries name, sorted; the error
// is that of the first query that cannot be read.
func (c *Definition) read(s *schema.Schema) ([]string, error) {
	q := c.queries
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.with == s || q.with != nil && q.err == nil {
		return q.uses, q.err
	}
	q.with, q.uses, q.err = s, nil, nil
	for _, rule := range c.Queries {
		parsed, err := wql.Parse(rule.WQL, s)
		if err != nil {
			q.err = errors.Join(q.err, err)
			continue
		}
		q.uses = append(q.uses, parsed.Uses...)
	}
	slices.Sort(q.uses)
	q.uses = slices.Compact(q.uses)
	return q.uses, q.err
}

// Inputs returns what a collection depends on directly: the limiting one first,
// then the included, the excluded, and those that its queries name. A query that
// cannot be read names nothing.
func (s *State) Inputs(id string) []Input {
	c, ok := s.Get(id)
	if !ok || id == root.ID {
		return nil
	}
	inputs := []Input{{c.Limit, LimitedBy}}
	for _, id := range c.Include {
		inputs = append(inputs, Input{id, Includes})
	}
	for _, id := range c.Exclude {
		inputs = append(inputs, Input{id, Excludes})
	}
	uses, _ := c.read(s.schema)
	for _, id := range uses {
		inputs = append(inputs, Input{id, Queries})
	}
	return inputs
}

// Dependants returns the collections that depend on one directly, by name, and how
// the first of several relations is.
func (s *State) Dependants(id string) (found []Input) {
	for _, c := range s.All() {
		for _, in := range s.Inputs(c.ID) {
			if in.ID == id {
				found = append(found, Input{c.ID, in.Relation})
				break
			}
		}
	}
	return found
}

// order sorts collections so that each stands behind all that it depends on. The
// graph has no cycle.
func (s *State) order(ids []string) []string {
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	var ordered []string
	walk(slices.Sorted(slices.Values(ids)), func(id string) []Input { return s.Inputs(id) }, func(id string) {
		if wanted[id] {
			ordered = append(ordered, id)
		}
	})
	return ordered
}

// cycle returns a cycle that can be reached from one of the ids, as the collections
// along it, the first one again at the end; nil if there is none.
func (s *State) cycle(ids []string) []Input {
	return walk(slices.Sorted(slices.Values(ids)), func(id string) []Input { return s.Inputs(id) }, nil)
}

// walk visits what can be reached from the starts, depth first and without
// recursion, and calls leave for each behind all that it depends on. It ends with
// the first cycle that it meets: each step names a collection and how the one
// before depends on it.
func walk(starts []string, inputs func(string) []Input, leave func(string)) []Input {
	type frame struct {
		at   Input
		left []Input
	}
	const under, done = 1, 2
	state := map[string]int{}
	for _, start := range starts {
		if state[start] != 0 {
			continue
		}
		state[start] = under
		path := []frame{{Input{ID: start}, inputs(start)}}
		for len(path) > 0 {
			top := &path[len(path)-1]
			if len(top.left) == 0 {
				state[top.at.ID] = done
				if leave != nil {
					leave(top.at.ID)
				}
				path = path[:len(path)-1]
				continue
			}
			next := top.left[0]
			top.left = top.left[1:]
			switch state[next.ID] {
			case under:
				i := slices.IndexFunc(path, func(f frame) bool { return f.at.ID == next.ID })
				found := []Input{{ID: next.ID}}
				for _, f := range path[i+1:] {
					found = append(found, f.at)
				}
				return append(found, next)
			case done:
			default:
				state[next.ID] = under
				path = append(path, frame{next, inputs(next.ID)})
			}
		}
	}
	return nil
}

// inWords prints a cycle: "A" includes "B", which is limited by "A".
func (s *State) inWords(cycle []Input) string {
	var b strings.Builder
	for i, step := range cycle {
		switch {
		case i == 1:
			b.WriteString(" " + string(step.Relation) + " ")
		case i > 1:
			b.WriteString(", which " + string(step.Relation) + " ")
		}
		b.WriteString(quoted(s.nameOf(step.ID)))
	}
	return b.String()
}
