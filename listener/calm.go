package listener

import (
	"context"
	"runtime/debug"
	"time"
)

// What a storm is: so many connections between two looks, sign-ins and refused ones.
// It is over when there were less than a quarter of that.
const (
	stormSize = 1000
	stormLook = 5 * time.Second
)

// A calm waits for storms to be over.
type calm struct {
	seen   uint64 // connections until the last look
	stormy bool
}

// look is told of all connections so far; true means that a storm is over.
func (c *calm) look(connections uint64) bool {
	n := connections - c.seen
	c.seen = connections
	if n >= stormSize {
		c.stormy = true
	}
	over := c.stormy && n < stormSize/4
	c.stormy = c.stormy && !over
	return over
}

// burstSize is how many sessions are told of a task, or of new keys, at once when that is
// a burst.
const burstSize = 1000

// A burst is the time in which many agents get tasks at once. It is over at the second
// look after the last of these tasks, for they are likely to be followed by more.
type burst struct{ looks int } // until it is over; 0: there is none

// begin is called when many agents get a task.
func (b *burst) begin() {
	if b.looks == 0 {
		leaveGarbage()
	}
	b.looks = 2
}

func (b *burst) look() {
	switch b.looks {
	case 0:
		return
	case 1:
		collectAgain()
	default:
		leaveLess()
	}
	b.looks--
}

// end is the end of a burst if there is one.
func (b *burst) end() {
	if b.looks > 0 {
		collectAgain()
	}
	b.looks = 0
}

// rushing is how many agents sign in between two looks of a file that waits, 400 a
// second, when it is worth to let it wait.
const rushing = 2

// busy returns what tells, to one goroutine, whether agents wait for the processors that
// files would take: the sessions of a push for their task, or a fleet that returns for
// its handshakes.
func (l *Listener) busy() func() bool {
	var seen uint64
	return func() bool {
		now := l.count.signIns.Load()
		came := now - seen
		seen = now
		return came >= rushing || l.loop != nil && l.loop.Waiting() >= manyWait
	}
}

// tendMemory tells the collector of bursts until ctx ends, and gives the memory back that
// handshakes took when many agents came at once: the runtime would keep it for long, as
// if that was usual.
func (l *Listener) tendMemory(ctx context.Context) {
	var c calm
	var b burst
	defer b.end()
	t := time.NewTicker(stormLook)
	defer t.Stop()
	for {
		select {
		case <-l.bursts:
			b.begin()
		case <-t.C:
			b.look()
			if c.look(l.count.signIns.Load() + l.count.refused.Load()) {
				debug.FreeOSMemory()
			}
		case <-ctx.Done():
			return
		}
	}
}
