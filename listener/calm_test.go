package listener

import (
	"os"
	"runtime/debug"
	"testing"
)

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

// While many sessions get a task the collector leaves more garbage, until two looks after
// the last of them.
func TestBurst(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Setenv("GOGC", "")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1)) // that anything is more
	var a, b burst
	for i, step := range []struct {
		do     func()
		raised bool
	}{
		{a.look, false}, {a.begin, true}, {a.look, true}, {a.begin, true}, {a.look, true}, {a.look, false}, {a.look, false}, {a.end, false},
		{b.begin, true}, {a.begin, true}, {b.end, true}, {b.end, true}, {a.end, false},
		{func() { t.Setenv("GOGC", "1") }, false}, {a.begin, false}, {a.end, false},
	} {
		step.do()
		if got := percent(); got > 1 != step.raised {
			t.Fatalf("step %d: GOGC is %d, raised should be %t", i, got, step.raised)
		}
	}
}

// What is higher than what a burst wants holds, and so does off.
func TestBurstIsNoLess(t *testing.T) {
	t.Setenv("GOGC", "")
	for _, usual := range []int{burstPercent + 1, -1} {
		before := debug.SetGCPercent(usual)
		leaveGarbage()
		if got := percent(); got != usual {
			t.Errorf("GOGC of %d became %d", usual, got)
		}
		collectAgain()
		debug.SetGCPercent(before)
	}
}

func percent() int {
	p := debug.SetGCPercent(-1)
	debug.SetGCPercent(p)
	return p
}

func TestPercentOf(t *testing.T) {
	for live, want := range map[uint64]int{0: burstPercent, 1 << 20: burstPercent, 16 << 20: 400, 32 << 20: 200, 128 << 20: 50, 1 << 40: 0} {
		if got := percentOf(live); got != want {
			t.Errorf("percent of %d live: %d, want %d", live, got, want)
		}
	}
}

// A listener says so when a push goes to many.
func TestManyAreABurst(t *testing.T) {
	l := &Listener{bursts: make(chan struct{}, 1)}
	for _, c := range []struct {
		n    int
		want int
	}{{burstSize - 1, 0}, {burstSize, 1}, {burstSize, 1}} {
		sessions := make([]receiver, c.n)
		for i := range sessions {
			sessions[i] = &session{driver: new(countingDriver)}
		}
		l.signalAll(sessions)
		if got := len(l.bursts); got != c.want {
			t.Errorf("%d sessions: %d bursts, want %d", c.n, got, c.want)
		}
	}
}
