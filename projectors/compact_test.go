package projectors

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
)

// However much is written, there are never many new tables, no write waits for ever,
// and what was written is there.
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
			if got := binary.BigEndian.Uint64(v); got != rounds-1 {
				return fmt.Errorf("row %d is of round %d", i, got)
			}
			return nil
		}))
	}
	must(t, db.Close())
}
