package advice

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// members looks at who is in collections, and at rules that make no difference.
func (a *adviser) members() {
	for _, id := range a.order {
		c := a.byID[id]
		a.outsideLimit(c)
		a.emptyLimit(c)
		a.addsNobody(c)
		a.removesNobody(c)
	}
}

// membersOf returns who is in a collection; ok is false if nobody knows.
func (a *adviser) membersOf(id string) (m *roaring.Bitmap, ok bool) {
	if id == event.RootCollection {
		return a.Devices, a.Devices != nil
	}
	c := a.byID[id]
	if c == nil || !c.Evaluated {
		return nil, false
	}
	return orNone(c.Members), true
}

// none is nobody.
var none = roaring.New()

func orNone(m *roaring.Bitmap) *roaring.Bitmap {
	if m == nil {
		return none
	}
	return m
}

func (a *adviser) outsideLimit(c *Collection) {
	limit, ok := a.membersOf(limitOf(c))
	if !ok {
		return
	}
	out := roaring.AndNot(orNone(c.DirectMembers), limit)
	if out.IsEmpty() {
		return
	}
	var names []string
	for it := out.Iterator(); it.HasNext() && len(names) < most; {
		names = append(names, a.device(it.Next()))
	}
	listed := strings.Join(names, ", ")
	if more := out.GetCardinality() - uint64(len(names)); more > 0 {
		listed += " and " + counted(more, "other")
	}
	said := a.say(outsideLimit, []string{c.ID, limitOf(c)}, "%s outside its limiting collection %s: %s.",
		areOf(out.GetCardinality()), a.named(limitOf(c)), listed)
	if int(out.GetCardinality()) == len(names) {
		words := []string{"collections", "remove-rule", c.ID}
		for _, n := range names {
			words = append(words, "--device", n)
		}
		said.Commands = []string{command(words...)}
	}
}

func areOf(n uint64) string {
	if n == 1 {
		return "1 of its direct members is"
	}
	return fmt.Sprintf("%d of its direct members are", n)
}

func (a *adviser) device(number uint32) string {
	if a.Name == nil {
		return decimal(number)
	}
	return a.Name(number)
}

// emptyLimit speaks of a collection without members that limits others.
func (a *adviser) emptyLimit(c *Collection) {
	m, ok := a.membersOf(c.ID)
	if !ok || !m.IsEmpty() || len(a.limited[c.ID]) == 0 {
		return
	}
	var names []string
	for _, id := range a.limited[c.ID] {
		names = append(names, a.named(id))
	}
	said := a.say(emptyLimit, []string{c.ID}, "It has no members, and it limits %s: %s.", counted(len(names), "collection"), several(names))
	said.Commands = []string{command("collections", "show", c.ID)}
}

// selected returns whom direct members and queries make members, but for the limit;
// whole is false if it is not known of all queries.
func (c *Collection) selected() (all *roaring.Bitmap, whole bool) {
	all, whole = orNone(c.DirectMembers).Clone(), true
	for i := range c.Rules {
		if s := c.Rules[i].Selected; s != nil {
			all.Or(s)
		} else {
			whole = false
		}
	}
	return all, whole
}

// addsNobody speaks of includes without which the members were the same.
func (a *adviser) addsNobody(c *Collection) {
	limit, ok := a.membersOf(limitOf(c))
	if !ok || len(c.Include) == 0 {
		return
	}
	own, _ := c.selected()
	useless := map[string]bool{}
	for i, id := range c.Include {
		added, ok := a.membersOf(id)
		if !ok || slices.Contains(c.Include[:i], id) {
			continue
		}
		left := roaring.And(added, limit)
		inLimit := !left.IsEmpty()
		left.AndNot(own)
		for _, other := range c.Include {
			if m, ok := a.membersOf(other); ok && other != id && !useless[other] {
				left.AndNot(m)
			}
		}
		if !left.IsEmpty() {
			continue
		}
		useless[id] = true
		why := "all of its members are members anyway"
		switch {
		case added.IsEmpty():
			why = "it has no members"
		case !inLimit:
			why = "none of its members is in the limiting collection"
		}
		said := a.say(addsNobody, []string{c.ID, id}, "Including %s adds nobody: %s.", a.named(id), why)
		said.Commands = []string{command("collections", "remove-rule", c.ID, "--include", a.ref(id).Name)}
	}
}

