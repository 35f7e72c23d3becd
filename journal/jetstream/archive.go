package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// Errors of [Journal.Archive] and [Journal.Remove].
var (
	ErrOpen     = errors.New("the generation is open: seal it first")
	ErrArchived = errors.New("the generation is not archived")
)

// Archive writes a closed generation into its archive, with a seal of t, reads
// that back, and notes it in the list of generations. A generation that is archived
// already stays as it is. Progress, which may be nil, is called with the pages
// that were written, then with those that were read back, out of twice their
// number. A crash, or an error, leaves the generation as it was; the next try
// begins anew.
func (j *Journal) Archive(ctx context.Context, number uint32, t archive.Tree, progress func(done, total uint64)) (generation.Generation, error) {
	g, err := j.store.archive(ctx, number, t, progress)
	if err != nil {
		return generation.Generation{}, fmt.Errorf("archive generation %d: %w", number, err)
	}
	return g, nil
}

func (s *store) archive(ctx context.Context, number uint32, t archive.Tree, progress func(done, total uint64)) (generation.Generation, error) {
	g, err := s.shelf.generation(number)
	switch {
	case err != nil:
		return g, err
	case !g.Sealed():
		return g, ErrOpen
	case g.Archive != "":
		return g, nil
	}
	if progress == nil {
		progress = func(done, total uint64) {}
	}
	g.Archive = generation.ArchiveName(number)
	info, err := s.writeArchive(ctx, &g, t, progress)
	if err != nil {
		return g, err
	}
	if err := s.step("wrote the archive"); err != nil {
		return g, err
	}
	g.Size, g.Digest = uint64(info.Size), info.Digest
	if err := s.readBackArchive(ctx, &g, progress); err != nil {
		return g, fmt.Errorf("verify: %w", err)
	}
	if err := s.step("verified the archive"); err != nil {
		return g, err
	}
	err = s.shelf.change(func(l generation.List) generation.List {
		l[number-1] = g
		return l
	})
	return g, err
}

func (s *store) writeArchive(ctx context.Context, g *generation.Generation, t archive.Tree, progress func(done, total uint64)) (info archive.Info, err error) {
	folder := generation.ArchiveFolder(s.dir)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return info, err
	}
	if err := durable.SyncFolder(s.dir); err != nil {
		return info, err
	}
	peaks, err := archive.PeaksBefore(ctx, t, g.Before)
	if err != nil {
		return info, err
	}
	seal, err := archive.SealAt(ctx, t, g.End)
	if err != nil {
		return info, err
	}
	f, err := archive.Create(filepath.Join(folder, g.Archive), archive.Header{History: s.history, Generation: g.Number, Before: g.Before, Peaks: peaks})
	if err != nil {
		return info, err
	}
	total := 2 * (g.End.Pages - g.Before.Pages)
	err = s.eachPage(ctx, g, func(n uint64, raw []byte) error {
		progress(n-g.Before.Pages, total)
		return f.Add(raw)
	})
	if err != nil {
		return info, errors.Join(err, f.Abort())
	}
	return f.Close(seal)
}

