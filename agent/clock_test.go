package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// TestClockTakesATaskAsProofOfTime: the site's time is never before the moment
// at which it signed that a task was requested.
func TestClockTakesATaskAsProofOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSiteClock(systemClocks)
		site := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		c.atLeast(site)
		if _, _, fresh := c.read(); fresh {
			t.Fatal("a task alone makes the clock one to rely on")
		}
		nonce := c.ask()
		time.Sleep(40 * time.Millisecond) // the round trip, which is how much the estimate may lag
		if !c.hear(task.Beacon{Time: site, Nonce: nonce}) {
			t.Fatal("the beacon that was asked for is not known as such")
		}
		if c.hear(task.Beacon{Time: site, Nonce: nonce}) {
			t.Error("the same beacon counts as an answer twice")
		}
		for _, step := range []struct{ requested, estimate, latest time.Duration }{
			{-time.Hour, 0, 40 * time.Millisecond},
			{10 * time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond},
			{60 * time.Millisecond, 60 * time.Millisecond, 60 * time.Millisecond},
			{30 * time.Millisecond, 60 * time.Millisecond, 60 * time.Millisecond},
		} {
			c.atLeast(site.Add(step.requested))
			estimate, latest, fresh := c.read()
			if !fresh || !estimate.Equal(site.Add(step.estimate)) || !latest.Equal(site.Add(step.latest)) {
				t.Errorf("a task requested at %s: the time is from %s to %s (fresh %t), want %s to %s",
					step.requested, estimate.Sub(site), latest.Sub(site), fresh, step.estimate, step.latest)
			}
		}
	})
}

// An answer that lay in a buffer while the machine slept tells no time to rely
// on: the monotonic clock did not count the sleep.
func TestAnswerFromBeforeASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSiteClock(systemClocks)
		site := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		nonce := c.ask()
		time.Sleep(40 * time.Millisecond)
		c.asked.Wall = c.asked.Wall.Add(-time.Hour)
		if !c.hear(task.Beacon{Time: site, Nonce: nonce}) {
			t.Fatal("the beacon that was asked for is not known as such")
		}
		if _, _, fresh := c.read(); fresh {
			t.Error("the site's time is relied on, and may be an hour later")
		}
		c.hear(task.Beacon{Time: site.Add(time.Hour), Nonce: c.ask()})
		if estimate, _, fresh := c.read(); !fresh || !estimate.Equal(site.Add(time.Hour)) {
			t.Errorf("asked again, the time is %s (fresh %t)", estimate, fresh)
		}
	})
}

// TestNonceOfASignIn: a proven estimate needs no signature of its own, whatever else
// does.
func TestNonceOfASignIn(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*siteClock)
		asks   bool
	}{
		"a new process":        {func(*siteClock) {}, true},
		"a beacon of nobody's": {func(c *siteClock) { c.hear(task.Beacon{Time: time.Now()}) }, true},
		"proven":               {func(c *siteClock) { prove(c) }, false},
		"away for an hour":     {func(c *siteClock) { prove(c); time.Sleep(time.Hour) }, false},
		"away for three hours": {func(c *siteClock) { prove(c); time.Sleep(3 * time.Hour) }, true},
		"proven after 20 s": {func(c *siteClock) {
			nonce := c.ask()
			time.Sleep(20 * time.Second)
			c.hear(task.Beacon{Time: time.Now(), Nonce: nonce})
		}, true},
		"the machine has slept": {func(c *siteClock) { prove(c); c.at.Wall = c.at.Wall.Add(-time.Minute) }, true},
		"goes on by what all get": {func(c *siteClock) {
			prove(c)
			time.Sleep(time.Hour)
			c.hear(task.Beacon{Time: time.Now()})
			time.Sleep(90 * time.Minute)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := newSiteClock(systemClocks)
				c.before(clock)
				if asks := clock.askIfUnsure() != [16]byte{}; asks != c.asks {
					t.Fatalf("signs in with a nonce: %t, want %t", asks, c.asks)
				}
				if c.asks {
					return
				}
				clock.hear(task.Beacon{Time: time.Now().Add(-10 * time.Second)})
				if _, _, fresh := clock.read(); !fresh {
					t.Error("the beacon that all get does not make the estimate one to rely on")
				}
			})
		})
	}
}

func prove(c *siteClock) { c.hear(task.Beacon{Time: time.Now(), Nonce: c.ask()}) }
