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

// giveBack gives the memory back, until ctx ends, that handshakes took when many
// agents came at once: the runtime would keep it for long, as if that was usual.
func (l *Listener) giveBack(ctx context.Context) {
	var c calm
	t := time.NewTicker(stormLook)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if c.look(l.count.signIns.Load() + l.count.refused.Load()) {
				debug.FreeOSMemory()
			}
		case <-ctx.Done():
			return
		}
	}
}
