package upkeep_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

// never are settings with nothing on a schedule but checkpoints.
var never = upkeep.Settings{CheckEvery: -1}

// A journal in which nothing happens does not grow: an event for a checkpoint
// does not cause the next.
func TestQuietJournalDoesNotGrow(t *testing.T) {
	run(t, never, func(r *rig) {
		r.start()
		pass(24 * time.Hour)
		if got := r.kinds(); len(got) > 0 {
			t.Fatalf("an empty journal got %v", got)
		}
		r.happen()
		pass(72 * time.Hour)
		if got := r.kinds(); !slices.Equal(got, []string{"checkpoint"}) {
			t.Errorf("one event, and then %v", got)
		}
		r.restart()
		pass(72 * time.Hour)
		r.happen()
		pass(72 * time.Hour)
		if got := r.kinds(); !slices.Equal(got, []string{"checkpoint", "checkpoint"}) {
			t.Errorf("a second event, and then %v", got)
		}
	})
}

// Checkpoints come once an hour at the most, are good, and cover what came before.
func TestCheckpointsEveryHour(t *testing.T) {
	run(t, never, func(r *rig) {
		r.start()
		for range 3 * 60 {
			r.happen()
			pass(time.Minute)
		}
		var last time.Time
		var n int
		for _, e := range r.events() {
			p, ok := e.Payload.(*event.CheckpointSigned)
			if !ok {
				t.Fatalf("event %s", e.Kind())
			}
			if n > 0 && e.Accepted.Sub(last) < time.Hour {
				t.Errorf("event %d comes %s after the one before", e.Number, e.Accepted.Sub(last))
			}
			c, err := tree.OpenCheckpoint(p.Text, r.key.Public().(ed25519Public), "bugle.P01/00")
			if err != nil || c.Events != p.Events || c.Events >= e.Number {
				t.Errorf("event %d: checkpoint of %d events, said to be of %d: %v", e.Number, c.Events, p.Events, err)
			}
			last = e.Accepted
			n++
		}
		if n < 3 || n > 4 {
			t.Errorf("%d checkpoints in three hours", n)
		}
		if s := r.upkeep.Stats(); s.Checkpoints != n {
			t.Errorf("%d are counted, %d are there", s.Checkpoints, n)
		}
	})
}

// A closed generation takes its steps in order; a checkpoint follows at once.
func TestGenerations(t *testing.T) {
	for name, c := range map[string]struct {
		keep int
		want []string
	}{
		"removed at once": {0, []string{"sealed 1", "archived 1", "removed 1", "sealed 2", "archived 2", "removed 2"}},
		"newest kept":     {1, []string{"sealed 1", "archived 1", "sealed 2", "archived 2", "removed 1"}},
		"all kept":        {9, []string{"sealed 1", "archived 1", "sealed 2", "archived 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			set := never
			set.KeepLive = c.keep
			run(t, set, func(r *rig) {
				r.start()
				for range 2 {
					r.happen()
					r.seal()
					pass(time.Minute)
				}
				got := slices.DeleteFunc(r.kinds(), func(k string) bool { return k == "checkpoint" })
				slices.Sort(c.want)
				sorted := slices.Sorted(slices.Values(got))
				if diff := cmp.Diff(c.want, sorted); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				inOrder(t, got)
				checkpointFollows(t, r)
				if s := r.upkeep.Stats(); s.Generations != 3 || s.Sealed != 2 || s.Archived != 2 || s.Waiting != 0 {
					t.Errorf("figures %+v", s)
				}
			})
		})
	}
}

// inOrder checks that no step of a generation comes before the one before.
func inOrder(t *testing.T, kinds []string) {
	t.Helper()
	at := map[string]int{}
	for i, k := range kinds {
		if _, ok := at[k]; ok {
			t.Errorf("%s twice in %v", k, kinds)
		}
		at[k] = i
	}
	for _, k := range kinds {
		word, number, _ := strings.Cut(k, " ")
		before := map[string]string{"archived": "sealed", "removed": "archived"}[word]
		if before == "" {
			continue
		}
		if i, ok := at[before+" "+number]; !ok || i > at[k] {
			t.Errorf("%s without %s before it in %v", k, before, kinds)
		}
	}
}

