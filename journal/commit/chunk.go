package commit

import (
	"sync"

	"github.com/bugle-fleet/bugle/journal"
)

// A chunk is pages that one Load has brought. Whoever hands them out hashes them
// from the first on; whoever has brought them helps from the last on, until the
// two meet. So both are busy, whichever of them has more to do besides.
type chunk struct {
	raws [][]byte // [at:] are to be handed out
	at   int
	err  error

	mu     sync.Mutex
	met    sync.Cond  // signalled when helped changes; L is mu
	begun  int        // raws[:begun] were hashed by who hands them out
	back   int        // nobody has begun with raws[begun:back]
	helped int        // hashes[helped:] are there
	hashes [][32]byte // by who helps
}

func newChunk(raws [][]byte, err error) *chunk {
	c := &chunk{raws: raws, err: err, back: len(raws), helped: len(raws), hashes: make([][32]byte, len(raws))}
	c.met.L = &c.mu
	return c
}

// next returns the page that is to be handed out, or nil.
func (c *chunk) next() []byte {
	if c == nil || c.at == len(c.raws) {
		return nil
	}
	return c.raws[c.at]
}

// pass lets go of that page.
func (c *chunk) pass() {
	c.raws[c.at] = nil
	c.at++
}

// hash returns the hash of that page.
func (c *chunk) hash() [32]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at < c.back {
		c.begun = c.at + 1
		c.mu.Unlock()
		hash := journal.HashPage(c.raws[c.at])
		c.mu.Lock()
		return hash
	}
	for c.helped > c.at {
		c.met.Wait()
	}
	return c.hashes[c.at]
}

// help hashes pages from the last on, until it comes to one that was begun.
func (c *chunk) help() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.back > c.begun {
		c.back--
		i := c.back
		c.mu.Unlock()
		hash := journal.HashPage(c.raws[i])
		c.mu.Lock()
		c.hashes[i], c.helped = hash, i
		c.met.Signal()
	}
}
