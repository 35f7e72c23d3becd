package inbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func (r *rig) wantHoles(top uint64, holes ...inbox.Span) {
	r.t.Helper()
	got := r.ledger.Sequences()
	if len(got) != 1 || got[0].Top != top || !slices.Equal(got[0].Holes, holes) {
		r.t.Errorf("ledger has %+v, want top %d and holes %v", got, top, holes)
	}
}

// TestPR4_LostDelta: a file that follows a gap waits for the grace, then it is
// taken and the gap is on record; the next full report is an event like any.
func TestPR4_LostDelta(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.drop(1, online(true, 3))
		r.rest()
		r.drop(3, online(false, 1))
		rest(500 * time.Millisecond)
		if n := len(of[*event.PresenceDelta](r.events())); n != 0 {
			t.Fatal("the file behind the gap did not wait")
		}
		r.rest()
		if n := len(of[*event.PresenceDelta](r.events())); n != 1 {
			t.Fatal("the file behind the gap was not taken after the grace")
		}
		gaps := of[*event.StatusMessage](r.events())
		if len(gaps) != 1 || gaps[0].Component != "inbox" || gaps[0].Message != inbox.MessageGap ||
			gaps[0].Severity != event.Warning || !strings.Contains(gaps[0].Text, "number 2 is missing") {
			t.Errorf("gap messages %+v", gaps)
		}
		r.wantHoles(3, inbox.Span{From: 2, To: 2})
		r.drop(4, online(true, 2))
		r.rest()
		if n := len(of[*event.PresenceSnapshot](r.events())); n != 2 {
			t.Errorf("%d snapshots, want 2", n)
		}
		r.wantHoles(4, inbox.Span{From: 2, To: 2})
		if n := len(of[*event.StatusMessage](r.events())); n != 1 {
			t.Errorf("the gap was reported %d times", n)
		}
	})
}

// TestPR5_LateFile: what fills a hole is still an event, at once and for ever.
func TestPR5_LateFile(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.drop(1, online(true, 1))
		r.drop(5, online(true, 5))
		r.rest()
		r.wantHoles(5, inbox.Span{From: 2, To: 4})
		r.reopen()
		r.start()
		r.drop(3, online(true, 3))
		r.rest()
		r.wantHoles(5, inbox.Span{From: 2, To: 2}, inbox.Span{From: 4, To: 4})
		if n := len(of[*event.PresenceSnapshot](r.events())); n != 3 {
			t.Errorf("%d snapshots, want 3", n)
		}
		r.drop(2, online(true, 2))
		r.drop(4, online(true, 4))
		r.rest()
		r.wantHoles(5)
		if n := len(of[*event.StatusMessage](r.events())); n != 1 {
			t.Errorf("%d gap messages, want 1", n)
		}
	})
}

// TestOutOfOrder: files that come in the wrong order within the grace are taken
// in the right one, and nothing is reported.
func TestOutOfOrder(t *testing.T) {
	bubble(t, func(r *rig) {
		r.cfg.Every = 100 * time.Millisecond
		r.start()
		rest(time.Second)
		for _, n := range []uint64{4, 2, 3, 1} {
			r.drop(n, results(said(uint32(n), task.Running)))
			rest(200 * time.Millisecond)
		}
		r.rest()
		r.wantDevices(1, 2, 3, 4)
		if n := len(of[*event.StatusMessage](r.events())); n != 0 {
			t.Errorf("%d gap messages, want none", n)
		}
	})
}

// TestGapsStayApart: a gap of one sequence keeps no other one waiting, and each
// gap is told.
func TestGapsStayApart(t *testing.T) {
	bubble(t, func(r *rig) {
		r.inboxFolders()
		for _, n := range []uint64{2, 4, 5, 8} {
			r.drop(n, results(said(uint32(n), task.Running)))
		}
		r.drop(1, online(true, 1))
		r.start()
		rest(10 * time.Millisecond)
		if len(of[*event.PresenceSnapshot](r.events())) != 1 || len(r.devices()) != 0 {
			t.Error("presence had to wait for results")
		}
		r.rest()
		r.wantDevices(2, 4, 5, 8)
		if n := len(of[*event.StatusMessage](r.events())); n != 3 {
			t.Errorf("%d gap messages, want 3", n)
		}
	})
}

