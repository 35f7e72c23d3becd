package box

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// SpoolConfig says who writes.
type SpoolConfig struct {
	Site     string // 1 to 16 bytes
	Listener string // [A-Z0-9]{3,16}
	Epoch    uint32 // granted by the site, from 1
	Key      ed25519.PrivateKey
}

// A Spool is the writer's side of a box. It is safe for concurrent use; drops of
// the same kind wait for one another.
type Spool struct {
	cfg   SpoolConfig
	dir   string
	kinds [DDR + 1]sequence
}

type sequence struct {
	mu     sync.Mutex
	last   uint64
	merged uint64 // the newest file that Merge has made or seen; those before it are not looked at again
	buf    []byte
}

// OpenSpool opens the box in dir for writing and makes it if it is not there.
// Numbers continue behind the largest that the box still has of this listener
// and epoch, wherever in the box it is. What an earlier process of the listener
// left unfinished is removed.
func OpenSpool(dir string, cfg SpoolConfig) (*Spool, error) {
	name := Name{Listener: cfg.Listener, Epoch: cfg.Epoch, Number: 1, Kind: BTS}
	if err := name.Check(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	switch {
	case cfg.Site == "" || len(cfg.Site) > maxSite:
		return nil, fmt.Errorf("open spool: site %q, must be 1 to %d bytes", cfg.Site, maxSite)
	case len(cfg.Key) != ed25519.PrivateKeySize:
		return nil, errors.New("open spool: no key to sign with")
	}
	if err := makeFolders(dir); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s := &Spool{cfg: cfg, dir: dir}
	if err := s.resume(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return s, nil
}

// resume finds the largest number of each kind and clears tmp.
func (s *Spool) resume() error {
	days, err := filepath.Glob(filepath.Join(s.dir, archiveFolder, "*"))
	if err != nil {
		return err
	}
	for _, dir := range append(days, s.dir, filepath.Join(s.dir, workFolder), filepath.Join(s.dir, badFolder)) {
		err := readNames(dir, func(entry string) { s.note(entry) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	tmp := filepath.Join(s.dir, tmpFolder)
	var stale []string
	err = readNames(tmp, func(entry string) {
		n, err := ParseName(strings.TrimSuffix(entry, tmpSuffix))
		if err == nil && n.Listener == s.cfg.Listener && n.Epoch <= s.cfg.Epoch {
			stale = append(stale, entry)
		}
	})
	for _, entry := range stale {
		err = errors.Join(err, os.Remove(filepath.Join(tmp, entry)))
	}
	return err
}

func (s *Spool) note(entry string) {
	n, err := ParseName(original(entry))
	if err != nil || n.Listener != s.cfg.Listener || n.Epoch != s.cfg.Epoch {
		return
	}
	if q := &s.kinds[n.Kind]; n.Number > q.last {
		q.last = n.Number
	}
}

// Drop writes c as the next file of its kind and returns once it is durable and
// in place. From and to is the time that c is about. If it fails, the number is
// given to the next file, unless the file was already in place: then a reader
// may take it, and only its durability is unknown. Dropping the same contents
// again is safe in both cases.
func (s *Spool) Drop(c Contents, from, to time.Time) (Name, error) {
	if c == nil || !c.Kind().Valid() {
		return Name{}, errors.New("drop file: no contents")
	}
	if from.After(to) {
		from = to
	}
	q := &s.kinds[c.Kind()]
	q.mu.Lock()
	defer q.mu.Unlock()
	f := File{Site: s.cfg.Site, From: from, To: to, Contents: c,
		Name: Name{s.cfg.Listener, s.cfg.Epoch, q.last + 1, c.Kind()}}
	b, err := f.Append(q.buf[:0], s.cfg.Key)
	if err != nil {
		return Name{}, fmt.Errorf("drop file: %w", err)
	}
	if q.buf = b; cap(b) > keepBuffer {
		q.buf = nil
	}
	name := f.Name.String()
	tmp := filepath.Join(s.dir, tmpFolder, name+tmpSuffix)
	if err := writeDurably(tmp, b); err != nil {
		os.Remove(tmp)
		return Name{}, fmt.Errorf("drop %s: %w", name, err)
	}
	if err := s.place(tmp, name); err != nil {
		os.Remove(tmp)
		return Name{}, fmt.Errorf("drop %s: %w", name, err)
	}
	q.last++
	if err := syncFolder(s.dir); err != nil {
		return Name{}, fmt.Errorf("drop %s: %w", name, err)
	}
	return f.Name, nil
}

// keepBuffer is the largest buffer that a Spool keeps for the next file.
const keepBuffer = 1 << 20

// place renames the finished file in. A file of that name would be another
// writer's with the same epoch: it is left alone.
func (s *Spool) place(tmp, name string) error {
	to := filepath.Join(s.dir, name)
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("another writer of this listener and epoch: %w", fs.ErrExist))
	}
	return os.Rename(tmp, to)
}

// writeDurably creates path, which must not exist once what an earlier attempt
// left is removed, and returns when b is on disk. The name is not.
func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err := os.Remove(path); err != nil {
			return err
		}
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