// removesNobody speaks of excludes without which the members were the same.
func (a *adviser) removesNobody(c *Collection) {
	limit, ok := a.membersOf(limitOf(c))
	if !ok || len(c.Exclude) == 0 {
		return
	}
	candidates := a.candidates(c, limit)
	useless := map[string]bool{}
	for i, id := range c.Exclude {
		removed, ok := a.membersOf(id)
		if !ok || slices.Contains(c.Exclude[:i], id) {
			continue
		}
		left := roaring.And(removed, candidates)
		hit := !left.IsEmpty()
		for _, other := range c.Exclude {
			if m, ok := a.membersOf(other); ok && other != id && !useless[other] {
				left.AndNot(m)
			}
		}
		if !left.IsEmpty() {
			continue
		}
		useless[id] = true
		why := "none of its members would be in the collection otherwise"
		switch {
		case removed.IsEmpty():
			why = "it has no members"
		case hit:
			why = "other excludes remove all of its members"
		}
		said := a.say(removesNobody, []string{c.ID, id}, "Excluding %s removes nobody: %s.", a.named(id), why)
		said.Commands = []string{command("collections", "remove-rule", c.ID, "--exclude", a.ref(id).Name)}
	}
}

// candidates returns who would be a member without excludes, or more if it is not
// known whom a rule selects.
func (a *adviser) candidates(c *Collection, limit *roaring.Bitmap) *roaring.Bitmap {
	all, whole := c.selected()
	for _, id := range c.Include {
		m, ok := a.membersOf(id)
		if !ok {
			whole = false
			continue
		}
		all.Or(m)
	}
	if !whole {
		return limit
	}
	all.And(limit)
	return all
}

// duplicates looks for rules that are there twice, and for collections that are.
func (a *adviser) duplicates() {
	same := map[string][]string{}
	var keys []string
	for _, id := range a.order {
		c := a.byID[id]
		a.sameRules(c)
		if key := c.essence(); key != "" {
			if same[key] == nil {
				keys = append(keys, key)
			}
			same[key] = append(same[key], id)
		}
	}
	for _, key := range keys {
		ids := same[key]
		if len(ids) < 2 {
			continue
		}
		var names []string
		for _, id := range ids {
			names = append(names, a.named(id))
		}
		a.say(sameAs, ids, "%s have the same limiting collection and the same rules: %s.", counted(len(ids), "collection"), several(names))
	}
}

// sameRules speaks of queries that say the same, whatever their case, their lists
// and their spaces.
func (a *adviser) sameRules(c *Collection) {
	first := map[string]int{}
	for i := range c.Rules {
		q := c.Rules[i].Parsed
		if q == nil {
			continue
		}
		text := meaning(q)
		j, ok := first[text]
		if !ok {
			first[text] = i
			continue
		}
		said := a.say(sameRule, []string{c.ID}, "%s asks the same as query %d.", c.ruleName(i), j+1)
		said.Rule = c.rule(i, 0)
		said.Commands = []string{command("collections", "remove-rule", c.ID, "--query", decimal(i+1))}
	}
}

// meaning is a text that two queries share if they select the same devices for the
// eye: without their lists, and folded, as texts are compared.
func meaning(q *wql.Query) string {
	bare := *q
	bare.Columns, bare.Distinct = nil, false
	return wql.Fold(bare.String())
}

// essence is a text that two collections share if they have the same limit and the
// same rules; empty if it has none, or one that cannot be evaluated.
func (c *Collection) essence() string {
	direct := orNone(c.DirectMembers)
	if len(c.Rules)+len(c.Include) == 0 && direct.IsEmpty() {
		return ""
	}
	var queries []string
	for i := range c.Rules {
		q := c.Rules[i].Parsed
		if q == nil {
			return ""
		}
		queries = append(queries, meaning(q))
	}
	var b []byte
	part := func(texts ...string) {
		texts = slices.Compact(slices.Sorted(slices.Values(texts)))
		b = binary.AppendUvarint(b, uint64(len(texts)))
		for _, t := range texts {
			b = binary.AppendUvarint(b, uint64(len(t)))
			b = append(b, t...)
		}
	}
	part(limitOf(c))
	part(queries...)
	part(c.Include...)
	part(c.Exclude...)
	for it := direct.Iterator(); it.HasNext(); {
		b = binary.AppendUvarint(b, uint64(it.Next()))
	}
	return string(b)
}
