package action

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Bounds of the quarantine.
const (
	quarantineFolder = "quarantine"
	maxQuarantined   = 10_000  // files
	maxQuarantine    = 4 << 30 // bytes of all of them
	maxNote          = 64 << 10
	noteSuffix       = ".json"
	bodySuffix       = ".bin"
)

// A note says where a file in quarantine came from.
type note struct {
	Path   string    `json:"path"`
	Threat string    `json:"threat"`
	SHA256 string    `json:"sha256"`
	Size   int64     `json:"size"`
	Mode   uint32    `json:"mode"`
	User   *uint32   `json:"user,omitempty"`
	Group  *uint32   `json:"group,omitempty"`
	At     time.Time `json:"at"`

	name string // in the folder, without its suffix
}

// A suspect is a file that was found. What has its name may have been replaced
// since, by whoever may write there: what is dealt with is the open file, through
// the folder in which it lies.
type suspect struct {
	dir  *os.Root
	name string
	path string // full, without links
	file *os.File
	info fs.FileInfo
	sum  Digest
}

// arrest opens a file that was found. If want is there, its contents must have that
// SHA-256 still.
func arrest(ctx context.Context, path string, want *Digest) (*suspect, error) {
	real, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	dir, err := openFolder(real)
	if err != nil {
		return nil, err
	}
	s := &suspect{dir: dir, name: filepath.Base(path), path: filepath.Join(real, filepath.Base(path))}
	if err := s.open(ctx, want); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *suspect) open(ctx context.Context, want *Digest) (err error) {
	if s.file, err = s.dir.OpenFile(s.name, os.O_RDONLY|openFlags, 0); err != nil {
		return err
	}
	if s.info, err = s.file.Stat(); err != nil {
		return err
	}
	if !s.info.Mode().IsRegular() {
		return errNotRegular
	}
	h := sha256.New()
	if _, err := io.Copy(h, while(ctx, s.file)); err != nil {
		return err
	}
	s.sum = Digest(h.Sum(nil))
	if want != nil && s.sum != *want {
		return errors.New("it was changed after it was found")
	}
	return nil
}

func (s *suspect) close() {
	if s.file != nil {
		s.file.Close()
	}
	s.dir.Close()
}

// remove takes the file out of its folder, if it is still there.
func (s *suspect) remove() error {
	now, err := s.dir.Lstat(s.name)
	if err != nil {
		return err
	}
	if !os.SameFile(now, s.info) {
		return errors.New("another file has its name now")
	}
	return s.dir.Remove(s.name)
}

// quarantine moves a file into the quarantine: it is there, on disk, before it is
// taken away.
func (p *protection) quarantine(ctx context.Context, s *suspect, threat string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir == "" {
		return errNoState
	}
	dir := filepath.Join(p.dir, quarantineFolder)
	if err := errors.Join(makeFolder(p.dir), makeFolder(dir)); err != nil {
		return err
	}
	n := &note{Path: s.path, Threat: threatKey(threat), SHA256: s.sum.String(), Size: s.info.Size(), At: now.UTC(),
		Mode: uint32(s.info.Mode().Perm())}
	if user, group, ok := ownerOf(s.info); ok {
		n.User, n.Group = &user, &group
	}
	if err := p.room(dir, n.Size); err != nil {
		return err
	}
	name := filepath.Join(dir, randomName())
	if err := errors.Join(s.copyTo(ctx, name+bodySuffix), n.write(name)); err != nil {
		os.Remove(name + bodySuffix)
		os.Remove(name + noteSuffix)
		return err
	}
	return s.remove()
}

func (p *protection) room(dir string, size int64) error {
	notes, err := readNotes(dir)
	if err != nil {
		return err
	}
	for _, n := range notes {
		size += n.Size
	}
	if len(notes) >= maxQuarantined || size > maxQuarantine {
		return errors.New("the quarantine is full")
	}
	return nil
}

func (s *suspect) copyTo(ctx context.Context, path string) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), while(ctx, s.file))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if Digest(h.Sum(nil)) != s.sum {
		return errors.New("it changes while it is read")
	}
	return nil
}

func (n *note) write(name string) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return writeDurable(name+noteSuffix, append(b, '\n'))
}

// readNotes returns what is in quarantine. A file without a note is one that was
// not moved to the end, and is still where it was.
func readNotes(dir string) ([]*note, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var notes []*note
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), noteSuffix)
		if !ok {
			continue
		}
		b, err := readAtMost(filepath.Join(dir, e.Name()), maxNote)
		if err != nil {
			return nil, err
		}
		n := &note{name: filepath.Join(dir, name)}
		if err := json.Unmarshal(b, n); err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name(), err)
		}
		notes = append(notes, n)
	}
	return notes, nil
}

// restore puts back the files of some threats, and returns which, and what kept it
// from others.
func (p *protection) restore(ctx context.Context, threats []string) (back []string, problems []error, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir == "" {
		return nil, nil, errNoState
	}
	notes, err := readNotes(filepath.Join(p.dir, quarantineFolder))
	if err != nil {
		return nil, nil, fmt.Errorf("read quarantine: %w", err)
	}
	for _, n := range notes {
		if !n.is(threats) {
			continue
		}
		if err := n.restore(ctx); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", n.Path, err))
			continue
		}
		back = append(back, n.Path)
	}
	return back, problems, nil
}

func (n *note) is(threats []string) bool {
	for _, t := range threats {
		if k := threatKey(t); k == n.Threat || k == n.SHA256 {
			return true
		}
	}
	return false
}

// restore writes the file where it was, if nothing has its name now and no part of
// the way there is a link: whoever may write there must not choose another place.
// It gets its owner back, and no bit by which it would run as somebody else.
func (n *note) restore(ctx context.Context) error {
	body, err := os.Open(n.name + bodySuffix)
	if err != nil {
		return err
	}
	defer body.Close()
	dir, err := openFolder(filepath.Dir(n.Path))
	if err != nil {
		return err
	}
	defer dir.Close()
	base := filepath.Base(n.Path)
	f, err := dir.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), while(ctx, body))
	if err == nil && Digest(h.Sum(nil)).String() != n.SHA256 {
		err = errors.New("what is in quarantine is damaged")
	}
	if err == nil && n.User != nil && n.Group != nil {
		err = f.Chown(int(*n.User), int(*n.Group))
	}
	if err == nil {
		err = f.Chmod(fs.FileMode(n.Mode).Perm())
	}
	if err = errors.Join(err, f.Sync(), f.Close(), syncRoot(dir)); err != nil {
		dir.Remove(base)
		return err
	}
	return errors.Join(os.Remove(n.name+noteSuffix), os.Remove(n.name+bodySuffix))
}
