package jetstream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// An archived is a generation that is in an archive only.
type archived struct {
	shelf      *shelf
	generation generation.Generation

	mu      sync.Mutex
	checked bool  // the file is the one that was verified
	damage  error // for ever

	reading sync.RWMutex // of reader
	reader  *archive.Reader
}

func (a *archived) first() uint64 { return a.generation.Before.Pages + 1 }

func (a *archived) name() string {
	return filepath.Join(generation.ArchiveFolder(a.shelf.dir), a.generation.Archive)
}

// verify makes sure that the file is the one that was verified before the live
// store let the generation go.
func (a *archived) verify(ctx context.Context, _ journal.Head) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.damage != nil || a.checked {
		return a.damage
	}
	return a.found(checkArchive(ctx, a.shelf.dir, &a.generation, nil))
}

// verifyAgain is verify for a file that was read before. Whoever reads from it is
// not kept waiting.
func (a *archived) verifyAgain(ctx context.Context, pace func(int) error) error {
	err := checkArchive(ctx, a.shelf.dir, &a.generation, pace)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.damage != nil {
		return a.damage
	}
	return a.found(err)
}

// found keeps what a check has found.
func (a *archived) found(err error) error {
	if errors.Is(err, journal.ErrDamaged) {
		a.damage = err
	}
	a.checked = a.checked || err == nil
	return err
}

// checkArchive makes sure that the archive of a generation is, byte for byte, the
// one in the list.
func checkArchive(ctx context.Context, dir string, g *generation.Generation, pace func(int) error) error {
	name := filepath.Join(generation.ArchiveFolder(dir), g.Archive)
	digest, size, err := digestOf(ctx, name, pace)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return foreign(name, g.Before, "the archive is gone")
	case err == nil && (digest != g.Digest || uint64(size) != g.Size):
		return foreign(name, g.Before, "the archive is not the one that was made of these events")
	}
	return err
}

func (a *archived) damageOf(reason string) error {
	return foreign(a.name(), a.generation.Before, reason)
}

// digestOf reads a file. It calls pace, which may be nil, with the bytes that it
// has read since.
func digestOf(ctx context.Context, name string, pace func(int) error) (digest [32]byte, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return digest, 0, err
	}
	defer f.Close()
	sum, buf := sha256.New(), make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return digest, 0, err
		}
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		size += int64(n)
		if err == io.EOF {
			return [32]byte(sum.Sum(nil)), size, nil
		}
		if err == nil && pace != nil {
			err = pace(n)
		}
		if err != nil {
			return digest, 0, err
		}
	}
}

func (a *archived) load(ctx context.Context, n, last uint64) ([][]byte, error) {
	if err := a.verify(ctx, journal.Head{}); err != nil {
		return nil, err
	}
	for {
		a.reading.RLock()
		if a.reader != nil {
			defer a.reading.RUnlock()
			return a.reader.Load(ctx, n, last)
		}
		a.reading.RUnlock()
		if err := a.open(); err != nil {
			return nil, err
		}
	}
}

func (a *archived) open() error {
	a.reading.Lock()
	defer a.reading.Unlock()
	if a.reader != nil {
		return nil
	}
	r, err := openArchive(a.shelf.dir, a.shelf.history, &a.generation)
	if err != nil {
		return err
	}
	a.reader = r
	return nil
}

func (a *archived) close() {
	a.reading.Lock()
	defer a.reading.Unlock()
	if a.reader != nil {
		a.reader.Close()
		a.reader = nil
	}
}

// openArchive opens the archive of a generation and makes sure that it says it is
// that.
func openArchive(dir string, history [16]byte, g *generation.Generation) (*archive.Reader, error) {
	name := filepath.Join(generation.ArchiveFolder(dir), g.Archive)
	r, err := archive.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, foreign(name, g.Before, "the archive is gone")
	}
	if err != nil {
		return nil, err
	}
	i := r.Info()
	if i.History != history || i.Generation != g.Number || i.Before != g.Before || i.End != g.End {
		r.Close()
		return nil, foreign(name, g.Before, fmt.Sprintf("it is not the archive of generation %d of this journal", g.Number))
	}
	return r, nil
}
