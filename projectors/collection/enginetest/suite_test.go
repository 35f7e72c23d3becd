package enginetest

import (
	"reflect"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// TestQueriesAreRead makes random trees, prints and reads them, and asks the oracle the
// same of both.
func TestQueriesAreRead(t *testing.T) {
	s := Schema()
	rapid.Check(t, func(t *rapid.T) {
		f := NewFleet(s)
		f.Members["P0100001"] = map[uint32]bool{1: true}
		f.Records[1] = record(t, s, 1)
		q := Query(t, s, []string{"P0100001"}, true)
		again, err := wql.Parse(q.String(), s)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		if again.Clock != q.Clock || !reflect.DeepEqual(again.Uses, q.Uses) {
			t.Fatalf("%s: clock %v, of %q; want %v, %q", q, again.Clock, again.Uses, q.Clock, q.Uses)
		}
		if a, b := f.Selects(q, 1, Epoch), f.Selects(again, 1, Epoch); a != b {
			t.Fatalf("%s selects the device: %v; read again %s: %v", q, a, again, b)
		}
	})
}

// TestQueriesSelect asks an engine with few devices and one collection many queries.
func TestQueriesSelect(t *testing.T) {
	s := Schema()
	rapid.Check(t, func(t *rapid.T) {
		h := &history{s: s, e: engine.New(s), f: NewFleet(s), now: Epoch}
		h.all = []engine.Collection{{ID: "P0100001", Direct: roaring.BitmapOf(0, 64)}}
		if err := h.e.Define(h.all); err != nil {
			t.Fatal(err)
		}
		for _, device := range []uint32{0, 1, 64}[:rapid.IntRange(1, 3).Draw(t, "devices")] {
			h.record(t, device)
		}
		h.compare(t, engine.Request{Now: h.now}, engine.Request{Now: h.now})
		h.query(t)
	})
}
