package projectors

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// While much is written tables wait to be merged, but not when there are too many, nor
// when the store is to be closed.
func TestMergesWaitForCalm(t *testing.T) {
	for name, c := range map[string]struct {
		bytes  int64 // that are written in each calmTime, the first in the middle of one
		times  int
		tables int
		many   time.Duration // when there are too many, and a word is said
		close  time.Duration
		want   bool
		after  time.Duration
	}{
		"calm":               {0, 0, calmTables + 1, 0, 0, true, calmTime},
		"little":             {busyBytes - 1, 5, calmTables + 1, 0, 0, true, calmTime},
		"much for some time": {busyBytes, 2, newTables, 0, 0, true, 3 * calmTime},
		"too many":           {busyBytes, 9, newTables + 1, 0, 0, true, 0},
		"become too many":    {busyBytes, 9, newTables, 5 * time.Millisecond, 0, true, 5 * time.Millisecond},
		"to be closed":       {busyBytes, 9, newTables, 0, 3 * calmTime / 2, false, 3 * calmTime / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newCompactor()
				began := time.Now()
				var writer sync.WaitGroup
				defer writer.Wait()
				writer.Go(func() {
					time.Sleep(calmTime / 2)
					for range c.times {
						m.total.Add(c.bytes)
						time.Sleep(calmTime)
					}
				})
				if c.many > 0 {
					time.AfterFunc(c.many, func() { m.many <- struct{}{} })
				}
				if c.close > 0 {
					time.AfterFunc(c.close, m.close)
				}
				got := m.await(func() int {
					if c.many > 0 && time.Since(began) >= c.many {
						return newTables + 1
					}
					return c.tables
				})
				if after := time.Since(began); got != c.want || after != c.after {
					t.Errorf("%t after %v, want %t after %v", got, after, c.want, c.after)
				}
			})
		})
	}
}

// A few new tables are merged though nothing more is written, and not when the store is
// closed before the moment is known to be calm.
func TestFewTablesAreMerged(t *testing.T) {
	for name, closed := range map[string]bool{"calm": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := openStore(t.TempDir(), slog.New(slog.DiscardHandler))
			must(t, err)
			defer db.Close()
			c, log := newCompactor(), badgerLog{slog.New(slog.DiscardHandler)}
			if !closed {
				c.calm = time.Millisecond
			}
			for round := uint64(1); fresh(db) <= calmTables; round++ {
				writeRound(t, db, round, 600)
			}
			before := fresh(db)
			c.look(db, log)
			if before > newTables {
				t.Fatalf("%d new tables already", before)
			}
			if !closed {
				c.aside.Wait()
			}
			c.close()
			if after := fresh(db); closed != (after >= before) { // a memtable may still come
				t.Errorf("%d new tables at first, %d then", before, after)
			}
		})
	}
}

// writeRound writes so many rows of 16 KiB as of event round.
func writeRound(t *testing.T, db *badger.DB, round uint64, rows int) (bytes int64) {
	t.Helper()
	value := binary.BigEndian.AppendUint64(make([]byte, 0, 16<<10), round)[:16<<10]
	changes := make([]change, rows)
	for i := range changes {
		changes[i] = change{fmt.Appendf(nil, "row %d", i), value, round}
	}
	must(t, writeRows(db, changes, nil))
	return int64(rows * len(value))
}

// However much is written, there are never many new tables, no write waits for ever,
// and what was written is there.
func TestTablesAreMerged(t *testing.T) {
	db, err := openStore(t.TempDir(), slog.New(slog.DiscardHandler))
	must(t, err)
	log := badgerLog{slog.New(slog.DiscardHandler)}
	c := newCompactor()
	const rows, rounds = 2000, 14
	most := 0
	for round := uint64(1); round <= rounds; round++ {
		bytes := writeRound(t, db, round, rows)
		db.SetDiscardTs(round - 1) // so that a merge has less to write than it reads
		most = max(most, fresh(db))
		c.wrote(bytes, db, log)
	}
	c.close()
	if n := fresh(db); n > newTables || most >= stallTables {
		t.Errorf("%d new tables at the end, %d at most", n, most)
	}
	if db.Levels()[len(db.Levels())-1].NumTables == 0 {
		t.Error("nothing was merged")
	}
	txn := db.NewTransactionAt(rounds, false)
	defer txn.Discard()
	for i := range rows {
		item, err := txn.Get(fmt.Appendf(nil, "row %d", i))
		must(t, err)
		must(t, item.Value(func(v []byte) error {
			if got := binary.BigEndian.Uint64(v); got != rounds {
				return fmt.Errorf("row %d is of round %d", i, got)
			}
			return nil
		}))
	}
	must(t, db.Close())
}
