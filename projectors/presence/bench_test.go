package presence_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const fleet = 25_000

// full is a full report of the fleet, in parts, in which every stride-th device
// signed in anew since the report before.
func full(number uint64, stride int) (parts []*event.Event) {
	entries := make([]event.PresenceEntry, fleet)
	for i := range entries {
		since := at
		if number > 1 && i%stride == 0 {
			since = at.Add(time.Duration(number) * time.Minute)
		}
		entries[i] = event.PresenceEntry{Device: uint32(i + 1), Online: true, Carrier: event.TCP, Since: since}
	}
	const size = event.MaxEntries
	of := uint16((fleet + size - 1) / size)
	for part := uint16(1); part <= of; part++ {
		n := min(size, len(entries))
		parts = append(parts, &event.Event{Observed: at, Source: bos("LSN", 1, number, part, of),
			Payload: &event.PresenceSnapshot{Total: fleet, Entries: entries[:n]}})
		entries = entries[n:]
	}
	return parts
}

func benchmark(b *testing.B, stride int) {
	j := projectorstest.NewJournal(b)
	for n := range b.N {
		projectorstest.Append(b, j, 8, full(uint64(n+1), stride)...)
	}
	view, reader := presence.New()
	b.ResetTimer()
	v, err := projectors.Open(projectors.Options{Dir: b.TempDir(), Journal: j, History: projectorstest.History}, view)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	if err := v.Wait(ctx, j.Head().Event); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if online, _ := reader.Counts(); online != fleet {
		b.Errorf("%d devices online, want %d", online, fleet)
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	if err := v.Close(); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(fleet)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkAllChanged folds full reports of 25,000 devices that all changed.
func BenchmarkAllChanged(b *testing.B) { benchmark(b, 1) }

// BenchmarkFewChanged folds full reports of 25,000 devices of which 2 % changed.
func BenchmarkFewChanged(b *testing.B) { benchmark(b, 50) }

// BenchmarkBareBadger writes 25,000 rows of the same size in one transaction, with
// the same options: what the store alone can do.
func BenchmarkBareBadger(b *testing.B) {
	opt := badger.DefaultOptions(b.TempDir()).WithLogger(nil).WithSyncWrites(true).WithMemTableSize(32 << 20).WithNumMemtables(2).
		WithNumCompactors(2).WithBlockCacheSize(16 << 20).WithValueLogFileSize(64 << 20).WithDetectConflicts(false).
		WithMetricsEnabled(false).WithChecksumVerificationMode(options.OnTableRead)
	db, err := badger.Open(opt)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n := range b.N {
		txn := db.NewTransaction(true)
		for i := range fleet {
			value := make([]byte, 32)
			binary.BigEndian.PutUint64(value, uint64(n))
			if err := txn.Set(binary.BigEndian.AppendUint32([]byte{'d'}, uint32(i+1)), value); err != nil {
				b.Fatal(err)
			}
		}
		if err := txn.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := db.Close(); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(fleet)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
