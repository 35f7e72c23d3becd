package projectors

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	memtableSize = 16 << 20
	// newTables is how many tables may be there that only hold what was written last:
	// more make reads slow.
	newTables = 8
	// stallTables is with how many Badger lets writes wait until some are merged.
	stallTables  = 15
	compactAgain = time.Second // after a failure
	metaSize     = 256         // bytes of the row that says how far the store goes, about
)

// A compactor merges the tables of a store, aside. Badger's own compactors look for
// something to do twenty times a second each, and there are at least two for a store:
// those of seven stores at rest took 1.5 % of a processor. There can be something to do
// only after a memtable was written, and the writer knows when that may have been.
type compactor struct {
	written int64 // bytes since the last look; of the writer
	running atomic.Bool
	aside   sync.WaitGroup
	closing chan struct{}
	once    sync.Once
}

// wrote tells of rows that were written.
func (c *compactor) wrote(bytes int64, db *badger.DB, log badgerLog) {
	if c.written += bytes; c.written >= memtableSize/2 {
		c.look(db, log)
	}
}

// look begins to merge if there are many new tables, and nobody does already. While
// they are merged more may come: it ends when there are few, so that whoever waits in
// front of too many does not do so for ever.
func (c *compactor) look(db *badger.DB, log badgerLog) {
	c.written = 0
	if fresh(db) <= newTables || !c.running.CompareAndSwap(false, true) {
		return
	}
	c.aside.Go(func() {
		defer c.running.Store(false)
		for fresh(db) > newTables {
			err := db.Flatten(1)
			if err == nil {
				continue
			}
			log.Warningf("tables are not merged, it is tried again: %v", err)
			select {
			case <-time.After(compactAgain):
			case <-c.closing:
				return
			}
		}
	})
}

// fresh is how many new tables there are.
func fresh(db *badger.DB) int { return db.Levels()[0].NumTables }

// close waits until nothing is merged any more. Nobody writes by then.
func (c *compactor) close() {
	c.once.Do(func() { close(c.closing) })
	c.aside.Wait()
}
