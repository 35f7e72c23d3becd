package commit

import (
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A told is a fold, and how far it knows the journal already.
type told struct {
	journal.SelectiveFold
	saving journal.SavingFold // the same, or nil if it does not save
	knows  uint64             // the last event that it was restored with
}

// folds are those who are told of every event, each with its choice of kinds.
type folds []told

func newFolds(list []journal.Fold) folds {
	var fs folds
	for _, f := range list {
		s, ok := f.(journal.SelectiveFold)
		if !ok {
			s = everything{f}
		}
		saving, _ := f.(journal.SavingFold)
		fs = append(fs, told{SelectiveFold: s, saving: saving})
	}
	return fs
}

// everything is a fold that does not choose.
type everything struct{ journal.Fold }

func (everything) Wants(event.Kind) bool { return true }

func (fs folds) want(kind event.Kind) bool {
	for i := range fs {
		if fs[i].Wants(kind) {
			return true
		}
	}
	return false
}

// apply tells those who want the event of it.
func (fs folds) apply(r *journal.Record) error {
	if len(fs) == 0 {
		return nil
	}
	kind := r.Kind()
	for i := range fs {
		f := &fs[i]
		if r.Number <= f.knows || !f.Wants(kind) {
			continue
		}
		e, err := r.Event()
		if err != nil {
			return err
		}
		f.Apply(e)
	}
	return nil
}

// save asks all folds that save. The error says which are not among the answers.
func (fs folds) save() (map[string][]byte, error) {
	all := make(map[string][]byte, len(fs))
	var errs []error
	for i := range fs {
		if err := fs[i].saveTo(all); err != nil {
			errs = append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

func (f *told) saveTo(all map[string][]byte) error {
	if f.saving == nil {
		return fmt.Errorf("a fold %T does not save", f.fold())
	}
	name := f.saving.Saves()
	if _, twice := all[name]; twice {
		return fmt.Errorf("two folds save as %s", name)
	}
	b, err := f.saving.Save()
	if err != nil {
		return fmt.Errorf("fold %s: %w", name, err)
	}
	all[name] = b
	return nil
}

// fold is the fold as it was given.
func (f *told) fold() journal.Fold {
	if all, ok := f.SelectiveFold.(everything); ok {
		return all.Fold
	}
	return f.SelectiveFold
}

// restore gives each fold what it saved. The error says which know nothing now.
func (fs folds) restore(saved *Saved) error {
	var errs []error
	restored := make(map[string]bool)
	for i := range fs {
		f := &fs[i]
		if f.saving == nil {
			errs = append(errs, fmt.Errorf("a fold %T does not save", f.fold()))
			continue
		}
		name := f.saving.Saves()
		b, ok := saved.Folds[name]
		switch {
		case !ok || restored[name]:
			errs = append(errs, fmt.Errorf("nothing was saved for fold %s", name))
			continue
		}
		restored[name] = true
		if err := f.saving.Restore(b); err != nil {
			errs = append(errs, fmt.Errorf("restore fold %s: %w", name, err))
			continue
		}
		f.knows = saved.Head.Event
	}
	return errors.Join(errs...)
}