// TestBadFileLeavesAHole: the number of a bad file is a hole that nobody waits
// for; the right file fills it, whenever it comes.
func TestBadFileLeavesAHole(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.drop(1, results(said(1, task.Running)))
		r.rest()
		two := box.Name{Listener: "BGL", Epoch: 1, Number: 2, Kind: box.BTS}
		r.put(two.String(), []byte("rubbish"))
		r.drop(3, results(said(3, task.Running)))
		rest(time.Second)
		r.wantDevices(1, 3)
		r.wantHoles(3, inbox.Span{From: 2, To: 2})
		if n := len(of[*event.StatusMessage](r.events())); n != 0 {
			t.Errorf("%d gap messages, want none: the quarantine is on record", n)
		}
		r.drop(2, results(said(2, task.Running)))
		r.rest()
		r.wantDevices(1, 3, 2)
		r.wantHoles(3)
	})
}

func TestSameFileTwice(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		n := r.drop(1, results(said(1, task.Running)))
		r.rest()
		again := encode(t, n, results(said(1, task.Running)))
		r.put(n.String(), again)
		r.rest()
		r.reopen()
		r.start()
		r.put(n.String(), again)
		r.rest()
		r.idle()
		r.wantDevices(1)
		if n := len(r.events()); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
		if s := r.inbox.Stats(); s.Duplicates != 1 || s.Files != 0 {
			t.Errorf("stats %+v, want one duplicate", s)
		}
		// The same bytes under another number are not that file.
		m := n
		m.Number = 2
		r.put(m.String(), again)
		r.rest()
		if got := of[*event.FileQuarantined](r.events()); len(got) != 1 || !strings.Contains(got[0].Reason, n.String()) {
			t.Errorf("quarantined %+v", got)
		}
	})
}

func TestSameNumberOtherContents(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		n := r.drop(1, results(said(1, task.Running)))
		r.rest()
		r.drop(1, results(said(2, task.Running)))
		r.rest()
		r.idle()
		r.wantDevices(1)
		aside := of[*event.FileQuarantined](r.events())
		if len(aside) != 1 || aside[0].Name != n.String() || aside[0].Size == 0 || aside[0].Digest == [32]byte{} {
			t.Errorf("quarantined %+v", aside)
		}
		alarm := of[*event.StatusMessage](r.events())
		if len(alarm) != 1 || alarm[0].Message != inbox.MessageConflict || alarm[0].Severity != event.Error {
			t.Errorf("status messages %+v", alarm)
		}
	})
}

// TestRequeue: a file that was put aside because its listener was not known yet
// is taken when it is put back.
func TestRequeue(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		n := box.Name{Listener: "NEW", Epoch: 1, Number: 1, Kind: box.BTS}
		good := encode(t, n, results(said(1, task.Running)))
		r.put(n.String(), good)
		r.rest()
		bad, err := r.inbox.Bad()
		if err != nil || len(bad) != 1 || !strings.Contains(bad[0].Reason, "not known") {
			t.Fatalf("bad files %+v, %v", bad, err)
		}
		if err := r.inbox.Requeue(context.Background(), bad[0].Name); err != nil {
			t.Fatal(err)
		}
		r.rest()
		if n := len(of[*event.FileQuarantined](r.events())); n != 2 {
			t.Errorf("%d quarantine events, want one more: the listener is still not known", n)
		}
		r.halt()
		known = append(known, "NEW")
		defer func() { known = known[:len(known)-1] }()
		r.start()
		if err := r.inbox.Requeue(context.Background(), bad[0].Name); err != nil {
			t.Fatal(err)
		}
		r.rest()
		r.idle()
		r.wantDevices(1)
		if left := r.files("bad"); len(left) != 0 {
			t.Errorf("still in bad: %v", left)
		}
		for name, want := range map[string]error{"nothing": box.ErrName, n.String(): fs.ErrNotExist, "../" + n.String(): box.ErrName} {
			if err := r.inbox.Requeue(context.Background(), name); !errors.Is(err, want) {
				t.Errorf("requeue %s: %v, want %v", name, err, want)
			}
		}
	})
}

