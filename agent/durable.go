package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeDurable replaces the file at path by b, mode 0600. When it returns nil
// the new content survives a power cut; when it fails, or the process dies, the
// old one is there.
func writeDurable(path string, b []byte) error {
	if err := replace(path, b, true); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// replace is writeDurable for what need not survive a power cut if sync is
// false.
func replace(path string, b []byte, sync bool) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}

// readBounded reads a file of at most max bytes. A file that is not there is
// nil.
func readBounded(path string, max int64) ([]byte, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: not a file", path)
	case info.Size() > max:
		return nil, fmt.Errorf("read %s: %d bytes, at most %d are taken", path, info.Size(), max)
	}
	return os.ReadFile(path)
}