// checkpointFollows checks that the history has a checkpoint of each seal.
func checkpointFollows(t *testing.T, r *rig) {
	t.Helper()
	var sealed, covered uint64
	var at time.Time
	for _, e := range r.events() {
		switch p := e.Payload.(type) {
		case *event.GenerationSealed:
			sealed, at = e.Number, e.Accepted
		case *event.CheckpointSigned:
			if p.Events >= sealed && covered < sealed && e.Accepted.Sub(at) > 30*time.Second {
				t.Errorf("the checkpoint comes %s after the seal", e.Accepted.Sub(at))
			}
			covered = p.Events
		}
	}
	if covered < sealed {
		t.Errorf("the last checkpoint covers %d events, the seal is event %d", covered, sealed)
	}
}

// Whatever step fails, done or not, and with a crash behind it or none: in the
// end all is done, and is said once.
func TestEveryStepMayFail(t *testing.T) {
	steps := 0
	for call := 1; call <= 6; call++ {
		for _, f := range []fault{before, after} {
			for _, crash := range []bool{false, true} {
				t.Run(fmt.Sprintf("call %d, %d, crash %v", call, f, crash), func(t *testing.T) {
					run(t, never, func(r *rig) {
						r.happen()
						r.seal()
						r.happen()
						hit := false
						r.store.fault = func(n int, _ string) fault {
							if n == call {
								hit = true
								return f
							}
							return none
						}
						throughFaults(r, crash)
						if hit {
							steps++
						}
					})
				})
			}
		}
	}
	for i := range 8 {
		for _, f := range []journaltestFault{notStored, storedButFailed, lost, lostButStored} {
			t.Run(fmt.Sprintf("page %d, %d", i, f), func(t *testing.T) {
				run(t, never, func(r *rig) {
					r.happen()
					r.seal()
					r.happen()
					r.journal.Inject(append(slices.Repeat([]journaltestFault{noFault}, i), f)...)
					throughFaults(r, f == lost || f == lostButStored)
				})
			})
		}
	}
	if steps < 8 { // two calls, two faults, with a crash or without
		t.Errorf("only %d faults hit a call", steps)
	}
}

func throughFaults(r *rig, crash bool) {
	r.t.Helper()
	r.start()
	pass(11 * time.Second)
	if crash {
		r.restart()
	}
	pass(2 * time.Hour)
	got := slices.DeleteFunc(r.kinds(), func(k string) bool { return k == "checkpoint" || strings.HasPrefix(k, "message ") })
	if diff := cmp.Diff([]string{"sealed 1", "archived 1", "removed 1"}, got); diff != "" {
		r.t.Errorf("-want +got:\n%s", diff)
	}
	if g := r.store.Generations(); !g[0].Removed {
		r.t.Errorf("generation 1 is at %+v", g[0])
	}
	checkpointFollows(r.t, r)
}

// A generation that cannot be archived is told of once, and is no obstacle.
func TestArchiveFails(t *testing.T) {
	run(t, never, func(r *rig) {
		r.store.fault = func(_ int, name string) fault {
			if name == "archive" {
				return before
			}
			return none
		}
		r.start()
		r.happen()
		r.seal()
		pass(time.Hour)
		if got, want := r.upkeep.Stats().Waiting, 1; got != want {
			t.Errorf("%d generations wait, want %d", got, want)
		}
		r.store.mu.Lock()
		r.store.fault = nil
		r.store.mu.Unlock()
		pass(time.Minute)
		got := slices.DeleteFunc(r.kinds(), func(k string) bool { return k == "checkpoint" })
		if diff := cmp.Diff([]string{"sealed 1", "message 1003", "archived 1", "removed 1", "message 1004"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestSettings has what cannot work.
func TestSettings(t *testing.T) {
	for want, s := range map[string]upkeep.Settings{
		"checkpoint-every": {CheckpointEvery: time.Second},
		"keep-live":        {KeepLive: -1},
		"check-every":      {CheckEvery: time.Second},
		"check-again":      {CheckAgain: time.Second},
		"check-rate":       {CheckRate: 1},
	} {
		if err := s.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want an error of %s", s, err, want)
		}
	}
	if err := upkeep.Default().Check(); err != nil {
		t.Error(err)
	}
	if _, err := upkeep.New(upkeep.Config{}); err == nil {
		t.Error("an upkeep of nothing was made")
	}
}

// The journal may be closed under the upkeep.
func TestEndsWithTheJournal(t *testing.T) {
	run(t, never, func(r *rig) {
		r.start()
		r.happen()
		pass(time.Minute)
		r.happen()
		pass(time.Minute)
		if err := r.journal.Close(); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Hour)
		select {
		case <-r.ended:
		default:
			_, c := r.tree.Checkpoint()
			t.Errorf("the upkeep goes on, checkpoint of %d", c.Events)
		}
	})
}

var _ journal.Fold = upkeep.NewNotes()
