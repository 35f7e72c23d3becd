package listener

import (
	"math"
	"sync"
	"time"
)

// Of the budgets of addresses.
const (
	maxBudgets  = 4096 // addresses; all others share one
	spareRate   = 100  // connections a second beyond the budgets of their addresses, of all together
	misbehaved  = 4    // a connection that breaks off, or is no TLS, costs as much more
	otherBudget = ""
)

// budgets bound how many connections of an address end without it being known who
// came. Each connection takes from its address' budget, which grows with time, and
// gives it back once it turns out to be a device's, or a device joins by it.
type budgets struct {
	every, burst float64 // a second, and at most

	mu     sync.Mutex
	of     map[string]*budget
	spare  budget
	looked time.Time // for budgets to drop
}

// A budget is in connections. It is below zero after misbehaviour.
type budget struct {
	left  float64
	at    time.Time // when that was so
	empty bool      // it was told
}

func newBudgets(every, burst float64) *budgets {
	return &budgets{every: every, burst: burst, of: make(map[string]*budget), spare: budget{left: spareRate}}
}

func (b *budget) grow(now time.Time, every, burst float64) {
	if d := now.Sub(b.at); d > 0 {
		if !b.at.IsZero() {
			b.left = min(burst, b.left+every*d.Seconds())
		}
		b.at = now
	}
}

// take takes for one connection. It is false if the address has nothing left, nor
// is there anything to spare: it has to come later. Fresh is true if it had
// something left since that was last so.
func (b *budgets) take(address string, now time.Time) (ok, fresh bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.find(address, now)
	if a.left >= 1 {
		a.left--
		a.empty = false
		return true, false
	}
	fresh, a.empty = !a.empty, true
	b.spare.grow(now, spareRate, spareRate)
	if b.spare.left < 1 {
		return false, fresh
	}
	b.spare.left--
	a.left = max(-b.burst, a.left-1) // so that giving it back is right
	return true, fresh
}

// has tells whether take would take.
func (b *budgets) has(address string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spare.grow(now, spareRate, spareRate)
	return b.find(address, now).left >= 1 || b.spare.left >= 1
}

// give gives back what one connection took.
func (b *budgets) give(address string, now time.Time) { b.add(address, now, 1) }

// reward gives back what one connection took, and makes up for one that broke off: of
// a crowd that comes in spite of a bad network some do.
func (b *budgets) reward(address string, now time.Time) { b.add(address, now, 1+misbehaved) }

func (b *budgets) add(address string, now time.Time, n float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.find(address, now)
	a.left = min(b.burst, a.left+n)
}

// punish takes for misbehaviour. What an address owes at most is over in burst/every.
func (b *budgets) punish(address string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.find(address, now)
	a.left = max(-b.burst, a.left-misbehaved)
}

// owing is how many addresses have nothing left now.
func (b *budgets) owing(now time.Time) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.of {
		if a.left+b.every*math.Max(0, now.Sub(a.at).Seconds()) < 1 {
			n++
		}
	}
	return n
}

func (b *budgets) find(address string, now time.Time) *budget {
	a := b.of[address]
	if a == nil && len(b.of) >= maxBudgets {
		b.forget(now)
	}
	if a == nil && len(b.of) >= maxBudgets {
		address = otherBudget
		a = b.of[address]
	}
	if a == nil {
		a = &budget{left: b.burst, at: now}
		b.of[address] = a
	}
	a.grow(now, b.every, b.burst)
	return a
}

// forget drops the budgets that are full, for they are as new ones. At most once
// a second, for it looks at all of them.
func (b *budgets) forget(now time.Time) {
	if now.Sub(b.looked) < time.Second {
		return
	}
	b.looked = now
	for address, a := range b.of {
		if a.grow(now, b.every, b.burst); a.left >= b.burst {
			delete(b.of, address)
		}
	}
}
