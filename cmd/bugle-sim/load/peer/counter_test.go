package peer

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWindow(t *testing.T) {
	var w window
	for _, step := range []struct {
		number uint64
		isNew  bool
	}{{0, false}, {3, true}, {3, false}, {1, true}, {2, true}, {1, false}, {0, false}, {66, true}, {3, false}, {2, false},
		{4, true}, {4, false}, {500, true}, {437, true}, {436, false}, {500, false}} {
		if got := w.take(step.number); got != step.isNew {
			t.Errorf("take(%d) = %v with newest %d", step.number, got, w.top)
		}
	}
}

func TestCounterGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type told struct {
			number uint64
			agents int
			after  time.Duration
		}
		var all []told
		begun := time.Now()
		c := newCounter(3, func(number uint64, agents int, at time.Time) {
			all = append(all, told{number, agents, at.Sub(begun)})
		})
		c.count(0, 1, time.Now())
		time.Sleep(100 * time.Microsecond)
		c.count(1, 1, time.Now())
		c.count(1, 1, time.Now()) // again
		c.count(3, 1, time.Now()) // nobody
		time.Sleep(gatherWait)
		synctest.Wait()
		c.count(2, 1, time.Now())
		c.close()
		c.count(2, 2, time.Now())
		time.Sleep(gatherWait)
		want := []told{{1, 2, 100 * time.Microsecond}, {1, 1, gatherWait + 100*time.Microsecond}}
		if len(all) != 2 || all[0] != want[0] || all[1] != want[1] {
			t.Errorf("told %v, want %v", all, want)
		}
	})
}
