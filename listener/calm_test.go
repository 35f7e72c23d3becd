package listener

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
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
	usualCollector(t)
	var a, b burst
	for i, step := range []struct {
		do     func()
		raised bool
	}{
		{a.look, false}, {a.begin, true}, {a.look, true}, {a.begin, true}, {a.look, true}, {a.look, false}, {a.look, false}, {a.end, false},
		{b.begin, true}, {a.begin, true}, {b.end, true}, {b.look, true}, {a.end, false}, {a.end, false},
		{func() { t.Setenv("GOGC", "100") }, false}, {a.begin, false}, {a.end, false},
	} {
		step.do()
		if got := percent(); got > goPercent != step.raised || got < goPercent {
			t.Fatalf("step %d: GOGC is %d, raised should be %t", i, got, step.raised)
		}
	}
}

// A listener begins bursts, and ends them when it stops.
func TestMemoryIsTended(t *testing.T) {
	usualCollector(t)
	synctest.Test(t, func(t *testing.T) {
		l := &Listener{bursts: make(chan struct{}, 1)}
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { l.tendMemory(ctx); close(stopped) }()
		for i, step := range []struct {
			burst  bool
			after  time.Duration
			raised bool
		}{{false, 0, false}, {true, 0, true}, {false, 2*stormLook - 1, true}, {false, 1, false}, {true, stormLook, true}} {
			if step.burst {
				l.bursts <- struct{}{}
			}
			time.Sleep(step.after)
			synctest.Wait()
			if got := percent(); got > goPercent != step.raised || got < goPercent {
				t.Errorf("step %d: GOGC is %d, raised should be %t", i, got, step.raised)
			}
		}
		stop()
		<-stopped
		if got := percent(); got != goPercent {
			t.Errorf("GOGC is %d behind the listener", got)
		}
	})
}

// As more lives less garbage may lie in a burst, in part of it.
func TestBurstGrowsNoMoreThanIsSaid(t *testing.T) {
	usualCollector(t)
	leaveGarbage()
	defer collectAgain()
	for _, c := range []struct {
		live uint64
		want int
	}{{32 << 20, 200}, {64 << 20, goPercent}, {1 << 30, goPercent}, {16 << 20, burstPercent}} {
		liveHeap = func() uint64 { return c.live }
		leaveLess()
		if got := percent(); got != c.want {
			t.Errorf("with %d MiB alive GOGC is %d, want %d", c.live>>20, got, c.want)
		}
	}
}

func TestLiveHeap(t *testing.T) {
	lives := make([]byte, 1<<20)
	runtime.GC()
	if got := liveHeap(); got < uint64(len(lives)) || got > 1<<40 {
		t.Errorf("%d bytes are alive", got)
	}
	runtime.KeepAlive(lives)
}

// usualCollector is a process in which nobody has chosen a percent, and in which little
// lives.
func usualCollector(t *testing.T) {
	t.Setenv("GOGC", "")
	before, live := debug.SetGCPercent(goPercent), liveHeap
	liveHeap = func() uint64 { return 1 << 20 }
	t.Cleanup(func() {
		debug.SetGCPercent(before)
		liveHeap = live
	})
}

// What a process has chosen holds.
func TestChosenPercentHolds(t *testing.T) {
	usualCollector(t)
	for _, usual := range []int{goPercent - 1, burstPercent + 1, -1} {
		debug.SetGCPercent(usual)
		leaveGarbage()
		if got := percent(); got != usual {
			t.Errorf("GOGC of %d became %d", usual, got)
		}
		collectAgain()
		debug.SetGCPercent(goPercent)
		leaveGarbage()
		debug.SetGCPercent(usual)
		collectAgain()
		if got := percent(); got != usual {
			t.Errorf("GOGC of %d, set in a burst, became %d", usual, got)
		}
	}
}

func percent() int {
	p := debug.SetGCPercent(-1)
	debug.SetGCPercent(p)
	return p
}

func TestPercentOf(t *testing.T) {
	for live, want := range map[uint64]int{0: burstPercent, 1 << 20: burstPercent, 16 << 20: burstPercent, 32 << 20: 200, 128 << 20: 50, 1 << 40: 0} {
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
		l.tellAll(sessions)
		if got := len(l.bursts); got != c.want {
			t.Errorf("%d sessions: %d bursts, want %d", c.n, got, c.want)
		}
	}
}
