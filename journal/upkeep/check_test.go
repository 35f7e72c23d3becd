package upkeep_test

import (
	"crypto/ed25519"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

type (
	ed25519Public    = ed25519.PublicKey
	journaltestFault = journaltest.Fault
)

const (
	noFault         = journaltest.NoFault
	notStored       = journaltest.NotStored
	storedButFailed = journaltest.StoredButFailed
	lost            = journaltest.Lost
	lostButStored   = journaltest.LostButStored
)

// daily are settings with nothing but checks.
var daily = upkeep.Settings{CheckpointEvery: 10000 * time.Hour}

func checks(r *rig) (all []*event.Event) {
	return slices.DeleteFunc(r.events(), func(e *event.Event) bool { return e.Kind() != event.KindJournalChecked })
}

// Checks come once a day, not all at the same time of day, and say what they
// found.
func TestChecksEveryDay(t *testing.T) {
	run(t, daily, func(r *rig) {
		r.happen()
		r.start()
		pass(10 * 24 * time.Hour)
		all := checks(r)
		if len(all) < 9 || len(all) > 11 {
			t.Fatalf("%d checks in ten days", len(all))
		}
		for i, e := range all {
			p := e.Payload.(*event.JournalChecked)
			if !p.Good || p.Reason != "" || p.Events >= e.Number || p.Head == [32]byte{} || p.Root == [32]byte{} {
				t.Errorf("event %d: %+v", e.Number, p)
			}
			if i == 0 {
				continue
			}
			if d := e.Accepted.Sub(all[i-1].Accepted); d < 24*time.Hour || d > 27*time.Hour {
				t.Errorf("check %d comes %s after the one before", i, d)
			}
		}
		if s := r.upkeep.Stats(); s.Checks != len(all) || s.Damaged || !s.LastCheck.Equal(all[len(all)-1].Accepted) {
			t.Errorf("figures %+v", s)
		}
		if err := r.upkeep.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// A site that is started every hour is checked every day all the same, and no
// more often.
func TestChecksAcrossRestarts(t *testing.T) {
	run(t, daily, func(r *rig) {
		r.happen()
		r.start()
		for range 72 {
			pass(time.Hour)
			r.restart()
		}
		if n := len(checks(r)); n < 2 || n > 4 {
			t.Errorf("%d checks in three days", n)
		}
	})
}

// Damage is said at once, once, and until it is mended.
func TestDamage(t *testing.T) {
	run(t, daily, func(r *rig) {
		r.happen()
		r.start()
		pass(10 * time.Minute)
		r.store.mu.Lock()
		r.store.damage = &journal.DamageError{Event: 1, Page: 1, Reason: "a bit flipped"}
		r.store.mu.Unlock()
		close(r.store.damaged)
		pass(time.Minute)
		if n := len(checks(r)); n != 2 {
			t.Errorf("%d checks right after damage was found, want one more than one", n)
		}
		pass(48 * time.Hour)
		if err := r.upkeep.Ready(); err == nil || !strings.Contains(err.Error(), "a bit flipped") {
			t.Errorf("ready: %v", err)
		}
		if s := r.upkeep.Stats(); !s.Damaged {
			t.Errorf("figures %+v", s)
		}
		n := len(checks(r))
		if n < 20 {
			t.Errorf("%d checks, though the last was bad", n)
		}
		r.restart()
		if err := r.upkeep.Ready(); err == nil {
			t.Error("after a new start all is well")
		}
		r.store.mu.Lock()
		r.store.damage = nil
		r.store.mu.Unlock()
		pass(2 * time.Hour)
		if err := r.upkeep.Ready(); err != nil {
			t.Error(err)
		}
		messages := slices.DeleteFunc(r.kinds(), func(k string) bool { return !strings.HasPrefix(k, "message ") })
		if diff := cmp.Diff([]string{"message 1001", "message 1002"}, messages); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// A history that is whole, and not the one that was signed, is found by reading
// all of it.
func TestAnotherHistory(t *testing.T) {
	run(t, daily, func(r *rig) {
		for range 20 {
			r.happen()
		}
		r.start()
		pass(time.Minute)
		other, err := upkeep.New(upkeep.Config{Journal: r.journal, Store: r.store, Checkpoints: otherRoot{r.tree}, Notes: r.notes, Settings: daily, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		outcome, err := other.Check(r.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if outcome.Good || outcome.Events != 21 || !strings.Contains(outcome.Reason, "another root") {
			t.Errorf("outcome %+v", outcome)
		}
	})
}

// otherRoot is a tree whose checkpoint is of another history.
type otherRoot struct{ *tree.Tree }

func (o otherRoot) Checkpoint() ([]byte, tree.Checkpoint) {
	text, c := o.Tree.Checkpoint()
	c.Root[0] ^= 1
	return text, c
}

// A check that could not be done is no outcome, and is tried again.
func TestCheckThatCannotBeDone(t *testing.T) {
	run(t, daily, func(r *rig) {
		r.happen()
		r.store.damage = journal.ErrUnavailable
		r.start()
		if _, err := r.upkeep.Check(r.t.Context()); !errors.Is(err, journal.ErrUnavailable) {
			t.Error(err)
		}
		pass(20 * time.Minute)
		if n := len(checks(r)); n != 0 {
			t.Errorf("%d outcomes", n)
		}
		r.store.mu.Lock()
		r.store.damage = nil
		r.store.mu.Unlock()
		pass(2 * time.Hour)
		if n := len(checks(r)); n != 1 {
			t.Errorf("%d outcomes an hour later", n)
		}
	})
}

// That nothing can be opened at the moment says nothing of the disk.
func TestCheckWithoutFiles(t *testing.T) {
	run(t, daily, func(r *rig) {
		r.happen()
		r.store.damage = &fs.PathError{Op: "open", Path: "1.blk", Err: syscall.EMFILE}
		r.start()
		if _, err := r.upkeep.Check(r.t.Context()); !errors.Is(err, syscall.EMFILE) {
			t.Error(err)
		}
		if n := len(checks(r)); n != 0 || r.upkeep.Ready() != nil {
			t.Errorf("%d outcomes, %v", n, r.upkeep.Ready())
		}
	})
}

// A check takes its time, and ends with the upkeep.
func TestCheckIsSlow(t *testing.T) {
	set := daily
	set.CheckRate = 1 << 20
	run(t, set, func(r *rig) {
		for range 4 {
			big := &event.Event{Payload: &event.SiteMessage{Component: "c", Severity: event.Info, Text: strings.Repeat("x", 4000)}}
			if err := r.journal.Append(r.t.Context(), big); err != nil {
				t.Fatal(err)
			}
		}
		r.start()
		begun := time.Now()
		if _, err := r.upkeep.Check(r.t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < time.Second {
			t.Errorf("a megabyte in %s", took)
		}
	})
}
