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
	// calmTables is after how many they are merged in a calm moment. The three tables up
	// to newTables, 48 MiB, hold what some 25 pushes to 10,000 devices make a view write.
	calmTables = newTables - 3
	// stallTables is with how many Badger lets writes wait until some are merged.
	stallTables = 15
	// A moment is calm when less than busyBytes were written in calmTime: a push to 4,000
	// devices makes a view write about as much.
	calmTime     = 30 * time.Second
	busyBytes    = 512 << 10
	compactAgain = time.Second // after a failure
	metaSize     = 256         // bytes of the row that says how far the store goes, about
)

// A compactor merges the tables of a store, aside. Badger's own compactors look for
// something to do twenty times a second each, and there are at least two for a store:
// those of seven stores at rest took 1.5 % of a processor. There can be something to do
// only after a memtable was written, and the writer knows when that may have been.
//
// A merge writes the whole store anew. While a fleet returns, processors and memory are
// needed elsewhere: it waits for a calm moment as long as there are not too many tables.
type compactor struct {
	written int64        // bytes since the last look; of the writer
	total   atomic.Int64 // bytes
	calm    time.Duration
	running atomic.Bool
	many    chan struct{} // tells who waits that it must not any longer
	aside   sync.WaitGroup
	closing chan struct{}
	once    sync.Once
}

func newCompactor() *compactor {
	return &compactor{calm: calmTime, many: make(chan struct{}, 1), closing: make(chan struct{})}
}

// wrote tells of rows that were written.
func (c *compactor) wrote(bytes int64, db *badger.DB, log badgerLog) {
	c.total.Add(bytes)
	if c.written += bytes; c.written >= memtableSize/2 {
		c.look(db, log)
	}
}

// look begins to merge, or to wait for a calm moment to do so, if there are new tables
// enough and nobody does already.
func (c *compactor) look(db *badger.DB, log badgerLog) {
	c.written = 0
	n := fresh(db)
	if n > newTables {
		select {
		case c.many <- struct{}{}:
		default:
		}
	}
	if n <= calmTables || !c.running.CompareAndSwap(false, true) {
		return
	}
	c.aside.Go(func() {
		defer c.running.Store(false)
		if c.await(func() int { return fresh(db) }) {
			c.merge(db, log)
		}
	})
}

// await waits for a calm moment, or until there are too many tables. False means that the
// store is to be closed before.
func (c *compactor) await(fresh func() int) bool {
	for fresh() <= newTables {
		before := c.total.Load()
		select {
		case <-time.After(c.calm):
			if c.total.Load()-before < busyBytes {
				return true
			}
		case <-c.many:
		case <-c.closing:
			return false
		}
	}
	return true
}

// merge does so until there are few: while it does more may come, and whoever waits in
// front of too many must not do so for ever.
func (c *compactor) merge(db *badger.DB, log badgerLog) {
	for {
		err := db.Flatten(1)
		if err == nil && fresh(db) <= newTables {
			return
		}
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
}

// fresh is how many new tables there are.
func fresh(db *badger.DB) int { return db.Levels()[0].NumTables }

// close waits until nothing is merged any more, and for no calm moment. Nobody writes by
// then.
func (c *compactor) close() {
	c.once.Do(func() { close(c.closing) })
	c.aside.Wait()
}
