package jetstream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// A finding is what there is in a journal's folder, and what must be done to it
// before the embedded server may see it.
type finding struct {
	dir string
	log *slog.Logger

	covered journal.Head
	mark    *mark           // nil: there is none
	list    generation.List // empty: there is no journal yet
	state   *state          // nil: it is not used
	clean   bool            // nothing was appended since state was written
	shelf   *shelf
	start   *commit.Start
	at      block.Position // where the journal ends

	torn      *block.DamageError // what a crash left at the end, or nil
	early     []*blk             // files that JetStream will read when it starts
	leftovers []string           // folders to remove
	indexes   []string           // summaries of JetStream that nobody vouches for

	places map[uint64]place // of some pages that were read
}

// inspect reads a journal's folder, as much of it as nobody vouches for, and
// changes nothing.
func inspect(ctx context.Context, dir string, opts *Options) (*finding, error) {
	f := &finding{dir: dir, log: opts.Log, covered: opts.Covered, start: commit.Begin(opts.Options), places: make(map[uint64]place)}
	if _, err := os.Lstat(filepath.Join(dir, importingFile)); !errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("its import was not completed: remove the folder, and import again")
	}
	if err := f.readMark(); err != nil {
		return nil, err
	}
	if err := f.readList(); err != nil {
		return nil, err
	}
	f.shelf = newShelf(dir, f.list, opts.Log)
	if len(f.list) == 0 {
		return f, nil
	}
	if f.mark != nil {
		f.shelf.history = f.mark.history
	}
	layout, err := surveyLive(dir, f.list)
	if err != nil {
		return nil, err
	}
	f.leftovers = layout.leftovers
	if err := f.listFiles(layout); err != nil {
		return nil, err
	}
	if err := f.useState(ctx, opts); err != nil {
		return nil, err
	}
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *finding) readMark() error {
	m, err := readMark(f.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		f.mark = &m
	}
	return err
}

// readList reads the list of generations. Without one there must not be anything
// else of a journal.
func (f *finding) readList() (err error) {
	f.list, err = generation.Read(f.dir)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(filepath.Join(streamsFolder(f.dir), "JOURNAL")); err == nil {
		return errors.New("it was made by a bugle that knew no generations; this one does not read it")
	}
	if f.mark != nil || f.covered.Pages > 0 {
		return foreign(filepath.Join(f.dir, generation.File), journal.Head{}, "the list of generations is gone")
	}
	for _, name := range []string{filepath.Join(f.dir, stateFile), streamsFolder(f.dir), generation.ArchiveFolder(f.dir)} {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			return foreign(filepath.Join(f.dir, generation.File), journal.Head{}, "the list of generations is gone, and there is "+name)
		}
	}
	return nil
}

// listFiles puts the files of the live generations on the shelf; what is in them
// is not known yet.
func (f *finding) listFiles(layout layout) error {
	for i := range f.list {
		g := &f.list[i]
		if g.Removed {
			continue
		}
		l := &live{number: g.Number, before: block.Position{Head: g.Before}, msgs: generation.LiveFolder(f.dir, g.Number)}
		f.shelf.live[g.Number] = l
		if !layout.streams[g.Number] {
			if g.Sealed() {
				return foreign(streamFolder(f.dir, g.Number), g.Before, "the folder of the generation is gone")
			}
			continue // it is made when the journal is opened
		}
		files, err := block.Files(l.msgs)
		if err != nil {
			return foreign(l.msgs, g.Before, err.Error())
		}
		for _, file := range files {
			l.blocks = append(l.blocks, &blk{file: file, base: g.Before.Pages})
		}
	}
	return nil
}

