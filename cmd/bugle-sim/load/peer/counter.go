package peer

import (
	"sync"
	"time"
)

// gatherWait is how long counted answers wait for others before they are told.
const gatherWait = time.Millisecond

// A counter counts the answers that come to the back end, each agent's once, and
// tells of them together.
type counter struct {
	tell func(number uint64, agents int, at time.Time)

	mu     sync.Mutex
	had    []window
	counts map[uint64]*tally // not told yet
	closed bool
}

// A tally is how many answers of one task are not told yet.
type tally struct {
	agents int
	last   time.Time // when the last of them came
}

func newCounter(agents int, tell func(uint64, int, time.Time)) *counter {
	return &counter{tell: tell, had: make([]window, agents), counts: map[uint64]*tally{}}
}

// count counts an agent's answer that came at a time, and tells whether it is new. It
// may be called at once by many.
func (c *counter) count(agent int, number uint64, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || agent < 0 || agent >= len(c.had) || !c.had[agent].take(number) {
		return false
	}
	if len(c.counts) == 0 {
		time.AfterFunc(gatherWait, c.flush)
	}
	of := c.counts[number]
	if of == nil {
		of = new(tally)
		c.counts[number] = of
	}
	of.agents++
	if at.After(of.last) {
		of.last = at
	}
	return true
}

// flush tells what is not told yet.
func (c *counter) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for number, of := range c.counts {
		c.tell(number, of.agents, of.last)
	}
	clear(c.counts)
}

// close tells the rest, and then nothing more.
func (c *counter) close() {
	c.flush()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
}

// A window tells which numbers have been, for the newest 64 of them. Older ones
// count as having been.
type window struct{ top, seen uint64 } // seen: bit i is number top-i

// take notes a number and tells whether it is new.
func (w *window) take(number uint64) bool {
	if number > w.top {
		w.seen = w.seen<<(number-w.top) | 1
		w.top = number
		return true
	}
	bit := uint64(1) << (w.top - number) // 0 if it is 64 or more
	if bit == 0 || w.seen&bit != 0 || number == 0 {
		return false
	}
	w.seen |= bit
	return true
}
