package listener

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	firstGuess = time.Millisecond // of what a handshake costs, until one is measured
	paceWeight = 256              // handshakes that the moving mean is about
	mostCost   = 4                // times the mean that one counts for: beyond, its turn was interrupted
	shakeShare = 0.75             // of the processor time of a sign-in is the handshake
	mostSpread = 5 * time.Minute  // agents take no more
)

// A pace is how fast this machine shakes hands: the moving mean of how long it
// computes for one, at first that of all.
type pace struct{ nanoseconds, seen atomic.Int64 }

// took notes a handshake.
func (p *pace) took(d time.Duration) {
	weight := min(p.seen.Add(1), paceWeight)
	for {
		old, cost := p.nanoseconds.Load(), int64(d)
		if weight == paceWeight {
			cost = min(cost, max(mostCost*old, int64(firstGuess)))
		}
		next := old + (cost-old)/weight
		if p.nanoseconds.CompareAndSwap(old, max(next, 1)) {
			return
		}
	}
}

func (p *pace) mean() time.Duration {
	if n := p.nanoseconds.Load(); n > 0 {
		return time.Duration(n)
	}
	return firstGuess
}

// rate is how many devices can sign in each second, if so many handshakes may be
// computed at once on so many processors.
func (p *pace) rate(handshaking, processors int) float64 {
	return min(float64(handshaking), shakeShare*float64(processors)) / p.mean().Seconds()
}

// spreadOf is the time over which so many agents must spread their return, to come
// no faster than rate a second. It is never less than least.
func spreadOf(agents int, rate float64, least time.Duration) time.Duration {
	t := time.Duration(float64(agents) / rate * float64(time.Second))
	return max(least, min(t, mostSpread))
}

func (l *Listener) rate() float64 {
	return l.pace.rate(l.cfg.Limits.Handshaking, runtime.GOMAXPROCS(0))
}

// spread is what agents are told: over how long they are to spread a reconnect.
func (l *Listener) spread() time.Duration {
	agents := int(l.count.mostAgents.Load())
	if l.cfg.Agents != nil {
		agents = max(agents, l.cfg.Agents())
	}
	return spreadOf(agents, l.rate(), l.cfg.Spread)
}

// here notes how many agents there are now.
func (l *Listener) here() {
	n := l.count.connections.Load()
	for {
		most := l.count.mostAgents.Load()
		if n <= most || l.count.mostAgents.CompareAndSwap(most, n) {
			return
		}
	}
}

const (
	minimumRoom = 64              // that may wait on a port however slow it is
	mostWait    = 8 * time.Second // for a place; agents give up after 10
)

// room is how many may wait on a port: those that can be served before they give up.
func (l *Listener) room() int {
	if l.scarce.Load() {
		return 0
	}
	return min(max(minimumRoom, int(l.rate()*mostWait.Seconds())), l.cfg.Limits.Sessions)
}
