package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/bugle-fleet/bugle/journal/durable"
)

// Names in a backup's folder.
const (
	identityFile  = "BACKUP"
	manifestFile  = "MANIFEST"
	lockFile      = "lock"
	setsFolder    = "sets"
	archiveFolder = "archive"
	pagesFolder   = "pages"
	aside         = ".tmp"
)

// An identity says which site's backups are in a folder.
type identity struct {
	Version int    `json:"version"`
	Origin  string `json:"origin"`
}

const identityVersion = 1

// A folder is a backup's folder while it is written.
type folder struct {
	dir      string
	identity identity
	last     *Manifest // of the backup that is there, or nil
	set      uint32    // of this run
	unlock   func()
}

// openFolder takes the folder for a run of the site with that origin, and makes
// it if it is not there. What is no backup, or one of another site, is left
// alone.
func openFolder(dir, origin string) (*folder, error) {
	f := &folder{dir: dir, identity: identity{identityVersion, origin}}
	new, err := f.examine()
	if err != nil {
		return nil, err
	}
	if err := makeTop(dir, durable.SyncFolder); err != nil {
		return nil, err
	}
	if f.unlock, err = take(filepath.Join(dir, lockFile)); err != nil {
		return nil, err
	}
	if err := f.prepare(new); err != nil {
		f.unlock()
		return nil, err
	}
	return f, nil
}

