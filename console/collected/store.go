package collected

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// DefaultQuota is how many bytes are kept unless somebody says otherwise.
const DefaultQuota = 2 << 30

// MaxFiles is the largest number of files that are kept.
const MaxFiles = 100_000

// Why a body is not kept.
var (
	ErrBody  = errors.New("the body is not what was announced")
	ErrQuota = errors.New("it is larger than all that is kept")
	ErrNone  = errors.New("there is no such file")
)

// A File is what one device sent for one operation.
type File struct {
	Operation task.ID
	Device    uint32
	Size      int64
	SHA256    [32]byte
	At        time.Time // when it came
}

func (f *File) name() string {
	return filepath.Join(f.Operation.String(), fmt.Sprintf("%d-%x.tar.gz", f.Device, f.SHA256))
}

type key struct {
	operation task.ID
	device    uint32
}

// A Store is a folder of collected logs. It is safe for concurrent use; one process
// has a folder at a time.
type Store struct {
	dir     string
	quota   int64
	removed func(File)

	mu       sync.Mutex
	files    map[key]File
	held     int64 // bytes in files
	reserved int64 // bytes on their way
}

// Open opens the folder, and makes it if it is not there. Removed is told of each
// file that had to make room; it must not call the store.
func Open(dir string, quota int64, removed func(File)) (*Store, error) {
	if quota <= 0 {
		quota = DefaultQuota
	}
	s := &Store{dir: dir, quota: quota, removed: removed, files: make(map[key]File)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open collected logs: %w", err)
	}
	operations, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open collected logs: %w", err)
	}
	for _, o := range operations {
		if err := s.load(o.Name()); err != nil {
			return nil, fmt.Errorf("open collected logs: %w", err)
		}
	}
	return s, nil
}

// load takes what is of one operation; what is not of this package is left alone.
func (s *Store) load(name string) error {
	op, err := task.ParseID(name)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, name, e.Name())
		if strings.HasSuffix(e.Name(), ".part") {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		f, ok := parseName(e.Name())
		info, err := e.Info()
		if !ok || err != nil || !info.Mode().IsRegular() {
			continue
		}
		f.Operation, f.Size, f.At = op, info.Size(), info.ModTime().UTC()
		if err := s.insert(f); err != nil {
			return err
		}
	}
	return nil
}

var fileName = regexp.MustCompile(`^([1-9][0-9]{0,9})-([0-9a-f]{64})\.tar\.gz$`)

func parseName(name string) (f File, ok bool) {
	m := fileName.FindStringSubmatch(name)
	if m == nil {
		return f, false
	}
	n, err := strconv.ParseUint(m[1], 10, 32)
	if err != nil {
		return f, false
	}
	f.Device = uint32(n)
	hex.Decode(f.SHA256[:], []byte(m[2]))
	return f, true
}

// insert notes a file that is on disk, and removes the one in whose place it is.
func (s *Store) insert(f File) error {
	k := key{f.Operation, f.Device}
	old, there := s.files[k]
	if there && old.SHA256 != f.SHA256 {
		if f.At.Before(old.At) {
			old, f = f, old
		}
		if err := s.unlink(&old); err != nil {
			return err
		}
	}
	if there {
		s.held -= s.files[k].Size
	}
	s.files[k] = f
	s.held += f.Size
	return nil
}

