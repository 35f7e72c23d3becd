package listener

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"
)

// TestOneAddress lets a fleet behind one address sign in at once, as after a cut of
// its line; then again while somebody at the same address attacks.
func TestOneAddress(t *testing.T) {
	agents, connections := 20, 5
	if longLab() {
		agents, connections = 2000, 100
	}
	l := newLab(t)
	for _, attacked := range []bool{false, true} {
		stop := func() toll { return toll{} }
		if attacked {
			stop = l.attack(attackNamed("no certificate", "tcp"), connections)
		}
		took := l.allCome(attacker(0), agents)
		cost := stop()
		if len(took) != agents {
			t.Errorf("%d of %d could sign in", len(took), agents)
		}
		say(t, map[string]any{"one address": agents, "attacked": attacked, "attackers' connections": cost.Connections,
			"signed in after, p50": percentile(took, 50), "p99": percentile(took, 99), "all": percentile(took, 100)})
	}
}

func attackNamed(name, port string) int {
	for i, a := range attacks {
		if a.name == name && a.port == port {
			return i
		}
	}
	return -1
}

// allCome lets devices sign in from an address, each as often as it takes, and
// returns how long each took.
func (l *lab) allCome(from string, agents int) (took []time.Duration) {
	configs := make([]*tls.Config, agents)
	for i := range configs {
		configs[i] = l.pki.client(uint32(1<<18 + i))
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	begun := time.Now()
	for _, c := range configs {
		all.Go(func() {
			for !l.comes(from, c) {
				if time.Since(begun) > 2*patience {
					return
				}
				time.Sleep(500 * time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(begun))
		})
	}
	all.Wait()
	return took
}
