package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// openFolder opens a folder by its full path, none of whose parts is a link, not
// even for a moment.
func openFolder(path string) (*os.Root, error) {
	path = filepath.Clean(path)
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("open folder %s: not a full path", path)
	}
	top := filepath.VolumeName(path) + string(filepath.Separator)
	dir, err := os.OpenRoot(top)
	if err != nil {
		return nil, err
	}
	for _, part := range strings.Split(strings.TrimPrefix(path, top), string(filepath.Separator)) {
		if part == "" {
			continue
		}
		next, err := step(dir, part)
		dir.Close()
		if err != nil {
			return nil, fmt.Errorf("open folder %s: %w", path, err)
		}
		dir = next
	}
	return dir, nil
}

func step(dir *os.Root, name string) (*os.Root, error) {
	was, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !was.IsDir() {
		return nil, fmt.Errorf("%s is a link or no folder", name)
	}
	next, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if is, err := next.Stat("."); err != nil || !os.SameFile(was, is) {
		next.Close()
		return nil, fmt.Errorf("%s was replaced meanwhile", name)
	}
	return next, nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it has no such thing
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// syncRoot makes the names in an open folder durable, where its file system can.
func syncRoot(dir *os.Root) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// makeFolder makes a folder if it is not there, and makes its name durable.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

// A readWhile reads as long as its context lasts.
type readWhile struct {
	ctx context.Context
	r   io.Reader
}

func (r *readWhile) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func while(ctx context.Context, r io.Reader) io.Reader { return &readWhile{ctx, r} }
