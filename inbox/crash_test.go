package inbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// devices are the devices of all result rows in the journal, in its order.
func (r *rig) devices() (all []uint32) {
	for _, p := range of[*event.ResultsReported](r.events()) {
		for _, row := range p.Rows {
			all = append(all, row.Device)
		}
	}
	return all
}

func (r *rig) wantDevices(want ...uint32) {
	r.t.Helper()
	if got := r.devices(); !slices.Equal(got, want) {
		r.t.Errorf("the journal has results of devices %v, want %v", got, want)
	}
}

// TestPL1_FaultsOfTheJournal appends three files while one or two appends go
// wrong in every way there is, with and without a crash of the site behind them.
func TestPL1_FaultsOfTheJournal(t *testing.T) {
	faults := map[string]journaltest.Fault{"written": journaltest.NoFault, "not stored": journaltest.NotStored,
		"stored but failed": journaltest.StoredButFailed, "lost": journaltest.Lost, "lost but stored": journaltest.LostButStored}
	for first, one := range faults {
		for second, two := range faults {
			t.Run(first+", then "+second, func(t *testing.T) {
				bubble(t, func(r *rig) {
					r.inboxFolders()
					r.journal.Inject(one, two)
					r.drop(1, results(said(1, task.Running)))
					r.drop(2, results(said(2, task.Running)))
					r.start()
					r.rest()
					r.drop(3, results(said(3, task.Running)))
					r.rest()
					r.reopen()
					r.start()
					r.rest()
					r.idle()
					r.wantDevices(1, 2, 3)
					if n := len(r.files("archive")); n != 3 {
						t.Errorf("%d files in the archive, want 3", n)
					}
				})
			})
		}
	}
}

// TestPL1_CrashBetweenSteps begins in every state that a crash can leave behind.
func TestPL1_CrashBetweenSteps(t *testing.T) {
	claim := func(r *rig, n box.Name) {
		if err := os.Rename(filepath.Join(r.dir, n.String()), filepath.Join(r.dir, "work", n.String())); err != nil {
			r.t.Fatal(err)
		}
	}
	unarchive := func(r *rig, n box.Name, to string) {
		day := time.Now().UTC().Format("20060102")
		if err := os.Rename(filepath.Join(r.dir, "archive", day, n.String()), filepath.Join(r.dir, to, n.String())); err != nil {
			r.t.Fatal(err)
		}
	}
	run := func(r *rig) { r.start(); r.rest(); r.reopen() }
	steps := map[string]func(r *rig, n box.Name){
		"before the claim":            func(*rig, box.Name) {},
		"behind the claim":            claim,
		"behind the append":           func(r *rig, n box.Name) { run(r); unarchive(r, n, "work") },
		"behind an append, unclaimed": func(r *rig, n box.Name) { run(r); unarchive(r, n, "") },
		"behind the archive":          func(r *rig, _ box.Name) { run(r) },
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.inboxFolders()
				step(r, r.drop(1, results(said(1, task.Running))))
				r.drop(2, results(said(2, task.Running)))
				r.start()
				r.rest()
				r.idle()
				r.wantDevices(1, 2)
				if n := len(r.files("archive")); n != 2 {
					t.Errorf("%d files in the archive, want 2", n)
				}
			})
		})
	}
}

// TestPL1_CrashInsideAFile stops between the pages of a file that needs several:
// the events that are stored are not stored again.
func TestPL1_CrashInsideAFile(t *testing.T) {
	for _, fault := range []journaltest.Fault{journaltest.NotStored, journaltest.Lost, journaltest.LostButStored} {
		t.Run(fmt.Sprint("fault ", int(fault)), func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.inboxFolders()
				const devices = 12_000 // 5 events, 3 pages
				rows := make([]box.ResultRow, devices)
				for i := range rows {
					rows[i] = said(uint32(i+1), task.Succeeded)
				}
				r.journal.Inject(journaltest.NoFault, fault)
				r.drop(1, results(rows...))
				r.start()
				r.rest()
				r.reopen()
				r.start()
				r.rest()
				r.idle()
				seen := r.devices()
				if len(seen) != devices || !slices.IsSorted(seen) || seen[0] != 1 || seen[devices-1] != devices {
					t.Errorf("%d rows in the journal, want %d in order, each once", len(seen), devices)
				}
				if got := r.ledger.Sequences(); len(got) != 1 || got[0].Top != 1 || len(got[0].Holes) != 0 {
					t.Errorf("ledger has %+v", got)
				}
			})
		})
	}
}

// TestPL1_CrashOfAQuarantine: what was said to be put aside is not said again
// after a crash before it was moved, and is said again when it comes again.
func TestPL1_CrashOfAQuarantine(t *testing.T) {
	bubble(t, func(r *rig) {
		r.inboxFolders()
		name := "BGL-00000001-00000000000000000001.BTS"
		r.put(name, []byte("rubbish"))
		r.start()
		r.rest()
		r.reopen()
		r.put("work/"+name, []byte("rubbish")) // it had not been moved yet
		r.start()
		r.rest()
		r.idle()
		if n := len(of[*event.FileQuarantined](r.events())); n != 1 {
			t.Errorf("%d quarantine events, want 1", n)
		}
		r.put(name, []byte("rubbish"))
		r.rest()
		if n := len(of[*event.FileQuarantined](r.events())); n != 2 {
			t.Errorf("%d quarantine events after it came again, want 2", n)
		}
	})
}

// TestStallsWhileTheJournalIsAway: nothing more is claimed than one batch, and
// all of it is taken when the journal is back.
func TestStallsWhileTheJournalIsAway(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		for range 20 {
			r.journal.Inject(journaltest.NotStored)
		}
		r.drop(1, results(said(1, task.Running)))
		rest(3 * time.Second)
		r.drop(2, results(said(2, task.Running)))
		rest(3 * time.Second)
		s := r.inbox.Stats()
		if s.Stalled.IsZero() || s.Files != 0 || s.Waiting != 1 || s.Oldest.IsZero() {
			t.Errorf("stats are %+v, want a stall", s)
		}
		if _, err := os.Stat(filepath.Join(r.dir, "BGL-00000001-00000000000000000002.BTS")); err != nil {
			t.Errorf("the second file was claimed during the stall: %v", err)
		}
		rest(5 * time.Minute)
		r.idle()
		r.wantDevices(1, 2)
		if s := r.inbox.Stats(); !s.Stalled.IsZero() || s.Files != 2 || s.Waiting != 0 || !s.Oldest.IsZero() {
			t.Errorf("stats are %+v, want two files and no stall", s)
		}
	})
}
