package enginetest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// numbers are the devices that random inventories have: in several chunks, and at
// their edges.
var numbers = []uint32{0, 1, 2, 3, 4, 5, 62, 63, 64, 65, 127, 128, 1000, 65_534, 65_535, 65_536, 65_600, 131_072, 200_000}

// Run takes engines through random histories: devices come, change and go, collections
// are defined anew, the clock goes on, and all, some or none of the collections are
// evaluated for all or some devices. After each evaluation every member and every
// change is that of the oracle.
func Run(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		t.Repeat(map[string]func(*rapid.T){
			"put":         h.put,
			"putMore":     h.put,
			"remove":      h.remove,
			"define":      h.define,
			"wait":        h.wait,
			"full":        h.full,
			"incremental": h.incremental,
			"partial":     h.partial,
			"restart":     h.restart,
			"query":       h.query,
			"turn":        h.turn,
			"whatIf":      h.whatIf,
			"explain":     h.explain,
		})
	})
}

// A history is an engine, and what the oracle knows of it.
type history struct {
	s     *schema.Schema
	e     *engine.Engine
	f     *Fleet
	all   []engine.Collection // each behind all that it depends on
	now   time.Time
	clean time.Time       // when all collections were last evaluated for all that mattered
	dirty *roaring.Bitmap // devices that changed since; nil: all are to be looked at

	// across: rules ask about the values of all devices. Then an evaluation looks at more
	// devices than it is asked to, so those for some devices are of all collections.
	across bool
}

func newHistory(t *rapid.T) *history {
	s := Schema()
	h := &history{s: s, e: engine.New(s), f: NewFleet(s), now: Epoch}
	h.across = rapid.IntRange(0, 4).Draw(t, "across") == 4
	for _, device := range numbers[:rapid.IntRange(0, 8).Draw(t, "devices")] {
		h.record(t, device)
	}
	h.define(t)
	return h
}

func (h *history) device(t *rapid.T) uint32 { return rapid.SampledFrom(numbers).Draw(t, "device") }

func (h *history) record(t *rapid.T, device uint32) {
	r := record(t, h.s, device)
	if err := h.e.Put(r); err != nil {
		t.Fatalf("put: %v", err)
	}
	h.f.Records[device] = r
	h.touch(device)
}

func (h *history) touch(device uint32) {
	if h.dirty != nil {
		h.dirty.Add(device)
	}
}

func (h *history) put(t *rapid.T) {
	for range rapid.IntRange(1, 3).Draw(t, "how many") {
		h.record(t, h.device(t))
	}
}

func (h *history) remove(t *rapid.T) {
	device := h.device(t)
	h.e.Remove(device)
	delete(h.f.Records, device)
	h.touch(device)
}

// define replaces the graph. Ids come again, so members of some stay.
func (h *history) define(t *rapid.T) {
	h.all = graph(t, h.s, numbers, 6, h.across)
	given := make([]engine.Collection, len(h.all))
	for i, j := range rapid.Permutation(places(len(h.all))).Draw(t, "order") {
		given[i] = h.all[j]
		given[i].Queries = h.printed(t, given[i].Queries)
	}
	if err := h.e.Define(given); err != nil {
		t.Fatalf("define: %v", err)
	}
	members := map[string]map[uint32]bool{engine.Root: h.f.Members[engine.Root]}
	for i := range h.all {
		members[h.all[i].ID] = h.f.Members[h.all[i].ID]
	}
	h.f.Members = members
	h.dirty = nil
	h.check(t, "after a definition")
}

