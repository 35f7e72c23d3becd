package tree

import (
	"errors"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
)

// TestBuilderBefore has the tree before each event, which is that of the pages
// before the one that holds it.
func TestBuilderBefore(t *testing.T) {
	dir, h, c := built(t, 21)
	tr := open(t, dir, options(h))
	for number := uint64(1); number <= c.Events; number++ {
		got, err := tr.BuilderBefore(t.Context(), number)
		if err != nil {
			t.Fatal(err)
		}
		want := NewBuilder()
		for _, p := range h.pages {
			if p.Head.Event >= number {
				break
			}
			if err := want.Add(p.Page()); err != nil {
				t.Fatal(err)
			}
		}
		if got.Head() != want.Head() || got.Root() != want.Root() {
			t.Errorf("event %d: %+v, want %+v", number, got.Head(), want.Head())
		}
	}
	if b, err := tr.BuilderBefore(t.Context(), 1); err != nil || b.Head() != (journal.Head{}) {
		t.Errorf("before event 1: %v, %v", b, err)
	}
	for _, number := range []uint64{0, c.Events + 1} {
		if _, err := tr.BuilderBefore(t.Context(), number); !errors.Is(err, ErrNotCovered) {
			t.Errorf("event %d: %v", number, err)
		}
	}
}