// TestArchiveIsKeptWithinItsBounds by days and by bytes.
func TestArchiveIsKeptWithinItsBounds(t *testing.T) {
	bubble(t, func(r *rig) {
		r.cfg.KeepAge, r.cfg.KeepBytes, r.cfg.Every = 48*time.Hour, 40*4096, 5*time.Minute
		r.start()
		r.drop(1, results(said(1, task.Running)))
		rest(time.Hour)
		if n := len(r.files("archive")); n != 1 {
			t.Fatalf("%d files in the archive, want 1", n)
		}
		rest(71 * time.Hour)
		if n := len(r.files("archive")); n != 0 {
			t.Errorf("%d files in the archive after three days, want none", n)
		}
		for n := range uint64(100) {
			r.drop(n+2, results(said(1, task.Running)))
		}
		rest(2 * time.Hour)
		got := r.files("archive")
		if len(got) > 40 || len(got) < 30 {
			t.Errorf("%d files of a block each in the archive, want 36 to 40", len(got))
		}
	})
}

// TestUnwiredLedger: an inbox whose ledger is not among the journal's folds must
// not go on, it would take everything twice.
func TestUnwiredLedger(t *testing.T) {
	bubble(t, func(r *rig) {
		r.ledger = inbox.NewLedger()
		r.start()
		r.drop(1, results(said(1, task.Running)))
		r.rest()
		err := r.stop()
		if err == nil || !strings.Contains(err.Error(), "folds") {
			t.Errorf("run: %v", err)
		}
		r.stop = nil
		if n := len(r.files("work")); n != 1 {
			t.Errorf("%d files in work, want 1", n)
		}
	})
}

// TestClaimOrder is by kind, then by number.
func TestClaimOrder(t *testing.T) {
	bubble(t, func(r *rig) {
		r.inboxFolders()
		r.drop(1, &box.Discovery{Records: []box.DiscoveryRecord{{Device: 1, At: at(0)}}})
		r.drop(1, &box.Status{Records: []box.StatusRecord{{Type: box.Stopped, At: at(0)}}})
		for n := uint64(600); n > 0; n-- {
			r.drop(n, online(false, 1))
		}
		r.drop(1, results(said(1, task.Running)))
		r.start()
		r.rest()
		r.idle()
		events := r.events()
		if len(events) != 603 || events[0].Source.File != event.BTS || events[601].Source.File != event.SVF || events[602].Source.File != event.DDR {
			t.Fatalf("%d events in the wrong order", len(events))
		}
		for i, e := range events[1:601] {
			if e.Source.Number != uint64(i+1) {
				t.Fatalf("event %d is file %d, want %d", i+2, e.Source.Number, i+1)
			}
		}
	})
}

// TestBadRecords: what a device did not say is put aside alone.
func TestBadRecords(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		forged := said(2, task.Succeeded)
		forged.Detail = "changed on the way"
		unknown := said(2_000_000, task.Running)
		cancelled := said(3, task.Cancelled)
		noDevice := said(0, task.Running)
		n := r.drop(1, results(said(1, task.Running), forged, noDevice, unknown, cancelled, said(4, task.Running)))
		r.rest()
		r.idle()
		r.wantDevices(1, 4)
		var got []string
		for _, p := range of[*event.RecordQuarantined](r.events()) {
			if p.File != n.String() || len(p.Raw) == 0 || p.Reason == "" {
				t.Errorf("record quarantined: %+v", p)
			}
			got = append(got, fmt.Sprint(p.Index))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != "1 2 3 4" {
			t.Errorf("records %v were put aside, want 1 2 3 4", got)
		}
		if s := r.inbox.Stats(); s.BadRecords != 4 || s.Files != 1 || s.BadFiles != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestTooManyBadRecords make the file bad as a whole, so that it can be put back.
func TestTooManyBadRecords(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		rows := []box.ResultRow{said(1, task.Running)}
		for range box.MaxBad + 1 {
			rows = append(rows, said(2_000_000, task.Running))
		}
		r.drop(1, results(rows...))
		r.rest()
		r.wantDevices()
		if got := of[*event.FileQuarantined](r.events()); len(got) != 1 || !strings.Contains(got[0].Reason, "more than 1000") {
			t.Errorf("quarantined %+v", got)
		}
	})
}

