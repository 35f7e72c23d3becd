package inbox_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A tap is a fold that hands on the number of each file, and 0 for one that is
// put aside.
type tap chan uint64

func (c tap) Apply(e *event.Event) {
	switch {
	case e.Source != nil:
		c <- e.Source.Number
	case e.Kind() == event.KindFileQuarantined:
		c <- 0
	}
}

func (c tap) want(t *testing.T, n uint64) {
	t.Helper()
	select {
	case got := <-c:
		if got != n {
			t.Fatalf("file %d came where %d is next", got, n)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("file %d was not taken", n)
	}
}

// TestWatching takes what a real spool drops, in real time, by the events of the
// file system alone: the next scan would be in an hour.
func TestWatching(t *testing.T) {
	const files = 200
	dir, ledger, seen := t.TempDir(), inbox.NewLedger(), make(tap, files)
	j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{ledger, seen}})
	defer j.Close()
	in, err := inbox.New(inbox.Config{Dir: dir, Site: site, Journal: j, Ledger: ledger, ListenerKey: listenerKey, ResultKey: resultKey,
		Every: time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	spool, err := box.OpenSpool(dir, box.SpoolConfig{Site: site, Listener: "BGL", Epoch: 1, Key: private})
	if err != nil {
		t.Fatal(err)
	}
	for want := uint64(1); want <= files; want++ {
		if _, err := spool.Drop(results(said(1, task.Running)), at(0), at(1)); err != nil {
			t.Fatal(err)
		}
		if want%50 != 0 {
			continue // let some come together
		}
		for n := want - 49; n <= want; n++ {
			seen.want(t, n)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "stranger"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	seen.want(t, 0)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
