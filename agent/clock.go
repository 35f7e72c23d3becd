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
	// holdFor is how long the estimate counts while nobody can ask the site, and
	// drift how many parts in a million the machine's clock may lag meanwhile.
	holdFor = 12 * time.Hour
	drift   = 200
	// longSilence is how long after the last beacon another one proves the time
	// only with a nonce.
	longSilence = 2 * time.Hour
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
	away    bool          // since then a listener said that it has no newer beacon …
	awayAt  time.Duration // … and when, by the monotonic clock
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

// askIfUnsure is [siteClock.ask] if the time was not proven in this process, or too
// long ago; else it is zero: then the beacon that everybody gets will do, for which
// nobody signs anew.
func (c *siteClock) askIfUnsure() [16]byte {
	if c.isProven() {
		return [16]byte{}
	}
	return c.ask()
}

// isProven tells whether a beacon without a nonce would keep the estimate reliable. One
// that was proven with much slack, as in a storm, is better proven again.
func (c *siteClock) isProven() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	return c.sure && c.slack <= maxStep && !c.stepped(now) && now.Mono-c.heard <= longSilence
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
		c.sure, c.heard, c.away = !parted(c.asked, now), now.Mono, false
	case b.Time.After(was):
		c.set(b.Time, now)
		c.agree(now)
	case was.Sub(b.Time) < freshFor:
		c.agree(now)
	default:
		c.away, c.awayAt = true, now.Mono
	}
	c.tell()
	return ours
}

// agree takes in a beacon that nobody asked for. It may be old by as much as the
// estimate lags, so after a long silence it proves nothing.
func (c *siteClock) agree(now Moment) {
	if now.Mono-c.heard > longSilence {
		c.sure = false
	}
	c.heard, c.away = now.Mono, false
}

func (c *siteClock) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// silent takes in that a listener was asked for a beacon and has none: the site
// is away.
func (c *siteClock) silent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away, c.awayAt = true, c.now().Mono
	c.tell()
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
	fresh = c.sure && now.Mono-c.heard < freshFor ||
		c.away && now.Mono-c.awayAt < freshFor && c.holds(now)
	return estimate, estimate.Add(c.slack + c.lag(now)), fresh
}

// held tells whether the estimate may be relied on although nobody can be asked:
// no listener is connected.
func (c *siteClock) held() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.base.IsZero() {
		return false
	}
	if c.stepped(now) {
		c.sure = false
	}
	return c.holds(now)
}

func (c *siteClock) holds(now Moment) bool { return c.sure && now.Mono-c.heard < holdFor }

// lag is how much the site's time may be later than the estimate because the
// machine's clock is slow. For as long as a beacon is fresh it is not counted.
func (c *siteClock) lag(now Moment) time.Duration {
	age := now.Mono - c.heard
	if age < freshFor {
		return 0
	}
	return age / 1e6 * drift
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
