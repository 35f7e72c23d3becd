package simulator

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
)

// saved is what the folds of a run of the site knew when it ended.
type saved struct {
	event uint64
	folds map[string][]byte // by what they save as
}

// folds are the folds of a run, in the order in which they are told.
func (r *running) folds() []journal.Fold {
	return []journal.Fold{r.authority, r.policies, r.writes, r.ledger, r.gate}
}

// save takes what the folds know. The journal must be closed.
func (r *running) save() (s saved, err error) {
	s = saved{r.store.Head().Event, make(map[string][]byte)}
	for _, f := range r.folds() {
		saving, ok := f.(journal.SavingFold)
		if !ok {
			return s, fmt.Errorf("%T is no journal.SavingFold", f)
		}
		if s.folds[saving.Saves()], err = saving.Save(); err != nil {
			return s, err
		}
	}
	return s, nil
}

// remember compares the folds of a run that has been told everything with those of
// the run before it, if nothing came in between, and lets them go through what they
// save: the same history is the same knowledge.
func (r *running) remember(before saved) error {
	now, err := r.save()
	if err != nil {
		return err
	}
	for _, f := range r.folds() {
		f := f.(journal.SavingFold)
		b := now.folds[f.Saves()]
		if before.folds != nil && before.event == now.event && !bytes.Equal(b, before.folds[f.Saves()]) {
			return fmt.Errorf("%s knows something else at event %d when it is told everything anew", f.Saves(), now.event)
		}
		err := f.Restore(b)
		again, err2 := f.Save()
		if err := errors.Join(err, err2); err != nil || !bytes.Equal(again, b) {
			return differs(err, "%s at event %d is something else once it is restored", f.Saves(), now.event)
		}
	}
	return nil
}
