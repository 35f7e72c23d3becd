package listener

import "testing"

func TestCalm(t *testing.T) {
	var c calm
	total := uint64(0)
	for i, step := range []struct {
		came uint64
		over bool
	}{{0, false}, {stormSize - 1, false}, {0, false}, {stormSize, false}, {stormSize / 4, false}, {5 * stormSize, false}, {stormSize/4 - 1, true}, {0, false},
		{stormSize, false}, {0, true}} {
		total += step.came
		if over := c.look(total); over != step.over {
			t.Errorf("look %d, when %d came: over is %t", i, step.came, over)
		}
	}
}

// Files wait while agents sign in one after the other, or while many have to be sent to.
func TestBusy(t *testing.T) {
	l := new(Listener)
	busy := l.busy()
	for _, c := range []struct {
		came uint64
		want bool
	}{{0, false}, {1, false}, {1, false}, {2, true}, {0, false}, {9, true}, {1, false}} {
		l.count.signIns.Add(c.came)
		if got := busy(); got != c.want {
			t.Errorf("after %d more sign-ins it is busy: %t", c.came, got)
		}
	}
}
