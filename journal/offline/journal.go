package offline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// Options of [Open]. The zero value is ready.
type Options struct {
	// Locked says that whoever calls sees to it that nobody writes: the lock is
	// not taken.
	Locked bool
}

// ErrNoJournal is wrapped by the error for a folder that holds no journal.
var ErrNoJournal = errors.New("no journal is there")

// A Journal is one that is read where it lies. It is safe for concurrent use.
type Journal struct {
	dir    string
	unlock func()
	mark   Mark
	list   generation.List
	live   map[uint32][]block.File // of the generations that are in the live store
	head   journal.Head
	torn   *block.DamageError
	signed uint64 // pages that DIR/tree/checkpoint says it covers; nobody has checked that
}

// Open opens the journal in dir, which may be its own folder or that of a whole
// site. It reads lists and the newest file of messages, not the pages: what is
// damaged there shows in [Journal.Read] or [Journal.Verify]. The error wraps
// [ErrNoJournal], [ErrMark], an error of package generation, or
// [journal.ErrLocked] if a site has the journal open.
func Open(dir string, opts Options) (*Journal, error) {
	j, err := open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	return j, nil
}

func open(dir string, opts Options) (*Journal, error) {
	dir, err := Folder(dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{dir: dir, unlock: func() {}, live: map[uint32][]block.File{}}
	if !opts.Locked {
		if j.unlock, err = share(dir); err != nil {
			return nil, err
		}
	}
	if err := j.load(); err != nil {
		j.unlock()
		return nil, err
	}
	return j, nil
}

// Folder is the journal's folder: dir itself, or the folder journal in it if dir
// is that of a site. The error wraps [ErrNoJournal].
func Folder(dir string) (string, error) {
	for _, d := range []string{dir, filepath.Join(dir, "journal")} {
		for _, name := range []string{generation.File, "history", "jetstream", "archive"} {
			if name == "archive" && d == dir {
				continue // other folders have one too
			}
			if _, err := os.Lstat(filepath.Join(d, name)); err == nil {
				return d, nil
			} else if !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
	}
	return "", ErrNoJournal
}

func (j *Journal) load() (err error) {
	if j.mark, err = readMark(j.dir); err != nil {
		return err
	}
	if j.list, err = generation.Read(j.dir); err != nil {
		return err
	}
	for i := range j.list {
		g := &j.list[i]
		if g.Removed {
			continue
		}
		files, err := block.Files(generation.LiveFolder(j.dir, g.Number))
		if errors.Is(err, fs.ErrNotExist) {
			continue // all its pages are missing, which whoever reads is told
		}
		if err != nil {
			return err
		}
		j.live[g.Number] = files
	}
	j.signed = checkpointPages(j.dir)
	return j.findHead()
}

// checkpointPages is how many pages the folder's own checkpoint speaks of. It
// only decides whether a torn tail may be one; so what cannot be read is 0.
func checkpointPages(dir string) uint64 {
	text, err := readFile(CheckpointFile(dir), tree.MaxCheckpoint)
	if err != nil {
		return 0
	}
	c, err := tree.ParseCheckpoint(text)
	if err != nil {
		return 0
	}
	return c.Pages
}

// CheckpointFile is where the journal in folder dir keeps its last checkpoint.
func CheckpointFile(dir string) string { return filepath.Join(dir, "tree", "checkpoint") }

// findHead looks for the last page, in the newest file that has one.
func (j *Journal) findHead() error {
	open := &j.list[len(j.list)-1]
	j.head = open.Before
	var tail *block.DamageError
	for _, f := range slices.Backward(j.live[open.Number]) {
		found := false
		err := block.Walk(f, func(r block.Record) error {
			if p, ok := loose(r.Data); ok {
				found = true
				j.head = journal.Head{Pages: open.Before.Pages + r.Sequence - 1}.Next(p)
			}
			return nil
		})
		if bad, ok := errors.AsType[*block.DamageError](err); ok && bad.Torn {
			tail = bad
		} else if !ok && err != nil {
			return err
		}
		if found {
			break
		}
	}
	if max(j.mark.Head.Pages, j.signed) <= j.head.Pages {
		j.torn = tail
	}
	return nil
}

// loose reads a page of which nobody knows what is before it.
func loose(raw []byte) (*journal.Page, bool) {
	const previous = 4 + 8 + 4 // where it is in a page
	if len(raw) < previous+32 || binary.BigEndian.Uint64(raw[4:]) == 0 {
		return nil, false
	}
	p, err := journal.ParsePage(raw, journal.Head{Event: binary.BigEndian.Uint64(raw[4:]) - 1, Hash: [32]byte(raw[previous:])})
	return p, err == nil && p.Last() >= p.First
}

// Folder is the journal's own folder.
func (j *Journal) Folder() string { return j.dir }

// Head is the end of the journal, as the newest file has it; that all pages lead
// to it is only known after they were read.
func (j *Journal) Head() journal.Head { return j.head }

// History names the journal.
func (j *Journal) History() [16]byte { return j.mark.History }

// Mark is what the file history says.
func (j *Journal) Mark() Mark { return j.mark }

// Generations returns the list of generations, which is the caller's.
func (j *Journal) Generations() generation.List { return slices.Clone(j.list) }

// Torn tells of a write at the end of the journal that was never finished, or
// nil. It is none if the journal's own checkpoint or the file history speak of
// more pages than there are before it: then it is damage. Readers end before it.
func (j *Journal) Torn() *block.DamageError { return j.torn }

// Close lets others open the journal. No reader must be in use.
func (j *Journal) Close() error {
	j.unlock()
	return nil
}
