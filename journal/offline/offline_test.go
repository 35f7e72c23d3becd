package offline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// shape is a journal of 44 pages in three generations, the first of which is only
// in its archive, the second in both, and the third in several files.
func shape() offlinetest.Shape {
	s := offlinetest.Shape{Sealed: []int{12, 24}, PerFile: 5, Archived: 2, Removed: 1}
	for i := range 44 {
		s.Pages = append(s.Pages, 1+i*7%5)
	}
	return s
}

func open(t testing.TB, dir string) *offline.Journal {
	t.Helper()
	j, err := offline.Open(dir, offline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func trust(t testing.TB, f *offlinetest.Folder) offline.Trust {
	return offline.Trust{Key: f.Public(), Checkpoints: []tree.Checkpoint{f.Signed(t)}}
}

func TestReadsArchivesAndFilesAsOne(t *testing.T) {
	f := offlinetest.Make(t, t.TempDir(), shape())
	j := open(t, f.Dir)
	end := f.Heads[len(f.Pages)]
	if j.Head() != end || j.History() != f.History || len(j.Generations()) != 3 || j.Torn() != nil || j.Mark().Head != end {
		t.Fatalf("head %+v, history %x, generations %v, torn %v", j.Head(), j.History(), j.Generations(), j.Torn())
	}
	for from := uint64(0); from <= end.Event+1; from++ {
		r, err := j.Read(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		page := 0
		for f.Heads[page].Event < max(from, 1)-1 && f.Heads[page+1].Event < max(from, 1) {
			page++
		}
		for ; page < len(f.Pages) && f.Heads[page+1].Event >= from; page++ {
			p, err := r.Next(t.Context())
			if err != nil || !bytes.Equal(p.Bytes(), f.Pages[page]) {
				t.Fatalf("from %d: page %d: %v", from, page+1, err)
			}
		}
		if _, err := r.Next(t.Context()); err != io.EOF {
			t.Fatalf("from %d: behind the last page: %v", from, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(t.Context()); err == nil {
			t.Fatal("a reader that is closed reads")
		}
	}
	if _, err := j.Read(t.Context(), end.Event+2); !errors.Is(err, journal.ErrAhead) {
		t.Errorf("beyond the end: %v", err)
	}
}

func TestVerify(t *testing.T) {
	f := offlinetest.Make(t, t.TempDir(), shape())
	j := open(t, f.Dir)
	older, _ := f.CheckpointOf(t, 17)
	told := trust(t, f)
	told.Checkpoints = append(told.Checkpoints, older)
	calls := 0
	report, err := j.Verify(t.Context(), told, func(tree.Report) { calls++ })
	signed := f.Signed(t)
	if err != nil || !report.OK || report.Matched != 2 || report.Covered != signed.Events || report.Root != signed.Root || report.Events != signed.Events || calls != 44 {
		t.Errorf("%+v, %d calls, %v", report, calls, err)
	}
}

// The folder of a site does as well as the journal's own.
func TestFolderOfASite(t *testing.T) {
	data := t.TempDir()
	f := offlinetest.Make(t, filepath.Join(data, "journal"), offlinetest.Shape{Pages: []int{1, 2}})
	if j := open(t, data); j.Folder() != f.Dir || j.Head().Event != 3 {
		t.Errorf("%s, %+v", j.Folder(), j.Head())
	}
}

// A copy without the lock, and one that nobody may write, are read, and left as
// they are.
func TestReadsACopy(t *testing.T) {
	f := offlinetest.Make(t, t.TempDir(), shape())
	if err := os.Remove(filepath.Join(f.Dir, "lock")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(f.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			t.Cleanup(func() { os.Chmod(path, 0o700) })
			return os.Chmod(path, 0o500)
		}
		return os.Chmod(path, 0o400)
	})
	if err != nil {
		t.Fatal(err)
	}
	j := open(t, f.Dir)
	if report, err := j.Verify(t.Context(), trust(t, f), nil); err != nil || !report.OK {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := os.Lstat(filepath.Join(f.Dir, "lock")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file lock was made")
	}
}

func TestRefusesToOpen(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string) error
		want   error
	}{
		"no journal": {os.RemoveAll, offline.ErrNoJournal},
		"no mark":    {func(dir string) error { return os.Remove(filepath.Join(dir, "history")) }, os.ErrNotExist},
		"a bad mark": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "history"), []byte("x"), 0o600) }, offline.ErrMark},
		"a bad sum":  {func(dir string) error { return flip(filepath.Join(dir, "history"), 99) }, offline.ErrMark},
		"no list":    {func(dir string) error { return os.Remove(filepath.Join(dir, generation.File)) }, os.ErrNotExist},
		"a bad list": {func(dir string) error { return os.WriteFile(filepath.Join(dir, generation.File), []byte("{}"), 0o600) }, generation.ErrDamaged},
	} {
		f := offlinetest.Make(t, filepath.Join(t.TempDir(), "j"), offlinetest.Shape{Pages: []int{1, 2}})
		if err := c.change(f.Dir); err != nil {
			t.Fatal(err)
		}
		if j, err := offline.Open(f.Dir, offline.Options{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", name, j, err)
		}
	}
}

