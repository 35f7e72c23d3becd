package inbox

import (
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// A gate decides which of the waiting files may be claimed: those that are next
// in their sequence, or fill a hole, or were seen before. One behind a gap waits
// for the grace, because what is missing may be on its way.
type gate struct {
	ledger *Ledger
	grace  time.Duration
	held   map[sequence]hold
	cursor map[sequence]uint64 // the highest number that was let through in this round
	now    time.Time
	rounds uint64
}

// A hold is a sequence with a gap: since when files wait behind it, and up to
// which number they were there then.
type hold struct {
	since time.Time
	upto  uint64
	first uint64 // the round in which it began
	round uint64 // the last round that saw it
}

func newGate(l *Ledger, grace time.Duration) *gate {
	return &gate{ledger: l, grace: grace, held: make(map[sequence]hold), cursor: make(map[sequence]uint64)}
}

// round begins a round: names follow in claim order, and what is let through is
// settled before the next round.
func (g *gate) round(now time.Time) {
	g.now = now
	g.rounds++
	clear(g.cursor)
	for s, h := range g.held {
		if h.upto <= g.ledger.top(s) {
			delete(g.held, s)
		}
	}
}

// admit tells whether a file may be claimed now.
func (g *gate) admit(n box.Name) bool {
	s := sequenceOf(n)
	last, known := g.cursor[s]
	if !known {
		last = g.ledger.top(s)
	}
	if n.Number > last && n.Number-last > 1 && !g.waited(s, n.Number) {
		return false
	}
	g.cursor[s] = max(last, n.Number)
	return true
}

// waited tells whether number has waited long enough behind a gap of s.
func (g *gate) waited(s sequence, number uint64) bool {
	h, held := g.held[s]
	over := g.now.Sub(h.since) >= g.grace
	switch {
	case held && number <= h.upto:
		h.round = g.rounds
		g.held[s] = h
		return over
	case held && !over && h.first != g.rounds:
		return false // it came later than those that wait already
	case !held || over:
		h = hold{since: g.now, first: g.rounds}
	}
	h.upto, h.round = number, g.rounds
	g.held[s] = h
	return false
}

// sweep forgets what the round that ends did not see; the round saw all that
// waits.
func (g *gate) sweep() {
	for s, h := range g.held {
		if h.round != g.rounds {
			delete(g.held, s)
		}
	}
}

// due is when the first file that waits behind a gap has waited long enough, or
// zero. What this round let through waits no more, whatever became of it.
func (g *gate) due() time.Time {
	var first time.Time
	for _, h := range g.held {
		at := h.since.Add(g.grace)
		if h.round == g.rounds && !at.After(g.now) {
			continue
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
