package agent

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	// freshFor is how long after a beacon the estimate counts without another.
	freshFor = 90 * time.Second
	// maxStep is how far the wall clock and the monotonic clock may part before
	// the machine is taken to have slept or its clock to have been set.
	maxStep = 2 * time.Second
)

// A Moment is what the two clocks of a machine show.
type Moment struct {
	Wall time.Time     // what people set, and what goes on while the machine sleeps
	Mono time.Duration // since some moment of this process; nobody sets it, it may stand still in a sleep
}

var begun = time.Now()

// systemClocks reads the clocks of this machine.
func systemClocks() Moment {
	now := time.Now()
	return Moment{Wall: now.Round(0), Mono: now.Sub(begun)}
}

// siteClock estimates the site's time from its beacons and the monotonic clock
// since. The estimate never goes back.
type siteClock struct {
	now func() Moment

	mu      sync.Mutex
	base    time.Time     // the site's time …
	at      Moment        // … at this moment of ours
	slack   time.Duration // the site's time may be this much later than the estimate
	sure    bool          // a beacon came with a nonce of ours, and no step since
	heard   time.Duration // by the monotonic clock: the last beacon that agreed with the estimate
	nonce   [16]byte      // outstanding, or zero
	asked   Moment        // when it was made
	changed chan struct{} // closed at the next beacon
}

func newSiteClock(now func() Moment) *siteClock {
	return &siteClock{now: now, changed: make(chan struct{})}
}

// ask makes the nonce with which to ask for a beacon.
func (c *siteClock) ask() [16]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	rand.Read(c.nonce[:])
	c.asked = c.now()
	return c.nonce
}

// hear takes a beacon whose signature holds, and tells whether it is the one that
// was asked for.
func (c *siteClock) hear(b task.Beacon) (ours bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	ours = b.Nonce != [16]byte{} && b.Nonce == c.nonce
	was := c.estimate(now)
	switch {
	case ours:
		// Made after it was asked for: the site's time is b.Time or at most the
		// round trip later, whatever the estimate was before.
		c.nonce = [16]byte{}
		c.slack = now.Mono - c.asked.Mono
		c.set(latest(was, b.Time), now)
		// A sleep since it was asked for would not be in slack.
		c.sure, c.heard = !parted(c.asked, now), now.Mono
	case b.Time.After(was):
		c.set(b.Time, now)
		c.heard = now.Mono
	case was.Sub(b.Time) < freshFor:
		c.heard = now.Mono
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return ours
}

// atLeast takes the site's signed word that its time is t or later.
func (c *siteClock) atLeast(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	was := c.estimate(now)
	if c.base.IsZero() || !t.After(was) {
		return
	}
	c.slack = max(0, c.slack-t.Sub(was))
	c.set(t, now)
}

func (c *siteClock) set(site time.Time, now Moment) {
	if c.sure && c.stepped(now) {
		c.sure = false
	}
	c.base, c.at = site, now
}

// stepped tells whether the wall clock and the monotonic clock have parted.
func (c *siteClock) stepped(now Moment) bool { return parted(c.at, now) }

// parted tells whether the two clocks have, between two moments.
func parted(before, now Moment) bool {
	step := now.Wall.Sub(before.Wall) - (now.Mono - before.Mono)
	return step > maxStep || step < -maxStep
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// estimate is the site's time as far as beacons tell, zero before the first.
func (c *siteClock) estimate(now Moment) time.Time {
	if c.base.IsZero() {
		return time.Time{}
	}
	return c.base.Add(now.Mono - c.at.Mono)
}

// read returns the estimate, the latest that the site's time may be, and whether
// both may be relied on.
func (c *siteClock) read() (estimate, latest time.Time, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.base.IsZero() {
		return time.Time{}, time.Time{}, false
	}
	if c.stepped(now) {
		c.sure = false
	}
	estimate = c.estimate(now)
	return estimate, estimate.Add(c.slack), c.sure && now.Mono-c.heard < freshFor
}

// stamp is the time to put on a result: the site's, or before the first beacon
// the machine's.
func (c *siteClock) stamp() time.Time {
	if t, _, _ := c.read(); !t.IsZero() {
		return t.UTC()
	}
	return c.now().Wall.UTC()
}

// next returns a channel that is closed when another beacon comes.
func (c *siteClock) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}
