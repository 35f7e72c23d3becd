package upkeep_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

var _ journal.SavingFold = upkeep.NewNotes()

// history is events of every kind that is noted.
func history() []*event.Event {
	var all []*event.Event
	for i, p := range []event.Payload{
		&event.CheckpointSigned{Events: 1, Text: []byte("x")},
		&event.GenerationSealed{Generation: 2, First: 1, Last: 2, Pages: 2, Head: [32]byte{2}},
		&event.GenerationSealed{Generation: 1, First: 1, Last: 2, Pages: 2, Head: [32]byte{1}},
		&event.GenerationArchived{Generation: 1, Name: "00000001.bga", Size: 3, Digest: [32]byte{9}},
		&event.JournalChecked{Events: 3, Good: false, Reason: "a bit flipped"},
		&event.GenerationArchived{Generation: 1, Name: "00000001.bga", Size: 3, Digest: [32]byte{9}, Removed: true},
		// The same number again, after the journal was salvaged.
		&event.GenerationSealed{Generation: 1, First: 1, Last: 5, Pages: 4, Head: [32]byte{3}},
		&event.CheckpointSigned{Events: 6, Text: []byte("y")},
		&event.JournalChecked{Events: 8, Good: true},
	} {
		all = append(all, &event.Event{Number: uint64(i + 1), Accepted: time.Unix(int64(i), 0).UTC(), Payload: p})
	}
	return all
}

// What was saved in the middle, and told the rest, is what was told everything.
func TestNotesAreSaved(t *testing.T) {
	events := history()
	for cut := range len(events) + 1 {
		whole, first, second := upkeep.NewNotes(), upkeep.NewNotes(), upkeep.NewNotes()
		for i, e := range events {
			whole.Apply(e)
			if i < cut {
				first.Apply(e)
			}
		}
		saved, err := first.Save()
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Restore(saved); err != nil {
			t.Fatal(err)
		}
		for _, e := range events[cut:] {
			second.Apply(e)
		}
		want, _ := whole.Save()
		if got, _ := second.Save(); !bytes.Equal(got, want) {
			t.Errorf("cut at %d: %s, want %s", cut, got, want)
		}
	}
}

// What cannot be restored leaves notes that know nothing.
func TestNotesThatCannotBeRestored(t *testing.T) {
	for _, saved := range []string{"", "x", `{"Generations":[{"Number":2},{"Number":1}]}`, `{"Generations":[{"Number":1},{"Number":1}]}`, `{"Checkpoint":-1}`} {
		n := upkeep.NewNotes()
		for _, e := range history() {
			n.Apply(e)
		}
		if err := n.Restore([]byte(saved)); err == nil {
			t.Errorf("%q was restored", saved)
		}
		empty, _ := upkeep.NewNotes().Save()
		if got, _ := n.Save(); !bytes.Equal(got, empty) {
			t.Errorf("after %q they know %s", saved, got)
		}
	}
}

// Notes want what they fold, and nothing else.
func TestNotesWant(t *testing.T) {
	n, wanted := upkeep.NewNotes(), 0
	for _, k := range event.Kinds() {
		if n.Wants(k) {
			wanted++
		}
	}
	if wanted != 4 || !strings.HasPrefix(n.Saves(), "upkeep/") {
		t.Errorf("%d kinds are wanted, saved as %s", wanted, n.Saves())
	}
}

func FuzzNotes(f *testing.F) {
	n := upkeep.NewNotes()
	for _, e := range history() {
		n.Apply(e)
	}
	saved, err := n.Save()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved)
	f.Add([]byte(`{"Generations":[{"Number":7}]}`))
	f.Fuzz(func(t *testing.T, saved []byte) {
		n, again := upkeep.NewNotes(), upkeep.NewNotes()
		if n.Restore(saved) != nil {
			return
		}
		b, err := n.Save()
		if err != nil {
			return // a year that JSON does not take
		}
		if err := errors.Join(err, again.Restore(b)); err != nil {
			t.Fatalf("%s cannot be restored: %v", b, err)
		}
		for _, e := range history() {
			n.Apply(e)
			again.Apply(e)
		}
		x, _ := n.Save()
		if y, _ := again.Save(); !bytes.Equal(x, y) {
			t.Errorf("%s, %s", x, y)
		}
	})
}
