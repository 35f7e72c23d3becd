package advice

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// MaxDepth is how many steps from the root are no matter for advice.
const MaxDepth = 8

// references looks at what collections name: what is missing, what cannot be
// evaluated, and how deep it goes.
func (a *adviser) references() {
	a.sayCycle()
	for _, id := range a.order {
		c := a.byID[id]
		before := len(a.found)
		a.missing(c)
		for i := range c.Rules {
			if err := c.Rules[i].Err; err != nil {
				a.cannotParse(c, i, err)
			}
		}
		if c.Broken != nil && len(a.found) == before && !slices.ContainsFunc(a.cycle, func(in input) bool { return in.id == id }) {
			a.say(cannot, []string{id}, "It cannot be evaluated: %s%s", ended(c.Broken.Error()), a.alsoStale(id))
		}
		a.tooDeep(c)
	}
}

func (a *adviser) sayCycle() {
	if a.cycle == nil {
		return
	}
	var b strings.Builder
	var about []string
	for i, s := range a.cycle {
		switch {
		case i == 1:
			b.WriteString(" " + string(s.how) + " ")
		case i > 1:
			b.WriteString(", which " + string(s.how) + " ")
		}
		b.WriteString(a.named(s.id))
		if i < len(a.cycle)-1 {
			about = append(about, s.id)
		}
	}
	said := a.say(cannot, about, "It depends on itself and cannot be evaluated: %s.", b.String())
	said.Remedy = "Take one of these relations away."
}

func (a *adviser) missing(c *Collection) {
	for _, in := range a.inputs[c.ID] {
		if a.there(in.id) {
			continue
		}
		said := a.say(missing, []string{c.ID}, "It %s %s, which is not there.%s", in.how, in.id, a.alsoStale(c.ID))
		switch in.how {
		case limitedBy:
			said.Commands = []string{command("collections", "set", c.ID, "--limit", rootName)}
		case includes:
			said.Commands = []string{command("collections", "remove-rule", c.ID, "--include", in.id)}
		case excludes:
			said.Commands = []string{command("collections", "remove-rule", c.ID, "--exclude", in.id)}
		case asksFor:
			said.Rule = naming(c, in.id)
		}
	}
}

// alsoStale says how many collections depend on one that cannot be evaluated.
func (a *adviser) alsoStale(id string) string {
	if n := len(a.below(id, a.dependants)); n > 0 {
		return fmt.Sprintf(" %s on it.", dependOn(n))
	}
	return ""
}

func dependOn(n int) string {
	if n == 1 {
		return "1 collection depends"
	}
	return fmt.Sprintf("%d collections depend", n)
}

// naming finds the query that names a collection.
func naming(c *Collection, id string) *Rule {
	for i := range c.Rules {
		q := c.Rules[i].Parsed
		if q == nil || !slices.Contains(q.Uses, id) {
			continue
		}
		for sub := range subQueries(q) {
			for _, s := range sub.Sources {
				if s.Collection == id {
					return c.rule(i, s.Pos)
				}
			}
		}
		return c.rule(i, 0)
	}
	return nil
}

func (a *adviser) cannotParse(c *Collection, i int, err error) {
	said := a.say(cannot, []string{c.ID}, "%s cannot be evaluated: %s%s", c.ruleName(i), ended(err.Error()), a.alsoStale(c.ID))
	said.Rule = c.rule(i, 0)
	if e, ok := err.(*wql.Error); ok {
		said.Rule = c.rule(i, e.Pos)
	}
	said.Remedy = "Correct the query."
}

// tooDeep speaks of the last one of a deep chain.
func (a *adviser) tooDeep(c *Collection) {
	d := a.depth[c.ID]
	if d <= MaxDepth {
		return
	}
	for _, below := range a.dependants[c.ID] {
		if a.depth[below] > d {
			return
		}
	}
	var chain []string
	for id := a.above[c.ID].id; id != event.RootCollection && len(chain) < d; id = a.above[id].id {
		chain = append(chain, a.named(id))
	}
	slices.Reverse(chain)
	said := a.say(tooDeep, []string{c.ID}, "It is %d steps below %s, through %s.", d, rootName, strings.Join(chain, ", "))
	said.Commands = []string{command("collections", "graph", c.ID)}
}

// rule names a place in a query rule of the collection.
func (c *Collection) rule(i int, pos wql.Pos) *Rule {
	r := &Rule{Number: i + 1, Line: 1, Column: 1}
	if i < len(c.Queries) {
		r.Name = c.Queries[i].Name
		r.Line, r.Column = place(c.Queries[i].WQL, pos)
	}
	return r
}

// ruleName is how texts begin that are about a query.
func (c *Collection) ruleName(i int) string {
	if i < len(c.Queries) && c.Queries[i].Name != "" {
		return fmt.Sprintf("Query %d (%q)", i+1, c.Queries[i].Name)
	}
	return fmt.Sprintf("Query %d", i+1)
}

// place is the line of a place in a text, and the character in the line, from 1.
func place(text string, pos wql.Pos) (line, column int) {
	before := text[:min(max(0, int(pos)), len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return 1 + strings.Count(before, "\n"), 1 + len([]rune(before[start:]))
}