// TestForgedRecordsTakeNothingWithThem: one device can send as many forged results
// as it likes; what others said in the same file, and were told is durable, counts.
func TestForgedRecordsTakeNothingWithThem(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		rows := []box.ResultRow{said(1, task.Running)}
		for range 2 * box.MaxBad {
			forged := said(3, task.Running)
			forged.MAC[0] ^= 1
			rows = append(rows, forged)
		}
		r.drop(1, results(append(rows, said(2, task.Running))...))
		r.rest()
		r.wantDevices(1, 2)
		got := of[*event.RecordQuarantined](r.events())
		if len(got) != box.MaxBad || !strings.Contains(got[len(got)-1].Reason, fmt.Sprintf("; %d more records of the file are forged", box.MaxBad)) {
			t.Errorf("%d records were put aside, the last one because %q", len(got), got[len(got)-1].Reason)
		}
		if s := r.inbox.Stats(); s.BadRecords != 2*box.MaxBad || s.Files != 1 || s.BadFiles != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestLongRecords: rows and facts that do not fit one event become several, and
// none is lost.
func TestLongRecords(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		long := strings.Repeat("d", task.MaxDetail)
		var rows []box.ResultRow
		for i := range 200 {
			row := box.ResultRow{Result: task.Result{Operation: operation, Device: uint32(i + 1), Attempt: 1, State: task.Failed, At: at(0), Detail: long}}
			key, _ := resultKey(row.Device)
			row.MAC = row.Result.MAC(key)
			rows = append(rows, row)
		}
		r.drop(1, results(rows...))
		var facts []box.Fact
		for i := range box.MaxFacts {
			facts = append(facts, box.Fact{Name: fmt.Sprint("fact ", i), Value: long})
		}
		r.drop(1, &box.Discovery{Records: []box.DiscoveryRecord{{Device: 1, At: at(0), Facts: facts}, {Device: 2, At: at(0)}}})
		r.rest()
		r.idle()
		if got := r.devices(); len(got) != 200 {
			t.Errorf("%d rows, want 200", len(got))
		}
		n := 0
		for _, p := range of[*event.DeviceDiscovered](r.events()) {
			n += len(p.Facts)
		}
		if n != box.MaxFacts {
			t.Errorf("%d facts, want %d", n, box.MaxFacts)
		}
	})
}

// TestUnmovable: an entry that cannot be claimed keeps nothing else waiting.
func TestUnmovable(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.rest()
		// A folder cannot be moved over a folder with something in it.
		name := "BGL-00000001-00000000000000000001.BTS"
		for _, dir := range []string{name, "work/" + name + "/x"} {
			if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		r.drop(1, online(true, 1))
		r.rest()
		if n := len(of[*event.PresenceSnapshot](r.events())); n != 1 {
			t.Errorf("%d snapshots, want 1", n)
		}
		if _, err := os.Stat(filepath.Join(r.dir, name)); err != nil {
			t.Errorf("the entry was moved: %v", err)
		}
	})
}

func TestNewRefusesHalfAConfig(t *testing.T) {
	if _, err := inbox.New(inbox.Config{Dir: t.TempDir(), Site: site}); err == nil {
		t.Error("an inbox without a journal")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 3), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := box.Open(file); err == nil {
		t.Error("a box that is a file")
	}
}