func (s *Store) unlink(f *File) error {
	if err := os.Remove(filepath.Join(s.dir, f.name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	os.Remove(filepath.Join(s.dir, f.Operation.String())) // if nothing else is in it
	return nil
}

// Put keeps size bytes of body, whose SHA-256 is sum. When it returns nil they are
// durable.
func (s *Store) Put(ctx context.Context, op task.ID, device uint32, sum [32]byte, size int64, body io.Reader) error {
	f := File{Operation: op, Device: device, Size: size, SHA256: sum, At: time.Now().UTC()}
	if size < 0 || device == 0 {
		return fmt.Errorf("keep logs: %w", ErrBody)
	}
	if old, ok := s.lookup(op, device); ok && old.SHA256 == sum {
		return nil // it came before, and the answer was lost
	}
	gone, err := s.reserve(size)
	if s.removed != nil {
		for _, g := range gone {
			s.removed(g)
		}
	}
	if err != nil {
		return fmt.Errorf("keep logs: %w", err)
	}
	defer s.release(size)
	if err := s.write(ctx, &f, body); err != nil {
		return fmt.Errorf("keep logs of device %d: %w", device, err)
	}
	return nil
}

func (s *Store) lookup(op task.ID, device uint32) (File, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[key{op, device}]
	return f, ok
}

// reserve makes room, and returns what had to go.
func (s *Store) reserve(size int64) (gone []File, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size > s.quota {
		return nil, fmt.Errorf("%w: %d bytes, %d are kept", ErrQuota, size, s.quota)
	}
	if s.reserved+size > s.quota { // nothing has to go for what has no room anyway
		return nil, fmt.Errorf("%w: others are on their way", ErrQuota)
	}
	for len(s.files) > 0 && (s.held+s.reserved+size > s.quota || len(s.files) >= MaxFiles) {
		f := s.oldest()
		if err := s.unlink(&f); err != nil {
			return gone, err
		}
		delete(s.files, key{f.Operation, f.Device})
		s.held -= f.Size
		gone = append(gone, f)
	}
	if s.held+s.reserved+size > s.quota {
		return gone, fmt.Errorf("%w: others are on their way", ErrQuota)
	}
	s.reserved += size
	return gone, nil
}

func (s *Store) release(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= size
}

func (s *Store) oldest() (old File) {
	for _, f := range s.files {
		if old.Device == 0 || f.At.Before(old.At) || f.At.Equal(old.At) && f.name() < old.name() {
			old = f
		}
	}
	return old
}

// write brings the body to disk: aside, synced, renamed, and the folders synced.
func (s *Store) write(ctx context.Context, f *File, body io.Reader) error {
	path := filepath.Join(s.dir, f.name())
	dir := filepath.Dir(path)
	part, err := createPart(dir)
	if err != nil {
		return err
	}
	defer os.Remove(part.Name()) // it is gone if all went well
	err = copyExactly(ctx, part, body, f)
	if err = errors.Join(err, part.Sync(), part.Close()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := durable.Rename(part.Name(), path); err != nil {
		return err
	}
	if err := durable.SyncFolder(s.dir); err != nil {
		return err
	}
	return s.insert(*f)
}

// createPart makes a file in a folder that may have to be made, or that another
// call removes at this moment because it was empty.
func createPart(dir string) (f *os.File, err error) {
	for range 3 {
		if err = os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if f, err = os.CreateTemp(dir, "*.part"); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, err
}

func copyExactly(ctx context.Context, w io.Writer, body io.Reader, f *File) error {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(&whileReader{ctx, body}, f.Size+1))
	switch {
	case err != nil:
		return err
	case n != f.Size:
		return fmt.Errorf("%w: it has not %d bytes", ErrBody, f.Size)
	case [32]byte(h.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%w: its SHA-256 is %x", ErrBody, h.Sum(nil))
	}
	return nil
}

type whileReader struct {
	ctx context.Context
	r   io.Reader
}

func (w *whileReader) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// List returns what is kept of an operation, by device.
func (s *Store) List(op task.ID) []File {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []File
	for k, f := range s.files {
		if k.operation == op {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b File) int { return cmp.Compare(a.Device, b.Device) })
	return list
}

// Open opens what a device sent, for reading; the error wraps [ErrNone] if there is
// nothing. It can be read to its end even if it has to make room meanwhile.
func (s *Store) Open(op task.ID, device uint32) (*os.File, File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[key{op, device}]
	if !ok {
		return nil, f, fmt.Errorf("open collected logs: %w", ErrNone)
	}
	file, err := os.Open(filepath.Join(s.dir, f.name()))
	if err != nil {
		return nil, f, fmt.Errorf("open collected logs: %w", err)
	}
	return file, f, nil
}

// Size returns how many files and bytes are kept.
func (s *Store) Size() (files int, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files), s.held
}