// eachPage calls visit for all pages of a generation, in order.
func (s *store) eachPage(ctx context.Context, g *generation.Generation, visit func(n uint64, raw []byte) error) error {
	for n := g.Before.Pages + 1; n <= g.End.Pages; {
		raws, err := s.shelf.load(ctx, n, g.End.Pages, g.End)
		if err != nil {
			return err
		}
		for _, raw := range raws {
			if err := visit(n, raw); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

// readBackArchive compares an archive with the pages in the live store, and checks
// all that is around them.
func (s *store) readBackArchive(ctx context.Context, g *generation.Generation, progress func(done, total uint64)) error {
	if err := checkArchive(ctx, s.dir, g, nil); err != nil {
		return err
	}
	r, err := openArchive(s.dir, s.history, g)
	if err != nil {
		return err
	}
	defer r.Close()
	pages, done := g.End.Pages-g.Before.Pages, uint64(0)
	var raws [][]byte
	err = s.eachPage(ctx, g, func(n uint64, raw []byte) (err error) {
		if len(raws) == 0 {
			if raws, err = r.Load(ctx, n, g.End.Pages); err != nil {
				return err
			}
		}
		if !bytes.Equal(raws[0], raw) {
			return foreign(filepath.Join(generation.ArchiveFolder(s.dir), g.Archive), journal.Head{Pages: n - 1}, "the archive holds another page than the live store")
		}
		raws, done = raws[1:], done+1
		progress(pages+done, 2*pages)
		return nil
	})
	if err != nil {
		return err
	}
	return verifyArchive(ctx, r, g)
}

// verifyArchive checks every byte of an archive that says it is that of g.
func verifyArchive(ctx context.Context, r *archive.Reader, g *generation.Generation) error {
	report, err := r.Verify(ctx, nil, nil)
	if err == nil && (!report.OK || report.Info.End != g.End || report.Info.Digest != g.Digest) {
		err = errors.New("it is not what was written")
	}
	return err
}

// Remove takes a generation out of the live store, after it has read its archive
// once more. From then on its pages are read from there. First the list says so,
// then the files go: a crash in between leaves files that nobody reads, which the
// next [Open] removes. A generation that was removed already stays so.
func (j *Journal) Remove(ctx context.Context, number uint32) error {
	if err := j.store.removeGeneration(ctx, number); err != nil {
		return fmt.Errorf("remove generation %d: %w", number, err)
	}
	return nil
}

func (s *store) removeGeneration(ctx context.Context, number uint32) error {
	g, err := s.shelf.generation(number)
	switch {
	case err != nil:
		return err
	case !g.Sealed():
		return ErrOpen
	case g.Removed:
		return s.dropStream(ctx, number)
	case g.Archive == "":
		return ErrArchived
	}
	r, err := openArchive(s.dir, s.history, &g)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := verifyArchive(ctx, r, &g); err != nil {
		return fmt.Errorf("verify archive: %w", err)
	}
	if err := s.step("verified the archive again"); err != nil {
		return err
	}
	if err := s.shelf.remove(number); err != nil {
		return err
	}
	if err := s.step("said that it is removed"); err != nil {
		return err
	}
	s.log.Info("journal has removed a generation that is archived", "generation", number)
	return s.dropStream(ctx, number)
}

// dropStream removes the files of a generation that is not needed any more.
func (s *store) dropStream(ctx context.Context, number uint32) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.embedded.remove(late, number); err != nil {
		return fmt.Errorf("%w; its files go at the next start", err)
	}
	return durable.SyncFolder(streamsFolder(s.dir))
}

// remove makes the archive of generation n what its pages are read from.
func (s *shelf) remove(n uint32) error {
	err := s.change(func(l generation.List) generation.List {
		l[n-1].Removed = true
		return l
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archived[n] = &archived{shelf: s, generation: s.list[n-1], checked: true}
	delete(s.live, n)
	return nil
}

// Check reads all pages again, those in the live store and those in archives, and
// makes sure that they are what they were. It calls pace, which may be nil, with
// the bytes that it has read since, and ends when that returns an error. Damage
// that it finds is returned, the first of it, and reading it fails from then on.
func (j *Journal) Check(ctx context.Context, pace func(bytes int) error) error {
	if pace == nil {
		pace = func(int) error { return nil }
	}
	if err := j.store.checkAll(ctx, pace); err != nil {
		return fmt.Errorf("check journal: %w", err)
	}
	return nil
}

func (s *store) checkAll(ctx context.Context, pace func(bytes int) error) error {
	var damage error
	each := func(err error) error {
		if errors.Is(err, journal.ErrDamaged) {
			if damage == nil {
				damage = err
			}
			return nil
		}
		return err
	}
	for _, g := range s.shelf.generations() {
		if g.Archive != "" && !g.Removed {
			if err := each(s.shelf.note(checkArchive(ctx, s.dir, &g, pace))); err != nil {
				return err
			}
		}
	}
	for _, a := range s.shelf.away() {
		if err := each(s.shelf.judge(a, a.verifyAgain(ctx, pace))); err != nil {
			return err
		}
	}
	for _, b := range s.shelf.blocks() {
		err := each(s.shelf.judge(b, b.verifyAgain(ctx, *s.stored.Load())))
		if err == nil {
			err = pace(int(b.size()))
		}
		if err != nil {
			return err
		}
	}
	return damage
}
