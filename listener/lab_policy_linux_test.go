package listener

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// TestPolicyStorm lets a fleet ask for its policy within a minute, and at once,
// while other agents are served.
func TestPolicyStorm(t *testing.T) {
	agents, each, within := 20, 5, 100*time.Millisecond
	if longLab() {
		agents, each, within = 1000, 20, time.Minute
	}
	l := newLab(t)
	others, fleet := l.watch(0, 20), l.watch(100, agents)
	calm := others.measure(within / 10)
	say(t, map[string]any{"policy storm": "calm", "others": calm})
	for _, during := range []time.Duration{within, 0} {
		before, begun := l.order(order{}).CPU, time.Now()
		done := fleet.askForPolicy(each, during)
		under := others.measure(max(during, time.Millisecond))
		if !done() {
			t.Fatal("policies are missing")
		}
		took := time.Since(begun)
		say(t, map[string]any{"policy storm": during.String(), "requests": agents * each, "others": under, "seconds": took.Seconds(),
			"CPU us each": float64((l.order(order{}).CPU - before).Microseconds()) / float64(agents*each)})
	}
}

// askForPolicy lets each agent ask some times, at moments at random; done waits
// until all have their answers.
func (w *watch) askForPolicy(each int, during time.Duration) (done func() bool) {
	w.policies.Store(0)
	var all sync.WaitGroup
	for _, a := range w.agents {
		all.Go(func() {
			for range each {
				time.Sleep(rand.N(2*during/time.Duration(each) + 1))
				if err := a.send(&wire.PolicyRequest{}); err != nil {
					w.l.t.Errorf("ask for policy: %v", err)
				}
			}
		})
	}
	return func() bool {
		all.Wait()
		for limit := time.Now().Add(patience); w.policies.Load() < int64(each*len(w.agents)); {
			if time.Now().After(limit) {
				return false
			}
			time.Sleep(time.Millisecond)
		}
		return true
	}
}
