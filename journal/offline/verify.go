package offline

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A VerifyError says why a journal is not what it should be, and from where on.
type VerifyError struct {
	Event  uint64 // the first event that cannot be trusted
	Page   uint64 // the page it is in, from 1, or 0 if that is not known
	File   string // where that page would be; empty if that is not known
	Offset int64
	Reason string
	Err    error // what showed it, often at a later event
}

func (e *VerifyError) Error() string {
	return (&journal.DamageError{Event: e.Event, Page: e.Page, File: e.File, Offset: e.Offset, Reason: e.Reason}).Error()
}

// Unwrap returns what showed it: a [*journal.DamageError] or a
// [*tree.TamperError].
func (e *VerifyError) Unwrap() error { return e.Err }

// Verify reads the whole journal and compares it with the checkpoints that are
// trusted, as [tree.Verify] does, and reads every archive of what the live store
// holds too. If anything does not hold the error is a [*VerifyError]: to find the
// first event that cannot be trusted it then reads everything a second time.
func (j *Journal) Verify(ctx context.Context, trust Trust, progress func(tree.Report)) (tree.Report, error) {
	report, err := j.verify(ctx, trust, progress)
	if err == nil || ctx.Err() != nil {
		return report, err
	}
	if !errors.Is(err, journal.ErrDamaged) && !errors.Is(err, tree.ErrTampered) {
		return report, err
	}
	bad, failed := j.locate(ctx, trust, err)
	if failed != nil {
		return report, failed
	}
	return report, bad
}

func (j *Journal) verify(ctx context.Context, trust Trust, progress func(tree.Report)) (tree.Report, error) {
	r, err := j.Read(ctx, 1)
	if err != nil {
		return tree.Report{}, fmt.Errorf("verify journal: %w", err)
	}
	defer r.Close()
	report, err := tree.Verify(ctx, r, trust.Checkpoints, progress)
	if err != nil {
		return report, err
	}
	report.OK = false
	for i := range j.list {
		if g := &j.list[i]; g.Archive != "" {
			if err := j.verifyArchive(ctx, i, trust.Key); err != nil {
				return report, fmt.Errorf("verify archive of generation %d: %w", g.Number, err)
			}
		}
	}
	report.OK = true
	return report, nil
}

// verifyArchive reads every byte of an archive.
func (j *Journal) verifyArchive(ctx context.Context, i int, key ed25519.PublicKey) error {
	g := &j.list[i]
	a, err := j.openArchive(g)
	if err != nil {
		return err
	}
	defer a.Close()
	r, err := a.Verify(ctx, key, nil)
	if err == nil && r.Info.Digest != g.Digest {
		err = &journal.DamageError{Event: g.Before.Event + 1, Page: g.Before.Pages + 1, File: j.archiveName(g), Reason: "the archive is not the one that was made"}
	}
	if bad, ok := errors.AsType[*archive.DamageError](err); ok && bad.Event == 0 {
		return &journal.DamageError{Event: g.Before.Event + 1, Page: g.Before.Pages + 1, File: bad.File, Offset: bad.Offset, Reason: bad.Reason}
	}
	return located(err)
}

// locate finds the first event that cannot be trusted: where reading in order
// stopped, or before that, where a survey of everything has its first hole.
func (j *Journal) locate(ctx context.Context, trust Trust, err error) (*VerifyError, error) {
	bad := &VerifyError{Err: err, Reason: err.Error()}
	if d, ok := errors.AsType[*journal.DamageError](err); ok {
		bad.Event, bad.Page, bad.File, bad.Offset, bad.Reason = d.Event, d.Page, d.File, d.Offset, d.Reason
	}
	if t, ok := errors.AsType[*tree.TamperError](err); ok {
		bad.Event = t.Found.Event + 1
		if t.What != "length" {
			bad.Event = t.Good + 1
		}
	}
	everywhere, failed := sources(j.dir)
	if failed != nil {
		return nil, failed
	}
	s, failed := survey(ctx, j.dir, trust, j.sources(), everywhere)
	if failed != nil {
		return nil, failed
	}
	tampered := errors.Is(err, tree.ErrTampered)
	if len(s.Lost) == 0 || s.Lost[0].From >= bad.Event && !tampered {
		return bad, nil
	}
	l := s.Lost[0]
	bad.Event, bad.Page, bad.File, bad.Offset = l.From, 0, l.File, l.Offset
	if !tampered {
		bad.Reason = l.Reason
	}
	bad.Page, failed = j.pageOf(ctx, l.From)
	return bad, failed
}

// sources are the files that readers read.
func (j *Journal) sources() (all []source) {
	for i := range j.list {
		g := &j.list[i]
		if g.Removed {
			all = append(all, source{path: j.archiveName(g), size: int64(g.Size)})
		}
		for _, f := range j.live[g.Number] {
			all = append(all, source{path: f.Path, block: f, size: f.Size})
		}
	}
	return all
}

// pageOf is the number of the page that holds an event, or should; 0 if the pages
// before it do not tell.
func (j *Journal) pageOf(ctx context.Context, event uint64) (uint64, error) {
	r, err := j.Read(ctx, 1)
	if err != nil {
		return 0, nil // the beginning is damaged
	}
	defer r.Close()
	for n, last := uint64(1), uint64(0); ; n++ {
		p, err := r.Next(ctx)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err == nil {
			last = p.Last()
		}
		switch {
		case err == nil && last >= event, err != nil && last+1 == event:
			return n, nil
		case err != nil:
			return 0, nil
		}
	}
}
