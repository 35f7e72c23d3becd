package generation

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/durable"
)

// A Generation is a run of pages.
type Generation struct {
	Number uint32       // from 1
	Before journal.Head // the journal's end before its first page
	End    journal.Head // behind its last page; zero while it is open

	// Where a sealed one is kept.
	Archive string   // name of the file in the folder archive, empty if it is not archived
	Size    uint64   // of that file in bytes
	Digest  [32]byte // SHA-256 of that file
	Removed bool     // the live store does not hold it any more
}

// Sealed tells whether it takes no more pages.
func (g *Generation) Sealed() bool { return g.End.Pages > 0 }

// A List is all generations of a journal, in order; the last one is open.
type List []Generation

// Of returns the generation that page n, from 1, belongs to.
func (l List) Of(page uint64) *Generation {
	for i := len(l) - 1; i >= 0; i-- {
		if page > l[i].Before.Pages {
			return &l[i]
		}
	}
	return nil
}

// Stream is the name of generation n in the live store.
func Stream(n uint32) string { return fmt.Sprintf("JOURNAL-%08d", n) }

// LiveFolder is where the live store of the journal in dir keeps the files of
// generation n.
func LiveFolder(dir string, n uint32) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", Stream(n), "msgs")
}

// ArchiveFolder is where the archives of the journal in dir are.
func ArchiveFolder(dir string) string { return filepath.Join(dir, "archive") }

// ArchiveName is the name of the archive of generation n.
func ArchiveName(n uint32) string { return fmt.Sprintf("%08d.bga", n) }

// File is the name of the list in a journal's folder.
const File = "generations"

// maxFile bounds the file in bytes: some 100,000 generations.
const maxFile = 64 << 20

// Errors of a list that is not as it should be.
var (
	ErrDamaged = errors.New("file generations is damaged")
	ErrVersion = errors.New("file generations was written by a later version")
)

// Read returns the list of the journal in dir. The error wraps [ErrDamaged] or
// [ErrVersion], or os.ErrNotExist if there is none.
func Read(dir string) (List, error) {
	f, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	l, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return l, nil
}

// Write makes the list that of the journal in dir, durably. A list that does not
// hold together is an error.
func Write(dir string, l List) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("write generations: %w", err)
	}
	return durable.Replace(filepath.Join(dir, File), l.encode())
}

// check tells whether the generations follow one another.
func (l List) check() error {
	if len(l) == 0 {
		return errors.New("there are none")
	}
	end := journal.Head{}
	for i := range l {
		g := &l[i]
		switch {
		case g.Number != uint32(i+1):
			return fmt.Errorf("generation %d stands in place %d", g.Number, i+1)
		case g.Before != end:
			return fmt.Errorf("generation %d does not begin where the one before ends", g.Number)
		case g.Sealed() && (g.End.Pages <= g.Before.Pages || g.End.Event <= g.Before.Event):
			return fmt.Errorf("generation %d is sealed and empty", g.Number)
		case g.Sealed() != (i < len(l)-1):
			return fmt.Errorf("generation %d: the last one, and no other, must be open", g.Number)
		case g.Archive != "" && (!g.Sealed() || g.Archive != ArchiveName(g.Number)):
			return fmt.Errorf("generation %d has the archive %q", g.Number, g.Archive)
		case g.Removed && g.Archive == "":
			return fmt.Errorf("generation %d was removed and has no archive", g.Number)
		}
		end = g.End
	}
	return nil
}

// The file, as JSON.
type (
	file struct {
		Version     int     `json:"version"`
		Generations []entry `json:"generations"`
	}
	entry struct {
		Number  uint32 `json:"number"`
		Before  head   `json:"before"`
		End     *head  `json:"end,omitempty"`
		Archive string `json:"archive,omitempty"`
		Size    uint64 `json:"size,omitempty"`
		Digest  string `json:"digest,omitempty"`
		Removed bool   `json:"removed,omitempty"`
	}
	head struct {
		Event uint64 `json:"event"`
		Pages uint64 `json:"pages"`
		Hash  string `json:"hash"`
	}
)

const version = 1

func (l List) encode() []byte {
	f := file{Version: version, Generations: make([]entry, len(l))}
	for i := range l {
		g := &l[i]
		e := entry{Number: g.Number, Before: headOf(g.Before), Archive: g.Archive, Size: g.Size, Removed: g.Removed}
		if g.Sealed() {
			end := headOf(g.End)
			e.End = &end
		}
		if g.Archive != "" {
			e.Digest = hex.EncodeToString(g.Digest[:])
		}
		f.Generations[i] = e
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		panic("generation: encode list: " + err.Error()) // it has nothing that JSON cannot say
	}
	return append(b, '\n')
}

func headOf(h journal.Head) head { return head{h.Event, h.Pages, hex.EncodeToString(h.Hash[:])} }

// parse reads a list; it must be spelled as encode writes it.
func parse(b []byte) (List, error) {
	var f file
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&f); err != nil || len(b) > maxFile {
		return nil, fmt.Errorf("%w: it is no list", ErrDamaged)
	}
	if f.Version > version {
		return nil, fmt.Errorf("%w: version %d, this bugle reads %d", ErrVersion, f.Version, version)
	}
	l := make(List, len(f.Generations))
	for i, e := range f.Generations {
		g := Generation{Number: e.Number, Archive: e.Archive, Size: e.Size, Removed: e.Removed}
		var errs [3]error
		g.Before, errs[0] = e.Before.parse()
		if e.End != nil {
			g.End, errs[1] = e.End.parse()
		}
		if e.Archive != "" {
			g.Digest, errs[2] = parseHash(e.Digest)
		}
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("%w: generation %d: %w", ErrDamaged, e.Number, err)
		}
		l[i] = g
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !bytes.Equal(l.encode(), b) {
		return nil, fmt.Errorf("%w: it is not spelled as it was written", ErrDamaged)
	}
	return l, nil
}

func (h head) parse() (journal.Head, error) {
	hash, err := parseHash(h.Hash)
	return journal.Head{Event: h.Event, Pages: h.Pages, Hash: hash}, err
}

func parseHash(s string) (h [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, errors.New("a hash is malformed")
	}
	return [32]byte(b), nil
}
