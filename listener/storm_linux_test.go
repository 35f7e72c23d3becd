package listener

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"
)

// TestStorm lets all agents of a fleet come at once, as after a cut network: from one
// address, each with its ticket or without. All of them are served the first time they
// come, unless the listener says that they are more than it can serve in time.
func TestStorm(t *testing.T) {
	agents := 400
	if longLab() {
		agents = 8000
	}
	l := newLabOf(t, labSetup{})
	devices := make([]*tls.Config, agents)
	for i := range devices {
		devices[i] = l.pki.client(uint32(i + 1))
		devices[i].ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	for _, how := range []string{"full", "resumed"} {
		before := l.order(order{})
		took, again := l.storm(devices)
		after := l.order(order{})
		all, s := after.Stats.SignIns-before.Stats.SignIns, after.Stats
		if all < uint64(agents) {
			t.Errorf("%s: %d of %d signed in", how, all, agents)
		}
		// On a machine that has no time for its agents some may be slow.
		refused, over, cut := s.Refused-before.Stats.Refused, s.Overflowed-before.Stats.Overflowed, s.CutSlow-before.Stats.CutSlow
		if refused != over+cut || s.Slowed != 0 {
			t.Errorf("%s: %d were refused, %d were too many and %d slow: %+v", how, refused, over, cut, s)
		}
		say(t, map[string]any{"storm": how, "agents": agents, "all back after": took.String(), "came again": again, "too many": over, "slow": cut,
			"resumed":        s.Resumed - before.Stats.Resumed,
			"cpu per agent":  ((after.CPU - before.CPU) / time.Duration(agents)).String(),
			"peak MiB":       after.Peak >> 10,
			"told to spread": s.Spread.String()})
	}
}

// storm lets devices come at once, and again until they are taken; again is how often
// that was.
func (l *lab) storm(devices []*tls.Config) (took time.Duration, again int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	begun := time.Now()
	for _, c := range devices {
		all.Go(func() {
			for wait := 500 * time.Millisecond; signInOnce(l.tcp, c) != nil; wait *= 2 {
				if time.Since(begun) > 2*patience {
					return
				}
				mu.Lock()
				again++
				mu.Unlock()
				time.Sleep(wait)
			}
		})
	}
	all.Wait()
	return time.Since(begun), again
}
