package box

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A Box is the reader's side of the spool folder. One process reads a box.
// Its methods are safe for concurrent use with one another, as long as no two
// of them are about the same file.
type Box struct {
	dir  string
	root *os.Root
	work *os.Root // of the folder that most is done in

	mu    sync.Mutex
	day   string           // the folder of the archive that is known to exist
	sizes map[string]int64 // bytes on disk in each folder of the archive, once counted
}

// Open opens the box in dir for reading and makes it, for the owner only, if it
// is not there.
func Open(dir string) (*Box, error) {
	if err := makeFolders(dir); err != nil {
		return nil, fmt.Errorf("open box: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open box: %w", err)
	}
	work, err := root.OpenRoot(workFolder)
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open box: %w", err)
	}
	return &Box{dir: dir, root: root, work: work}, nil
}

// Close frees what Open took.
func (b *Box) Close() error { return errors.Join(b.work.Close(), b.root.Close()) }

// Dir is the folder that writers rename their files into, for who wants to watch
// it.
func (b *Box) Dir() string { return b.dir }

// Bounds of what [Box.Scan] returns.
const (
	MaxScan    = 1 << 16 // names
	MaxStrange = 1 << 10 // entries that are no names
)

// A Listing is what lies in a folder of the box.
type Listing struct {
	Names   []Name   // in claim order, the first [MaxScan]
	Strange []string // entries that have no business there, at most [MaxStrange]
	Total   int      // how many names there are in all
}

// Scan lists what waits. What is no name of a file is in Strange, to be claimed
// and put aside.
func (b *Box) Scan() (Listing, error) { return b.list("") }

// Work lists what was claimed and neither archived nor put aside.
func (b *Box) Work() (Listing, error) { return b.list(workFolder) }

func (b *Box) list(folder string) (l Listing, err error) {
	known := make(names)
	err = readNames(filepath.Join(b.dir, folder), func(entry string) {
		n, err := ParseName(entry)
		switch {
		case err == nil:
			l.Total++
			n.Listener = known.one(n.Listener)
			if l.Names = append(l.Names, n); len(l.Names) == 2*MaxScan {
				l.cut()
			}
		case folder == "" && isFolder(entry):
		case len(l.Strange) < MaxStrange:
			l.Strange = append(l.Strange, entry)
		}
	})
	if err != nil {
		return Listing{}, fmt.Errorf("scan box: %w", err)
	}
	l.cut()
	slices.Sort(l.Strange)
	return l, nil
}

func (l *Listing) cut() {
	slices.SortFunc(l.Names, Name.Compare)
	l.Names = l.Names[:min(len(l.Names), MaxScan)]
}

// names are the listeners that were read so far.
type names map[string]string

// one returns the same string for the same listener, so that a long list does
// not keep every entry's name.
func (k names) one(listener string) string {
	s, ok := k[listener]
	if !ok {
		s = strings.Clone(listener)
		k[s] = s
	}
	return s
}

// Claim takes an entry, whatever it is, out of what waits, into work. It is not
// durable, and need not be: what a crash puts back is claimed again. An error
// that wraps fs.ErrNotExist means that the entry is gone. No entry of that name
// may be in work.
func (b *Box) Claim(entry string) error {
	if err := b.root.Rename(entry, inWork(entry)); err != nil {
		return fmt.Errorf("claim %.200q: %w", entry, err)
	}
	return nil
}

func inWork(entry string) string { return workFolder + "/" + entry }

// ErrNotFile is wrapped by the error for an entry that is no regular file with
// one name.
var ErrNotFile = errors.New("not a regular file with one name")

// Read returns the bytes of a claimed file. It opens nothing but a regular file
// with one name of at most [MaxFile] bytes, and waits for nothing: a folder, a
// pipe, a link or a device is an error that wraps [ErrNotFile], a larger file
// one that wraps [ErrTooLarge].
func (b *Box) Read(entry string) ([]byte, error) {
	data, err := read(b.work, entry)
	if err != nil {
		return nil, fmt.Errorf("read %.200q: %w", entry, err)
	}
	return data, nil
}

// Size is how many bytes [Box.Read] would return, 0 if it would return none.
func (b *Box) Size(entry string) int {
	info, err := b.work.Lstat(entry)
	if err != nil || regular(info) != nil {
		return 0
	}
	return int(info.Size())
}

func read(root *os.Root, path string) ([]byte, error) {
	before, err := root.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := regular(before); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(path, os.O_RDONLY|carefully, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, info) {
		return nil, fmt.Errorf("%w: it was replaced while it was opened", ErrNotFile)
	}
	if err := regular(info); err != nil {
		return nil, err
	}
	data := make([]byte, info.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

func regular(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: mode %s", ErrNotFile, info.Mode())
	case links(info) != 1:
		return fmt.Errorf("%w: it has %d names", ErrNotFile, links(info))
	case info.Size() > MaxFile:
		return fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, info.Size(), MaxFile)
	}
	return nil
}

// modified is the entry's modification time in Unix nanoseconds, 0 if it cannot
// be told.
func (b *Box) modified(entry string) int64 {
	info, err := b.root.Lstat(entry)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// Oldest returns when the longest waiting file of l was written, in Unix
// nanoseconds, or 0 if none waits. It looks at the lowest number of each
// sequence, at most [MaxScan] of them.
func (b *Box) Oldest(l Listing) int64 {
	var oldest int64
	for i, n := range l.Names {
		if i > 0 && sameSequence(l.Names[i-1], n) {
			continue
		}
		if t := b.modified(n.String()); t > 0 && (oldest == 0 || t < oldest) {
			oldest = t
		}
	}
	return oldest
}

func sameSequence(a, b Name) bool {
	return a.Kind == b.Kind && a.Listener == b.Listener && a.Epoch == b.Epoch
}
