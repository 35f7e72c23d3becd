package enginetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// whatIf changes or deletes a collection in a question, and in a copy of what the oracle
// knows.
func (h *history) whatIf(t *rapid.T) {
	if h.dirty == nil || !h.dirty.IsEmpty() || !h.clean.Equal(h.now) {
		t.Skip("members are not those of now")
	}
	k := rapid.IntRange(0, len(h.all)-1).Draw(t, "which")
	id := h.all[k].ID
	other := engine.Collection{ID: id}
	var defs []engine.Collection
	var deleted []string
	if rapid.IntRange(0, 3).Draw(t, "deleted") == 3 {
		deleted = []string{id}
	} else {
		other = collection(t, h.s, numbers, id, h.ids()[1:k+1], h.across)
		defs = []engine.Collection{other}
		defs[0].Queries = h.printed(t, other.Queries)
	}
	changes, err := h.e.WhatIf(defs, deleted, h.now)
	if err != nil {
		t.Fatalf("what if: %v", err)
	}
	f, all := h.f.Clone(), slices.Clone(h.all)
	all[k] = other
	f.Evaluate(all, engine.Request{Now: h.now})
	want := touched(all, id)
	for _, c := range changes {
		if !want[c.ID] {
			t.Fatalf("what if %s changed: collection %s does not depend on it", id, c.ID)
		}
		delete(want, c.ID)
		checkChange(t, c, h.f.Members[c.ID], f.Members[c.ID])
	}
	if len(want) > 0 {
		t.Fatalf("what if %s changed: %v are not among the changes", id, want)
	}
	h.check(t, "after a question")
}

// touched are a collection and those that depend on it.
func touched(ordered []engine.Collection, id string) map[string]bool {
	all := map[string]bool{id: true}
	for i := range ordered {
		if slices.ContainsFunc(inputs(&ordered[i]), func(in string) bool { return all[in] }) {
			all[ordered[i].ID] = true
		}
	}
	return all
}

// explain asks why a device is a member, or why it is not.
func (h *history) explain(t *rapid.T) {
	c := &h.all[rapid.IntRange(0, len(h.all)-1).Draw(t, "which")]
	device := h.device(t)
	x, err := h.e.Explain(c.ID, device, h.now)
	if err != nil {
		t.Fatalf("explain: %v", err)
	}
	if want := h.f.Holds(c, device, h.now); x.Member != want || x.Was != h.f.Members[c.ID][device] || x.Known != (h.f.Records[device] != nil) || x.Why == "" {
		t.Fatalf("collection %s, device %d: member %v, was %v, known %v: %q; want %v, %v, %v\n%s", c.ID, device, x.Member, x.Was, x.Known, x.Why,
			want, h.f.Members[c.ID][device], h.f.Records[device] != nil, h)
	}
	for i, q := range c.Queries {
		if want := h.f.Selects(q, device, h.now); (x.Rules[i].Truth == engine.True) != want {
			t.Fatalf("collection %s, device %d: query %d is %s, want %v\n%s", c.ID, device, i, x.Rules[i].Truth, want, h)
		}
	}
}

// String tells all that is needed to see what went wrong.
func (h *history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "now %s\n", h.now)
	for i := range h.all {
		c := &h.all[i]
		fmt.Fprintf(&b, "%s limit %q direct %v include %v exclude %v\n", c.ID, c.Limit, c.Direct, c.Include, c.Exclude)
		for _, q := range c.Queries {
			fmt.Fprintf(&b, "  %s\n", q)
		}
	}
	for _, device := range slices.Sorted(maps.Keys(h.f.Records)) {
		fmt.Fprintf(&b, "device %d\n", device)
		for _, rows := range h.f.Records[device].Classes {
			for _, row := range rows.Rows {
				fmt.Fprintf(&b, "  %s\n", h.row(h.s.Classes()[rows.Class], row))
			}
		}
	}
	return b.String()
}

func (h *history) row(c *schema.Class, row schema.Row) string {
	s := c.Name
	for i, v := range row {
		if v.Set {
			s += fmt.Sprintf(" %s=%q", c.Properties[i].Name, schema.FormatValue(&c.Properties[i], v))
		}
	}
	return s
}
