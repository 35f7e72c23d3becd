package projectors

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A directory is the folder of one view: a folder per generation and the file
// CURRENT, which names the one that serves.
type directory string

const currentFile = "CURRENT"

func (d directory) generation(n uint32) string {
	return filepath.Join(string(d), fmt.Sprintf("%08d", n))
}

// current returns the number in CURRENT, 0 if there is no such file or it does
// not hold a number.
func (d directory) current() (uint32, error) {
	b, err := os.ReadFile(filepath.Join(string(d), currentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0, nil
	}
	return uint32(n), nil
}

// setCurrent makes generation n the one that serves after a restart: the folder's
// entry first, then the name.
func (d directory) setCurrent(n uint32) error {
	if err := syncDir(string(d)); err != nil {
		return err
	}
	temp := filepath.Join(string(d), currentFile+".new")
	if err := writeSynced(temp, fmt.Sprintf("%08d\n", n)); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(string(d), currentFile)); err != nil {
		return err
	}
	return syncDir(string(d))
}

func writeSynced(name, text string) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(name string) (err error) {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
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

// sweep removes what an earlier process left: every generation but keep.
func (d directory) sweep(keep uint32) error {
	all, err := d.generations()
	for _, g := range all {
		if g != keep {
			err = errors.Join(err, os.RemoveAll(d.generation(g)))
		}
	}
	return err
}
