package projectors

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// While much is written tables wait to be merged, but not when there are very many, nor
// when the store is to be closed.
func TestMergesWaitForCalm(t *testing.T) {
	for name, c := range map[string]struct {
		bytes  int64 // that are written in each busyTime
		busy   int   // how often
		tables int
		close  time.Duration
		want   bool
		after  time.Duration
	}{
		"calm":               {0, 0, newTables + 1, 0, true, busyTime},
		"little":             {busyBytes - 1, 5, newTables + 1, 0, true, busyTime},
		"much for some time": {busyBytes, 2, 1, 0, true, 3 * busyTime},
		"very many":          {busyBytes, 9, pressingTables, 0, true, 0},
		"becomes very many":  {busyBytes, 9, pressingTables - 2, 0, true, 2 * busyTime}, // one more a time
		"to be closed":       {busyBytes, 9, 1, 3 * time.Second, false, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := compactor{closing: make(chan struct{})}
				began, tables := time.Now(), c.tables
				var writer sync.WaitGroup
				defer writer.Wait()
				writer.Go(func() {
					time.Sleep(busyTime / 2)
					for range c.busy {
						m.total.Add(c.bytes)
						time.Sleep(busyTime)
					}
				})
				if c.close > 0 {
					time.AfterFunc(c.close, func() { close(m.closing) })
				}
				got := m.await(func() int { tables++; return tables - 1 })
				if after := time.Since(began); got != c.want || after != c.after {
					t.Errorf("%t after %v, want %t after %v", got, after, c.want, c.after)
				}
			})
		})
	}
}

// However much is written, there are never more new tables than writes wait at, none waits
// for ever, and what was written is there.
func TestTablesAreMerged(t *testing.T) {
	db, err := openStore(t.TempDir(), slog.New(slog.DiscardHandler))
	must(t, err)
	log := badgerLog{slog.New(slog.DiscardHandler)}
	c := compactor{closing: make(chan struct{})}
	const rows, rounds = 2000, 14
	value := make([]byte, 16<<10)
	most := 0
	for round := range uint64(rounds) {
		changes := make([]change, rows)
		for i := range changes {
			changes[i] = change{fmt.Appendf(nil, "row %d", i), value, round + 1}
		}
		binary.BigEndian.PutUint64(value, round)
		must(t, writeRows(db, changes, nil))
		db.SetDiscardTs(round) // so that a merge has less to write than it reads
		most = max(most, fresh(db))
		c.wrote(rows*int64(len(value)), db, log)
	}
	c.close()
	if n := fresh(db); n >= pressingTables || most > stallTables {
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
			if got := binary.BigEndian.Uint64(v); got != rounds-1 {
				return fmt.Errorf("row %d is of round %d", i, got)
			}
			return nil
		}))
	}
	must(t, db.Close())
}
