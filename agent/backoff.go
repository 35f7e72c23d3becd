package agent

import (
	"math/rand/v2"
	"time"
)

const (
	minBackOff = time.Second
	maxBackOff = 5 * time.Minute
	stopWait   = time.Hour // after a code that says: do not come back
)

// backOff is how long to wait before the next connection: full jitter (any time
// up to a limit that doubles), so that a fleet that lost its listener together
// does not come back together.
type backOff struct{ limit time.Duration }

// next returns the wait and doubles the limit.
func (b *backOff) next() time.Duration {
	if b.limit == 0 {
		b.limit = minBackOff
	}
	wait := rand.N(b.limit)
	b.limit = min(2*b.limit, maxBackOff)
	return wait
}

// reset begins again at the shortest limit, or at spread if the listener asked
// for more.
func (b *backOff) reset(spread time.Duration) {
	b.limit = min(max(minBackOff, spread), maxBackOff)
}

// jitter returns d give or take a fifth.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}
