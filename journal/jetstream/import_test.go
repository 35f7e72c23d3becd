package jetstream

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// rawPages are the pages of a journal behind a head, as bytes.
func rawPages(t *testing.T, j journal.Journal, behind journal.Head) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r, err := j.Read(context.Background(), behind.Event+1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for n := behind.Pages; n < j.Head().Pages; n++ {
			p, err := r.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if !yield(p.Bytes(), nil) {
				return
			}
		}
	}
}

// twoArchives is a journal of three generations, of which two are archived.
func twoArchives(t *testing.T) (j *Journal, archives []string) {
	t.Helper()
	j = mustOpen(t, t.TempDir(), Options{Key: testKey})
	mustAppend(t, j, "a", 4)
	mustSeal(t, j)
	mustAppend(t, j, "b", 4)
	mustSeal(t, j)
	mustAppend(t, j, "c", 4)
	tr := grownTree(t, j)
	for n := uint32(1); n <= 2; n++ {
		g, err := j.Archive(context.Background(), n, tr, nil)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, filepath.Join(generation.ArchiveFolder(j.store.dir), g.Archive))
	}
	return j, archives
}

func TestImport(t *testing.T) {
	from, archives := twoArchives(t)
	want := everything(t, from)
	for n := range 3 {
		dir := filepath.Join(t.TempDir(), "new")
		behind := from.Generations()[n].Before
		if err := Import(context.Background(), dir, from.History(), archives[:n], rawPages(t, from, behind)); err != nil {
			t.Fatalf("with %d archives: %v", n, err)
		}
		j := mustOpen(t, dir, Options{Covered: from.Head()})
		same(t, j, want)
		if j.History() != from.History() || j.Head() != from.Head() {
			t.Errorf("history %x, head %+v", j.History(), j.Head())
		}
		mustAppend(t, j, "d", 1)
	}
	dir := t.TempDir()
	if err := Import(context.Background(), dir, [16]byte{1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if j := mustOpen(t, dir, Options{}); j.Head() != (journal.Head{}) || j.History() != [16]byte{1} {
		t.Errorf("an import of nothing: %+v, %x", j.Head(), j.History())
	}
}

// Many pages of all sizes, in several generations.
func TestImportMany(t *testing.T) {
	from := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, from, "a", 300)
	for range 40 {
		if err := from.Append(context.Background(), big(), big()); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "new")
	opts := Options{SealBytes: 1 << 20}.orDefault()
	if err := importInto(context.Background(), dir, from.History(), nil, rawPages(t, from, journal.Head{}), opts); err != nil {
		t.Fatal(err)
	}
	j := mustOpen(t, dir, Options{})
	if j.Head() != from.Head() || len(j.Generations()) < 3 {
		t.Errorf("it ends with %+v, in %d generations", j.Head(), len(j.Generations()))
	}
}

func TestImportOfWhatDoesNotFit(t *testing.T) {
	from, archives := twoArchives(t)
	all := rawPages(t, from, journal.Head{})
	second := rawPages(t, from, from.Generations()[1].Before)
	broken := errors.New("broken")
	changed := filepath.Join(t.TempDir(), "changed.bga")
	b, err := os.ReadFile(archives[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(changed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		history  [16]byte
		archives []string
		pages    iter.Seq2[[]byte, error]
		want     error
	}{
		{"pages that do not follow", from.History(), nil, second, journal.ErrDamaged},
		{"pages that are archived", from.History(), archives[:1], all, journal.ErrDamaged},
		{"an archive of another journal", [16]byte{1}, archives, nil, archive.ErrHistory},
		{"a gap", from.History(), archives[1:], nil, nil},
		{"a damaged archive", from.History(), []string{changed}, second, journal.ErrDamaged},
		{"no archive", from.History(), []string{changed + ".not"}, second, os.ErrNotExist},
		{"an error of the pages", from.History(), nil, func(yield func([]byte, error) bool) { yield(nil, broken) }, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			err := Import(context.Background(), dir, c.history, c.archives, c.pages)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("import says %v", err)
			}
			if _, err := Open(context.Background(), dir, Options{}); err == nil {
				t.Error("what is incomplete was opened")
			}
			if err := Import(context.Background(), dir, c.history, nil, nil); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("importing into what is incomplete says %v", err)
			}
		})
	}
	if err := Import(context.Background(), from.store.dir, from.History(), nil, nil); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("importing into a journal that is open says %v", err)
	}
}