func places(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// printed are the same queries once more, printed and read again, so that language and
// engine are tested together.
func (h *history) printed(t *rapid.T, queries []*wql.Query) (again []*wql.Query) {
	for _, q := range queries {
		p, err := wql.Parse(q.String(), h.s)
		if err != nil {
			t.Fatalf("query %s: %v", q, err)
		}
		if p.Clock != q.Clock || !slices.Equal(p.Uses, q.Uses) {
			t.Fatalf("query %s is read as %s, with clock %v, of %v", q, p, p.Clock, p.Uses)
		}
		again = append(again, p)
	}
	return again
}

func (h *history) wait(t *rapid.T) { h.now = later(t, h.now) }

func (h *history) full(t *rapid.T) {
	h.compare(t, engine.Request{Now: h.now}, engine.Request{Now: h.now})
	h.clean, h.dirty = h.now, roaring.New()
}

// incremental looks at what changed, and must come to what a full evaluation comes to.
func (h *history) incremental(t *rapid.T) {
	if h.dirty == nil {
		t.Skip("all is to be evaluated")
	}
	devices := roaring.Or(h.dirty, h.e.Turning(h.clean, h.now))
	h.compare(t, engine.Request{Now: h.now, Devices: devices}, engine.Request{Now: h.now})
	h.clean, h.dirty = h.now, roaring.New()
}

func (h *history) ids() []string {
	ids := []string{engine.Root}
	for i := range h.all {
		ids = append(ids, h.all[i].ID)
	}
	return ids
}

// partial evaluates some collections for some devices. It leaves what is dirty as it
// is.
func (h *history) partial(t *rapid.T) {
	if h.across {
		t.Skip("it would look at more than it is asked to")
	}
	r := engine.Request{Now: h.now}
	r.Collections = rapid.SliceOfNDistinct(rapid.SampledFrom(h.ids()), 0, 4, rapid.ID).Draw(t, "collections")
	if r.Collections == nil {
		r.Collections = []string{}
	}
	if rapid.Bool().Draw(t, "some devices") {
		r.Devices = roaring.BitmapOf(rapid.SliceOfN(rapid.SampledFrom(numbers), 0, 5).Draw(t, "devices")...)
	}
	h.compare(t, r, r)
}

// compare evaluates in the engine, and in the oracle what must come to the same.
func (h *history) compare(t *rapid.T, r, same engine.Request) {
	before := h.f.Clone()
	changes, err := h.e.Evaluate(r)
	if err != nil {
		t.Fatalf("evaluate: %v", err)
	}
	h.f.Evaluate(h.all, same)
	h.check(t, "after %s of %v at %s, from %s", kindOf(r), r.Devices, r.Now, h.clean)
	seen := map[string]bool{}
	for _, c := range changes {
		if seen[c.ID] || !asked(r, c.ID) {
			t.Fatalf("collection %s is twice among the changes, or was not asked for", c.ID)
		}
		seen[c.ID] = true
		checkChange(t, c, before.Members[c.ID], h.f.Members[c.ID])
	}
	for _, id := range h.ids() {
		if asked(r, id) && !seen[id] {
			t.Fatalf("collection %s is not among the changes", id)
		}
	}
}

func checkChange(t *rapid.T, c engine.Change, before, after map[uint32]bool) {
	var added, removed []uint32
	for _, device := range list(after) {
		if !before[device] {
			added = append(added, device)
		}
	}
	for _, device := range list(before) {
		if !after[device] {
			removed = append(removed, device)
		}
	}
	if !slices.Equal(c.Added.ToArray(), added) || !slices.Equal(c.Removed.ToArray(), removed) || c.Members != len(after) {
		t.Fatalf("collection %s: %d members, %v came, %v went; want %d, %v, %v", c.ID, c.Members, c.Added, c.Removed, len(after), added, removed)
	}
}

func list(set map[uint32]bool) []uint32 { return slices.Sorted(maps.Keys(set)) }

func kindOf(r engine.Request) string {
	switch {
	case r.Collections != nil:
		return fmt.Sprintf("an evaluation of %v", r.Collections)
	case r.Devices != nil:
		return "an incremental evaluation"
	}
	return "a full evaluation"
}

// check compares all members; when says after what.
func (h *history) check(t *rapid.T, when string, args ...any) {
	for _, id := range h.ids() {
		got := h.e.Members(id)
		if got == nil {
			got = roaring.New()
		}
		if want := list(h.f.Members[id]); !slices.Equal(got.ToArray(), want) {
			t.Fatalf("%s collection %s has %v, want %v\n%s", fmt.Sprintf(when, args...), id, got, want, h)
		}
	}
}

// restart makes a new engine from what is known.
func (h *history) restart(t *rapid.T) {
	h.e = engine.New(h.s)
	for _, device := range slices.Sorted(maps.Keys(h.f.Records)) {
		if err := h.e.Put(h.f.Records[device]); err != nil {
			t.Fatalf("put: %v", err)
		}
	}
	if err := h.e.Define(h.all); err != nil {
		t.Fatalf("define: %v", err)
	}
	for _, id := range h.ids() {
		h.e.Restore(id, roaring.BitmapOf(list(h.f.Members[id])...))
	}
	h.check(t, "after a restart")
}

// query asks for one that no collection has.
func (h *history) query(t *rapid.T) {
	q := Query(t, h.s, h.ids(), true)
	want := []uint32{}
	for _, device := range slices.Sorted(maps.Keys(h.f.Records)) {
		if h.f.Selects(q, device, h.now) {
			want = append(want, device)
		}
	}
	got, err := h.e.Query(h.printed(t, []*wql.Query{q})[0], h.now)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	if !slices.Equal(got.ToArray(), want) {
		t.Fatalf("%s at %s selects %v, want %v\n%s", q, h.now, got, want, h)
	}
}

// turn looks into the future: nothing turns before the next turn.
func (h *history) turn(t *rapid.T) {
	next, ok := h.e.NextTurn(h.now)
	if ok && !next.After(h.now) {
		t.Fatalf("after %s the next turn is %s", h.now, next)
	}
	far := h.now.AddDate(1, 0, 0)
	if ok && !next.After(far) {
		far = next.Add(-time.Millisecond)
	}
	if !far.After(h.now) {
		return
	}
	if turning := h.e.Turning(h.now, far); !turning.IsEmpty() {
		t.Fatalf("%v turn from %s to %s, the next turn is %s\n%s", turning, h.now, far, next, h)
	}
	a, b := h.f.Clone(), h.f.Clone()
	a.Evaluate(h.all, engine.Request{Now: h.now})
	b.Evaluate(h.all, engine.Request{Now: far})
	for _, id := range h.ids() {
		if !maps.Equal(a.Members[id], b.Members[id]) {
			t.Fatalf("collection %s has %v at %s and %v at %s, and the next turn is %s\n%s", id, list(a.Members[id]), h.now, list(b.Members[id]), far, next, h)
		}
	}
}
