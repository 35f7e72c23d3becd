package inbox_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// TestConflictWithHalfAFile: while only a part of a file is in the journal,
// another file cannot take its number.
func TestConflictWithHalfAFile(t *testing.T) {
	bubble(t, func(r *rig) {
		r.inboxFolders()
		rows := make([]box.ResultRow, 12_000)
		for i := range rows {
			rows[i] = said(uint32(i+1), task.Succeeded)
		}
		r.journal.Inject(journaltest.NoFault, journaltest.Lost)
		n := r.drop(1, results(rows...))
		r.start()
		r.rest()
		half := len(r.devices())
		r.reopen()
		if err := os.Rename(filepath.Join(r.dir, "work", n.String()), filepath.Join(r.dir, "tmp", "away")); err != nil {
			t.Fatal(err)
		}
		r.drop(1, results(said(1, task.Failed)))
		r.start()
		r.rest()
		r.idle()
		if got := len(r.devices()); got != half || half == 0 || half == len(rows) {
			t.Errorf("%d rows in the journal, %d before", got, half)
		}
		if got := of[*event.FileQuarantined](r.events()); len(got) != 1 {
			t.Errorf("quarantined %+v", got)
		}
		if err := os.Rename(filepath.Join(r.dir, "tmp", "away"), filepath.Join(r.dir, n.String())); err != nil {
			t.Fatal(err)
		}
		r.rest()
		if got := len(r.devices()); got != len(rows) {
			t.Errorf("%d rows in the journal, want %d once the right file is back", got, len(rows))
		}
	})
}

// TestEachWaitsItsGrace: a file that comes while another one waits behind a gap
// has a grace of its own.
func TestEachWaitsItsGrace(t *testing.T) {
	bubble(t, func(r *rig) {
		r.cfg.Every = 100 * time.Millisecond
		r.start()
		r.drop(1, results(said(1, task.Running)))
		rest(time.Second)
		r.drop(3, results(said(3, task.Running)))
		rest(800 * time.Millisecond)
		r.drop(5, results(said(5, task.Running)))
		rest(600 * time.Millisecond)
		r.wantDevices(1, 3)
		r.drop(4, results(said(4, task.Running)))
		r.rest()
		r.wantDevices(1, 3, 4, 5)
		if n := len(of[*event.StatusMessage](r.events())); n != 1 {
			t.Errorf("%d gap messages, want 1", n)
		}
	})
}

// TestVanishedFileIsForgotten: what waited behind a gap and is gone does not
// shorten the wait of the next.
func TestVanishedFileIsForgotten(t *testing.T) {
	bubble(t, func(r *rig) {
		r.cfg.Every = 100 * time.Millisecond
		r.start()
		r.drop(1, results(said(1, task.Running)))
		rest(time.Second)
		n := r.drop(5, results(said(5, task.Running)))
		rest(300 * time.Millisecond)
		if err := os.Remove(filepath.Join(r.dir, n.String())); err != nil {
			t.Fatal(err)
		}
		rest(2 * time.Second)
		r.drop(5, results(said(5, task.Running)))
		rest(500 * time.Millisecond)
		r.wantDevices(1)
		r.rest()
		r.wantDevices(1, 5)
	})
}

// TestGapBeforeABadFile: a bad file far ahead proves nothing, the gap before it
// is told with the next good one.
func TestGapBeforeABadFile(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.drop(1, results(said(1, task.Running)))
		r.rest()
		three := box.Name{Listener: "BGL", Epoch: 1, Number: 3, Kind: box.BTS}
		r.put(three.String(), []byte("rubbish"))
		r.drop(4, results(said(4, task.Running)))
		r.rest()
		r.wantDevices(1, 4)
		got := of[*event.StatusMessage](r.events())
		if len(got) != 1 || !strings.Contains(got[0].Text, "numbers 2 to 3 are missing") {
			t.Errorf("gap messages %+v", got)
		}
		r.wantHoles(4, inbox.Span{From: 2, To: 3})
	})
}

// TestAFileIsOnePage if it fits one, whatever came before it.
func TestAFileIsOnePage(t *testing.T) {
	bubble(t, func(r *rig) {
		r.inboxFolders()
		for n := range uint64(5) {
			rows := make([]box.ResultRow, 3600) // two events, somewhat more than half a page
			for i := range rows {
				rows[i] = said(uint32(i+1), task.Succeeded)
			}
			r.drop(n+1, results(rows...))
		}
		r.start()
		r.rest()
		rd, err := r.journal.Read(context.Background(), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Close()
		for files := 0; ; {
			p, err := rd.Next(context.Background())
			if err != nil {
				if files != 5 {
					t.Errorf("%d files, want 5", files)
				}
				return
			}
			for i := range p.Records {
				e, err := p.Records[i].Event()
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 && e.Source.Part != 1 {
					t.Errorf("page begins with part %d of file %d", e.Source.Part, e.Source.Number)
				}
				if e.Source.Part == e.Source.Of {
					files++
				}
			}
		}
	})
}
