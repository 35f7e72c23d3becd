package upkeep

import (
	"fmt"
	"time"
)

// Stats are counters since the start, and where things stand.
type Stats struct {
	Checkpoints int // events with checkpoints
	Sealed      int // generations that were announced as closed
	Archived    int // generations that were announced as archived
	Removed     int // generations that were announced as removed from the live store
	Generations int // there are, the open one included
	Waiting     int // closed generations with a step that failed at the last look

	Checks        int           // of the whole history
	LastCheck     time.Time     // as the history says, zero if there was none
	LastCheckTook time.Duration // zero before the first of this process
	Damaged       bool          // it found the history damaged
}

// Stats returns the figures of now.
func (u *Upkeep) Stats() Stats {
	at, bad := u.cfg.Notes.checked()
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.stats
	s.LastCheck, s.Damaged = at, bad != ""
	return s
}

// Ready says what the last check of the history found bad; it is nil if that was
// nothing.
func (u *Upkeep) Ready() error {
	at, bad := u.cfg.Notes.checked()
	if bad == "" {
		return nil
	}
	return fmt.Errorf("the check of %s found the history damaged on the disk: %s", at.UTC().Format(time.RFC3339), bad)
}

func (u *Upkeep) count(change func(*Stats)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.stats)
}
