package inbox

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// TestGateIsNotDueForWhatWentThrough: a file that waited long enough and could
// not be claimed then is no reason to look again at once, and again.
func TestGateIsNotDueForWhatWentThrough(t *testing.T) {
	g, begin := newGate(NewLedger(), time.Second), time.Unix(1000, 0)
	n := box.Name{Listener: "BGL", Epoch: 1, Number: 5, Kind: box.BTS}
	g.round(begin)
	if g.admit(n) {
		t.Fatal("the file did not wait for those before it")
	}
	g.sweep()
	end := begin.Add(time.Second)
	if !g.due().Equal(end) {
		t.Errorf("due at %v, want %v", g.due(), end)
	}
	g.round(end) // of another file alone
	if !g.due().Equal(end) {
		t.Errorf("due at %v while the file waits, want %v", g.due(), end)
	}
	g.round(end)
	if !g.admit(n) {
		t.Fatal("the file has waited long enough")
	}
	g.sweep()
	if !g.due().IsZero() {
		t.Errorf("due at %v, although nothing waits for the grace", g.due())
	}
}
