package projectors

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/bugle-fleet/bugle/journal/durable"
)

// A directory is the folder of one view: a folder per generation, the file
// CURRENT, which names the one that serves, the file PREVIOUS, which names the
// one that served before and since when it does not, and the kept states.
type directory string

const (
	currentFile  = "CURRENT"
	previousFile = "PREVIOUS"
	keptFolder   = "kept"
)

func (d directory) file(name string) string { return filepath.Join(string(d), name) }

func (d directory) generation(n uint32) string { return d.file(fmt.Sprintf("%08d", n)) }

func (d directory) has(n uint32) bool {
	info, err := os.Stat(d.generation(n))
	return n != 0 && err == nil && info.IsDir()
}

// read returns the content of a file that may be missing.
func (d directory) read(name string) (string, error) {
	b, err := os.ReadFile(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(b), err
}

// current returns the number in CURRENT, 0 if there is no such file or it does
// not hold a number.
func (d directory) current() (uint32, error) {
	text, err := d.read(currentFile)
	var n uint32
	if _, bad := fmt.Sscanf(text, "%d\n", &n); bad != nil {
		n = 0
	}
	return n, err
}

// setCurrent makes generation n the one that serves after a restart: the folder's
// entry first, then the name.
func (d directory) setCurrent(n uint32) error {
	if err := durable.SyncFolder(string(d)); err != nil {
		return err
	}
	return durable.Replace(d.file(currentFile), fmt.Appendf(nil, "%08d\n", n))
}

// previous returns what PREVIOUS says, 0 if there is no such file or it does not
// hold that.
func (d directory) previous() (n uint32, since time.Time, err error) {
	text, err := d.read(previousFile)
	var seconds int64
	if _, bad := fmt.Sscanf(text, "%d %d\n", &n, &seconds); bad != nil {
		return 0, time.Time{}, err
	}
	return n, time.Unix(seconds, 0), err
}

func (d directory) setPrevious(n uint32, since time.Time) error {
	if n == 0 {
		err := os.Remove(d.file(previousFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return errors.Join(err, durable.SyncFolder(string(d)))
	}
	return durable.Replace(d.file(previousFile), fmt.Appendf(nil, "%08d %d\n", n, since.Unix()))
}

// generations lists the numbers of the folders that are there.
func (d directory) generations() (all []uint32, err error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 32); err == nil && e.IsDir() {
			all = append(all, uint32(n))
		}
	}
	return all, nil
}

// next returns a number above every one that is there.
func (d directory) next() (uint32, error) {
	all, err := d.generations()
	if err != nil {
		return 0, err
	}
	n, err := d.current()
	for _, g := range all {
		n = max(n, g)
	}
	return n + 1, err
}

// sweep removes what an earlier process left: every generation but those to keep.
func (d directory) sweep(keep ...uint32) error {
	all, err := d.generations()
	for _, g := range all {
		if !slices.Contains(keep, g) {
			err = errors.Join(err, os.RemoveAll(d.generation(g)))
		}
	}
	return err
}
