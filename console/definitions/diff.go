package definitions

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
)

// MaxListed is how many items of a list a [Difference] names.
const MaxListed = 100

// A Difference is what changes of one field.
type Difference struct {
	Field   string   `json:"field" doc:"name, comment, limit, direct, query NAME, include, exclude, schedule, incremental, properties or window"`
	Before  string   `json:"before,omitempty" doc:"of a single value"`
	After   string   `json:"after,omitempty"`
	Added   []string `json:"added,omitempty" doc:"of a list, the first 100"`
	Removed []string `json:"removed,omitempty"`
	More    uint64   `json:"more,omitempty" doc:"how many items of the list are added and removed beside those"`
}

// named are the fields whose values are names or texts, which sentences quote.
var named = []string{"name", "comment", "limit", "include", "exclude"}

// String says it in a line.
func (d *Difference) String() string {
	word := func(s string) string { return s }
	if slices.Contains(named, d.Field) {
		word = quoted
	}
	if len(d.Added)+len(d.Removed) == 0 {
		switch {
		case d.Before == "":
			return d.Field + ": " + word(d.After)
		case d.After == "":
			return d.Field + ": was " + word(d.Before)
		}
		return d.Field + ": " + word(d.Before) + " -> " + word(d.After)
	}
	var parts []string
	for _, item := range d.Added {
		parts = append(parts, "+"+word(item))
	}
	for _, item := range d.Removed {
		parts = append(parts, "-"+word(item))
	}
	if d.More > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", d.More))
	}
	return d.Field + ": " + strings.Join(parts, ", ")
}

// diff tells two definitions of a collection apart; before is nil for a new one.
func (p *planner) diff(before, after *event.Collection) (all []Difference) {
	if before == nil {
		before = &event.Collection{}
	}
	single := func(field, was, is string) {
		if was != is {
			all = append(all, Difference{Field: field, Before: was, After: is})
		}
	}
	list := func(field string, was, is []string, old, now *State) {
		d := Difference{Field: field}
		d.add(&d.Added, is, was, now.nameOf)
		d.add(&d.Removed, was, is, old.nameOf)
		if len(d.Added)+len(d.Removed) > 0 {
			all = append(all, d)
		}
	}
	if before.ID != "" {
		single("name", before.Name, after.Name)
	}
	single("comment", before.Comment, after.Comment)
	single("limit", limitOf(p.was, before), limitOf(p.is, after))
	all = p.diffDirect(all, Direct(before), Direct(after))
	all = diffQueries(all, before.Queries, after.Queries)
	list("include", before.Include, after.Include, p.was, p.is)
	list("exclude", before.Exclude, after.Exclude, p.was, p.is)
	single("schedule", before.Schedule, after.Schedule)
	switch {
	case before.Incremental == after.Incremental:
	case before.ID == "":
		single("incremental", "", "true")
	default:
		single("incremental", strconv.FormatBool(before.Incremental), strconv.FormatBool(after.Incremental))
	}
	return all
}

func limitOf(s *State, c *event.Collection) string {
	if c.Limit == "" {
		return ""
	}
	return s.nameOf(c.Limit)
}

// add adds what is in one list and not in the other.
func (d *Difference) add(to *[]string, in, not []string, name func(string) string) {
	for _, id := range in {
		if slices.Contains(not, id) {
			continue
		}
		if len(*to) == MaxListed {
			d.More++
			continue
		}
		*to = append(*to, name(id))
	}
}

func (p *planner) diffDirect(all []Difference, before, after *roaring.Bitmap) []Difference {
	d := Difference{Field: "direct"}
	list := func(to *[]string, set *roaring.Bitmap) {
		for n := range roaring.Values(set) {
			if len(*to) == MaxListed {
				d.More += set.GetCardinality() - MaxListed
				return
			}
			*to = append(*to, p.device(n))
		}
	}
	list(&d.Added, roaring.AndNot(after, before))
	list(&d.Removed, roaring.AndNot(before, after))
	if len(d.Added)+len(d.Removed) > 0 {
		all = append(all, d)
	}
	return all
}

func (p *planner) device(number uint32) string {
	if p.r.Device == nil {
		return strconv.FormatUint(uint64(number), 10)
	}
	return p.r.Device(number)
}

// diffQueries tells queries apart by their names; those without one by their texts.
func diffQueries(all []Difference, before, after []event.CollectionQuery) []Difference {
	find := func(in []event.CollectionQuery, q event.CollectionQuery) (string, bool) {
		i := slices.IndexFunc(in, func(o event.CollectionQuery) bool {
			return o.Name == q.Name && (q.Name != "" || o.WQL == q.WQL)
		})
		if i < 0 {
			return "", false
		}
		return in[i].WQL, true
	}
	field := func(q event.CollectionQuery) string {
		if q.Name == "" {
			return "query"
		}
		return "query " + quoted(q.Name)
	}
	n := len(all)
	for _, q := range before {
		if is, ok := find(after, q); !ok || is != q.WQL {
			all = append(all, Difference{Field: field(q), Before: q.WQL, After: is})
		}
	}
	for _, q := range after {
		if _, ok := find(before, q); !ok {
			all = append(all, Difference{Field: field(q), After: q.WQL})
		}
	}
	if n == len(all) && !slices.Equal(before, after) {
		all = append(all, Difference{Field: "queries", After: "in another order"})
	}
	return all
}