// examine looks at what is there and changes nothing.
func (f *folder) examine() (new bool, err error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	new = true
	for _, e := range entries {
		new = new && (e.Name() == lockFile || e.Name() == identityFile+aside)
	}
	if new {
		return true, nil
	}
	there, err := readIdentity(f.dir)
	if err != nil {
		return false, err
	}
	if there.Origin != f.identity.Origin {
		return false, fmt.Errorf("%w: %s holds that of %s, this is %s", ErrOther, f.dir, there.Origin, f.identity.Origin)
	}
	m, _, err := readManifest(f.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	f.last = m
	return false, nil
}

// readIdentity reads which site's backups are in dir.
func readIdentity(dir string) (i identity, err error) {
	b, err := readSmall(filepath.Join(dir, identityFile), 64<<10)
	if errors.Is(err, os.ErrNotExist) {
		return i, fmt.Errorf("%w: %s has no file %s", ErrForeign, dir, identityFile)
	}
	if err != nil {
		return i, err
	}
	err = json.NewDecoder(bytes.NewReader(b)).Decode(&i)
	switch {
	case err == nil && i.Version > identityVersion:
		return i, fmt.Errorf("%w: version %d, this bugle reads %d", ErrVersion, i.Version, identityVersion)
	case err != nil || i.Origin == "" || !bytes.Equal(i.encode(), b):
		return i, fmt.Errorf("%w: %s cannot be read", ErrDamaged, filepath.Join(dir, identityFile))
	}
	return i, nil
}

func (i identity) encode() []byte {
	b, err := json.Marshal(i)
	if err != nil {
		panic("backup: encode identity: " + err.Error()) // it has nothing that JSON cannot say
	}
	return append(b, '\n')
}

func (f *folder) prepare(new bool) error {
	if new {
		if err := durable.Replace(filepath.Join(f.dir, identityFile), f.identity.encode()); err != nil {
			return err
		}
	}
	f.set = 1
	if f.last != nil {
		f.set = f.last.Set + 1
	}
	// What an interrupted run left in it is of another moment.
	if err := os.RemoveAll(f.path(f.setFolder())); err != nil {
		return err
	}
	for _, name := range []string{archiveFolder, pagesFolder, f.setFolder()} {
		if err := makeFolder(f.dir, name); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) setFolder() string { return path.Join(setsFolder, fmt.Sprintf("%08d", f.set)) }

// path is where something stored is.
func (f *folder) path(stored string) string { return filepath.Join(f.dir, filepath.FromSlash(stored)) }

// kept returns the file that belongs in a place in the backup that is there.
func (f *folder) kept(name string) (File, bool) {
	if f.last == nil {
		return File{}, false
	}
	return f.last.file(name)
}

// clean removes what the manifest does not name: older sets, pages that are in
// an archive by now.
func (f *folder) clean(m *Manifest) error {
	named := map[string]bool{}
	for _, file := range m.Files {
		named[file.Stored] = true
	}
	sets, err := os.ReadDir(f.path(setsFolder))
	if err != nil {
		return err
	}
	for _, e := range sets {
		if n, err := strconv.ParseUint(e.Name(), 10, 32); err == nil && uint32(n) != m.Set {
			if err := os.RemoveAll(f.path(path.Join(setsFolder, e.Name()))); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{archiveFolder, pagesFolder} {
		entries, err := os.ReadDir(f.path(name))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if stored := path.Join(name, e.Name()); !named[stored] {
				if err := os.Remove(f.path(stored)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (f *folder) close() { f.unlock() }

// makeTop makes a folder for the owner only, and those above it that are not there.
// sync makes the name of each last: else a power cut could take the folder together
// with all that was synced in it.
func makeTop(dir string, sync func(folder string) error) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var above []string
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, os.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		above = append(above, filepath.Dir(at))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, folder := range above {
		if err := sync(folder); err != nil {
			return err
		}
	}
	return nil
}

// makeFolder makes the folder name, with slashes, below dir, for the owner only,
// and makes the names durable.
func makeFolder(dir, name string) error {
	full := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(full, 0o700); err != nil {
		return err
	}
	for name != "." {
		name = path.Dir(name)
		if err := durable.SyncFolder(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a regular file to one that appears whole or not at all, and
// returns its size and hash. Read, which may be nil, is told of every piece.
func copyFile(from, to string, read func(n int)) (size int64, digest [32]byte, err error) {
	in, err := openRegular(from)
	if err != nil {
		return 0, digest, err
	}
	defer in.Close()
	out, err := os.OpenFile(to+aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, digest, err
	}
	sum := sha256.New()
	size, err = io.Copy(io.MultiWriter(out, sum, meter(read)), in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		os.Remove(to + aside)
		return 0, digest, fmt.Errorf("copy %s: %w", from, err)
	}
	return size, [32]byte(sum.Sum(nil)), durable.Rename(to+aside, to)
}

// hashFile is the hash of the first size bytes of a file; one that is shorter is
// an error that wraps [ErrDamaged].
func hashFile(name string, size int64, read func(n int)) (digest [32]byte, err error) {
	in, err := openRegular(name)
	if errors.Is(err, os.ErrNotExist) {
		return digest, fmt.Errorf("%w: %s is missing", ErrDamaged, name)
	}
	if err != nil {
		return digest, err
	}
	defer in.Close()
	sum := sha256.New()
	n, err := io.CopyN(io.MultiWriter(sum, meter(read)), in, size)
	if err == io.EOF {
		return digest, fmt.Errorf("%w: %s has %d bytes, not %d", ErrDamaged, name, n, size)
	}
	return [32]byte(sum.Sum(nil)), err
}

// Inside tells whether the folder name, which need not be there, is dir or lies
// below it.
func Inside(name, dir string) (bool, error) {
	name, err := resolved(name)
	if err != nil {
		return false, err
	}
	if dir, err = resolved(dir); err != nil {
		return false, err
	}
	way, err := filepath.Rel(dir, name)
	return err == nil && filepath.IsLocal(way), nil // without a way they are on different disks
}

// resolved is a name from the root, with no links in what is there of it.
func resolved(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	full, err := filepath.EvalSymlinks(name)
	above := filepath.Dir(name)
	if !errors.Is(err, os.ErrNotExist) || above == name {
		return full, err
	}
	above, err = resolved(above)
	return filepath.Join(above, filepath.Base(name)), err
}

// openRegular opens a file, but nothing that a path may lead to and is none.
func openRegular(name string) (*os.File, error) {
	s, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !s.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: it is not a regular file", name)
	}
	return os.Open(name)
}

// A meter is told how many bytes were written.
type meter func(n int)

func (m meter) Write(p []byte) (int, error) {
	if m != nil {
		m(len(p))
	}
	return len(p), nil
}
