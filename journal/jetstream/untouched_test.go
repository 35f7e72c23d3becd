package jetstream

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A folder is what all files below a folder are, by their names.
type folder map[string]string

func lookAt(t *testing.T, dir string) folder {
	t.Helper()
	all := make(folder)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			all[name] = "folder"
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		all[name] = fmt.Sprintf("%d bytes of %s: %x", len(b), info.ModTime(), sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// untouched fails the test unless the folder is as it was.
func untouched(t *testing.T, dir string, before folder) {
	t.Helper()
	now := lookAt(t, dir)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if now[name] != before[name] {
			t.Errorf("%s was changed: %s, now %s", name, before[name], now[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if before[name] == "" {
			t.Errorf("%s was made: %s", name, now[name])
		}
	}
}

// copyFolder copies a folder, with the times of its files, to another one.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, b, 0o600); err != nil {
			return err
		}
		return os.Chtimes(target, info.ModTime(), info.ModTime())
	})
	if err != nil {
		t.Fatal(err)
	}
}
