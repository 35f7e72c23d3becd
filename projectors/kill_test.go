package projectors_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// TestPL1Killed takes the files of running views as a killed process leaves them:
// what was seen is there, nothing is folded anew, and no event counts twice.
func TestPL1Killed(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"), other(), say("set b 2"))
	s.Append(other(), other()) // they change no row: their position is not stored yet
	_, before := s.Digest("words")
	left := t.TempDir()
	copyFiles(t, s.Dir, left)

	again := newWords("words")
	v, err := projectors.Open(projectors.Options{Dir: left, Journal: s.Journal, History: projectorstest.History}, again.View)
	if err != nil {
		t.Fatal(err)
	}
	position, digest, err := v.Digest("words")
	if err != nil || position != 3 || digest != before {
		t.Errorf("left are other rows, at event %d: %v", position, err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	s.Stop()
	s.Dir = left
	s.Open(again.View)
	s.Wait(5)
	position, digest = s.Digest("words")
	if st := status(s); position != 5 || digest != before || st.Generation != 1 {
		t.Errorf("gone on, there are other rows at event %d: %+v", position, st)
	}
}

// copyFiles copies files that are mostly holes.
func copyFiles(t *testing.T, from, to string) {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(filepath.Join(to, rel), 0o700))
		}
		return copyFile(path, filepath.Join(to, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(from, to string) (err error) {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := r.ReadAt(buf, at)
		if !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := w.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		if at += int64(n); err == io.EOF {
			return w.Truncate(at)
		} else if err != nil {
			return err
		}
	}
}