func flip(name string, at int) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[at%len(b)] ^= 4
	return os.WriteFile(name, b, 0o600)
}

// restore undoes what was done to a copy of a folder.
type restore struct {
	files map[string][]byte
	dir   string
}

func snapshot(t testing.TB, dir string) restore {
	t.Helper()
	r := restore{map[string][]byte{}, dir}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		r.files[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r restore) undo(t testing.TB) {
	t.Helper()
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if _, ok := r.files[path]; err != nil || d.IsDir() || ok {
			return err
		}
		return os.Remove(path)
	})
	for path, b := range r.files {
		if now, e := os.ReadFile(path); e != nil || !bytes.Equal(now, b) {
			err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// rounds is how often each mutation is done.
const rounds = 25

// Whatever is done to the files of a closed journal, its checkpoint finds it, and
// the first event that cannot be trusted any more is named.
func TestEveryMutationIsFound(t *testing.T) {
	f := offlinetest.Make(t, t.TempDir(), shape())
	told, back := trust(t, f), snapshot(t, f.Dir)
	for _, m := range offlinetest.Mutations {
		t.Run(m.Name, func(t *testing.T) {
			n := rounds
			if m.Name == "flip a bit" {
				n = 500
			}
			for i := range n {
				truth := m.Do(t, rand.New(rand.NewPCG(1, uint64(i))), f)
				if truth.First > 0 {
					if err := found(t.Context(), f, told, truth.First); err != nil {
						t.Fatalf("round %d: %v", i, err)
					}
				}
				back.undo(t)
			}
		})
	}
}

// found checks that a verification finds what begins at event first.
func found(ctx context.Context, f *offlinetest.Folder, told offline.Trust, first uint64) error {
	j, err := offline.Open(f.Dir, offline.Options{})
	if err != nil {
		return err
	}
	defer j.Close()
	report, err := j.Verify(ctx, told, nil)
	if err == nil && j.Torn() != nil && report.Events+1 == first {
		return nil // bytes behind the last page that are no page: it is told, and nothing is lost
	}
	bad, ok := errors.AsType[*offline.VerifyError](err)
	switch {
	case !ok || report.OK:
		return fmt.Errorf("found %+v, %w; want event %d", report, err, first)
	case bad.Event != first:
		return fmt.Errorf("found event %d, want %d: %w (%w)", bad.Event, first, bad, bad.Err)
	case bad.File == "" || bad.Reason == "" || !errors.Is(err, journal.ErrDamaged) && !errors.Is(err, tree.ErrTampered):
		return fmt.Errorf("%+v says too little", bad)
	}
	page := 0
	for page < len(f.Pages) && f.Heads[page].Event < first {
		page++
	}
	if f.Heads[page].Event < first {
		page++
	}
	if bad.Page != 0 && int(bad.Page) != page {
		return fmt.Errorf("found page %d, want %d: %w", bad.Page, page, bad)
	}
	return nil
}

// Without the tree's hashes the chain alone must tell: all is found, and nothing
// is trusted that cannot be.
func TestEveryMutationIsFoundWithoutHashes(t *testing.T) {
	f := offlinetest.Make(t, t.TempDir(), shape())
	f.WithoutHashes(t)
	told, back := trust(t, f), snapshot(t, f.Dir)
	for _, m := range offlinetest.Mutations {
		for i := range 10 {
			truth := m.Do(t, rand.New(rand.NewPCG(2, uint64(i))), f)
			if truth.First > 0 {
				j := open(t, f.Dir)
				report, err := j.Verify(t.Context(), told, nil)
				if bad, ok := errors.AsType[*offline.VerifyError](err); ok && bad.Event > truth.First || !ok && (err != nil || j.Torn() == nil) {
					t.Errorf("%s, round %d: found %+v, %v; want event %d", m.Name, i, report, err, truth.First)
				}
				j.Close()
			}
			back.undo(t)
		}
	}
}

// Archives are checked to the last byte, those that are read and those that are
// only kept.
func TestEveryByteOfAnArchive(t *testing.T) {
	f := offlinetest.Make(t, t.TempDir(), shape())
	told := trust(t, f)
	for n := range 2 {
		name := filepath.Join(generation.ArchiveFolder(f.Dir), generation.ArchiveName(uint32(n+1)))
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := n; at < int(info.Size()); at += 5 {
			if err := flip(name, at); err != nil {
				t.Fatal(err)
			}
			j := open(t, f.Dir)
			report, err := j.Verify(t.Context(), told, nil)
			if err == nil || report.OK {
				t.Fatalf("byte %d of archive %d: %+v", at, n+1, report)
			}
			if bad, ok := errors.AsType[*offline.VerifyError](err); ok && bad.File != name {
				t.Fatalf("byte %d of archive %d: %v", at, n+1, bad)
			}
			j.Close()
			if err := flip(name, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(name, name+".x"); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, f.Dir).Verify(t.Context(), told, nil); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("no archive %d: %v", n+1, err)
		}
		if err := os.Rename(name+".x", name); err != nil {
			t.Fatal(err)
		}
	}
}

// A write that was never finished is none of the journal's, if nobody was told of
// it.
func TestTornTail(t *testing.T) {
	s := shape()
	s.Signed, s.Marked = 43, 40
	f := offlinetest.Make(t, t.TempDir(), s)
	last := filepath.Join(generation.LiveFolder(f.Dir, 3), "4.blk")
	info, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	told := trust(t, f)
	if err := os.Truncate(last, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	j := open(t, f.Dir)
	report, err := j.Verify(t.Context(), told, nil)
	if err != nil || !report.OK || report.Pages != 43 || j.Torn() == nil || j.Head() != f.Heads[43] {
		t.Errorf("%+v, torn %v, head %+v, %v", report, j.Torn(), j.Head(), err)
	}
	j.Close()
	if err := f.WriteMark(f.Heads[44]); err != nil {
		t.Fatal(err)
	}
	j = open(t, f.Dir)
	_, err = j.Verify(t.Context(), told, nil)
	if bad, ok := errors.AsType[*offline.VerifyError](err); !ok || bad.Event != f.Heads[43].Event+1 || bad.Page != 44 || bad.File != last || j.Torn() != nil {
		t.Errorf("a tail that was acknowledged: %v, torn %v", err, j.Torn())
	}
}

func TestStops(t *testing.T) {
	f := offlinetest.Make(t, t.TempDir(), shape())
	j := open(t, f.Dir)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := j.Verify(ctx, trust(t, f), func(r tree.Report) {
		if r.Pages == 20 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
