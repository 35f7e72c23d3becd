package upkeep

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// Notes is what the history says of its own upkeep. It is a fold of the journal
// ([github.com/bugle-fleet/bugle/journal.SavingFold]): make it with [NewNotes]
// before the journal is opened, and give it to both. It is safe for concurrent
// use.
type Notes struct {
	mu sync.Mutex
	s  said
}

// said is what was said, as it is saved.
type said struct {
	Checkpoint  uint64    // number of the last checkpoint.signed
	Covered     uint64    // events that its checkpoint covers
	Signed      time.Time // when it was accepted
	Sealed      uint64    // number of the last generation.sealed
	Checked     time.Time // when the last journal.checked was accepted
	Bad         string    // its reason, empty if it was good
	Generations []noted   // by number
}

// noted is what was said of one generation. The hashes tell it from one of the
// same number in a journal that this one was salvaged from.
type noted struct {
	Number   uint32
	End      [32]byte // of the one that was said to be sealed
	Archived [32]byte // digest of the archive that was announced, zero if none was
	Removed  bool     // and that it is the only copy
}

// NewNotes returns the fold of an empty journal.
func NewNotes() *Notes { return new(Notes) }

// Wants tells which events it folds.
func (n *Notes) Wants(k event.Kind) bool {
	switch k {
	case event.KindCheckpointSigned, event.KindJournalChecked, event.KindGenerationSealed, event.KindGenerationArchived:
		return true
	}
	return false
}

// Apply notes one event.
func (n *Notes) Apply(e *event.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch p := e.Payload.(type) {
	case *event.CheckpointSigned:
		n.s.Checkpoint, n.s.Covered, n.s.Signed = e.Number, p.Events, e.Accepted
	case *event.JournalChecked:
		n.s.Checked, n.s.Bad = e.Accepted, ""
		if !p.Good {
			n.s.Bad = p.Reason
		}
	case *event.GenerationSealed:
		n.s.Sealed = e.Number
		*n.s.of(p.Generation) = noted{Number: p.Generation, End: p.Head}
	case *event.GenerationArchived:
		g := n.s.of(p.Generation)
		g.Archived, g.Removed = p.Digest, p.Removed
	}
}

// of returns what was said of a generation, to be changed.
func (s *said) of(number uint32) *noted {
	at, found := slices.BinarySearchFunc(s.Generations, number, func(g noted, n uint32) int { return cmp.Compare(g.Number, n) })
	if !found {
		s.Generations = slices.Insert(s.Generations, at, noted{Number: number})
	}
	return &s.Generations[at]
}

// generation returns what was said of a generation that ends with that hash.
func (n *Notes) generation(number uint32, end [32]byte) noted {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, g := range n.s.Generations {
		if g.Number == number && g.End == end {
			return g
		}
	}
	return noted{Number: number}
}

// fresh tells whether a checkpoint covers an event that the one in the history
// does not, and that is not that one's own.
func (n *Notes) fresh(c tree.Checkpoint) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.Events <= n.s.Covered {
		return false
	}
	others := c.Events - n.s.Covered
	if n.s.Checkpoint > n.s.Covered && n.s.Checkpoint <= c.Events {
		others--
	}
	return others > 0
}

// hurry tells whether a generation was sealed that no checkpoint in the history
// covers; the checkpoint must cover the event with the number that is returned.
func (n *Notes) hurry() (sealed uint64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.s.Sealed, n.s.Sealed > n.s.Covered
}

// last returns when the last checkpoint came into the history.
func (n *Notes) last() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.s.Signed
}

// checked returns when the last check was and what was bad.
func (n *Notes) checked() (at time.Time, bad string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.s.Checked, n.s.Bad
}

// Saves names what Save returns.
func (n *Notes) Saves() string { return "upkeep/1" }

// Save returns the notes as JSON.
func (n *Notes) Save() ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return json.Marshal(n.s)
}

// Restore takes over what Save returned.
func (n *Notes) Restore(saved []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var s said
	err := json.Unmarshal(saved, &s)
	for i := range s.Generations {
		if err == nil && i > 0 && s.Generations[i].Number <= s.Generations[i-1].Number {
			err = errors.New("generations are not in order")
		}
	}
	if err != nil {
		n.s = said{}
		return fmt.Errorf("restore notes of the upkeep: %w", err)
	}
	n.s = s
	return nil
}