// useState restores what was kept, if it is of this journal.
func (f *finding) useState(ctx context.Context, opts *Options) error {
	s, err := readState(f.dir, opts.Key)
	if err == nil {
		err = f.fits(ctx, s)
	}
	if err == nil {
		err = f.start.Restore(&s.saved)
	}
	switch {
	case err == nil:
	case errors.Is(err, os.ErrNotExist):
		f.log.Info("journal has no file state: everything is read", "dir", f.dir)
		return nil
	case errors.Is(err, errState), errors.Is(err, commit.ErrSaved):
		f.log.Warn("journal does not use its file state: everything is read", "dir", f.dir, "reason", err)
		return nil
	default:
		return err
	}
	f.state = s
	_, err = os.Lstat(filepath.Join(f.dir, runningFile))
	f.clean = s.clean && errors.Is(err, os.ErrNotExist)
	if err := f.start.Anew(); err != nil {
		f.log.Info("journal is read for folds that were not kept", "dir", f.dir, "reason", err)
	}
	return nil
}

// fits tells whether a state is of this journal: its error wraps errState if not.
func (f *finding) fits(ctx context.Context, s *state) error {
	if f.mark == nil || s.history != f.mark.history {
		return fmt.Errorf("%w: it is of another journal", errState)
	}
	if len(s.kept) == 0 || len(s.kept) > len(f.list) {
		return fmt.Errorf("%w: it has %d generations, there are %d", errState, len(s.kept), len(f.list))
	}
	before := journal.Head{}
	for i := range s.kept {
		k, g := &s.kept[i], &f.list[i]
		if g.Before != before || k.end.Pages > 0 && k.end != g.End || k.digest != [32]byte{} && k.digest != g.Digest || k.removed && !g.Removed {
			return fmt.Errorf("%w: generation %d was another one", errState, g.Number)
		}
		before = k.end
	}
	head := s.saved.Head
	at, err := f.pageAt(ctx, head.Pages)
	if err == nil && at.found && at.hash != head.Hash {
		err = fmt.Errorf("%w: page %d was another one", errState, head.Pages)
	}
	return err // a page that is not there is what read finds
}

// A place is where a page is.
type place struct {
	found  bool
	hash   [32]byte
	file   string
	offset int64
}

// pageAt finds page n, if it is there.
func (f *finding) pageAt(ctx context.Context, n uint64) (place, error) {
	if p, ok := f.places[n]; ok || n == 0 {
		return p, nil
	}
	g := f.list.Of(n)
	if g.Removed {
		r, err := openArchive(f.dir, f.mark.history, g)
		if err != nil {
			return place{}, err
		}
		defer r.Close()
		raws, err := r.Load(ctx, n, n)
		if err != nil {
			return place{}, err
		}
		return place{found: true, hash: journal.HashPage(raws[0]), file: f.shelf.archived[g.Number].name()}, nil
	}
	blocks := f.shelf.live[g.Number].blocks
	for i := len(blocks) - 1; i >= 0; i-- {
		p, before, err := pageIn(blocks[i].file, n-g.Before.Pages)
		if err != nil || p.found || !before {
			return p, err
		}
	}
	return place{}, nil
}

// pageIn finds the page that is message n in a file; before tells that it must be
// in an earlier one. Damage is for read to find.
func pageIn(file block.File, n uint64) (p place, before bool, err error) {
	before = true
	err = block.Walk(file, func(r block.Record) error {
		before = before && r.Sequence > n
		if r.Sequence == n {
			p = place{true, sha256.Sum256(r.Data), file.Path, r.Offset}
		}
		if r.Sequence >= n {
			return errEnough
		}
		return nil
	})
	if err == errEnough || errors.Is(err, journal.ErrDamaged) {
		err = nil
	}
	return p, before, err
}

// maxIndex bounds JetStream's summary of a stream; it has some bytes per file.
const maxIndex = 16 << 20

// indexSum is the SHA-256 of JetStream's summary in a folder of messages, or zero
// if there is none. One that is too large has a sum that no other has.
func indexSum(msgs string) (sum [32]byte, err error) {
	name := filepath.Join(msgs, indexFile)
	info, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return sum, nil
	}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxIndex) {
		return [32]byte{1}, nil
	}
	if err != nil {
		return sum, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return sum, err
	}
	return sha256.Sum256(b), nil
}
