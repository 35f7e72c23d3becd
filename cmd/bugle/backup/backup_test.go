package backup

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A backup restores to the same history, keys and waiting files, whether its
// pages are in archives or behind them.
func TestBackupAndRestore(t *testing.T) {
	for name, grow := range map[string]func(*site){
		"live only":         func(s *site) { s.append(30) },
		"archives and live": func(s *site) { s.append(10); s.seal(false); s.append(10); s.seal(true); s.append(5) },
		"archive at an end": func(s *site) { s.append(10); s.seal(false) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			grow(s)
			dir, data := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "new")
			result := s.mustRun(dir)
			report := check(t, dir, publicOf(s.key))
			if report.Unfinished || report.Checkpoint.Head() != result.Manifest.Head || report.Manifest.By != "me@here" || report.Manifest.Site != "P01" {
				t.Errorf("report %+v", report)
			}
			for _, want := range []string{"bgb.box/SITE01-00000001-00000000000000000007.BOS", "bgb.box/work/SITE01-00000001-00000000000000000006.BOS", "bgb.box/bad/SITE01-00000001-00000000000000000005.BOS"} {
				if _, ok := result.Manifest.file("inboxes/" + want); !ok {
					t.Errorf("%s was not copied", want)
				}
			}
			for _, f := range result.Manifest.Files {
				if strings.Contains(f.Name, "/archive/2026") || strings.Contains(f.Name, "/tmp/") {
					t.Errorf("%s was copied", f.Name)
				}
			}
			if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data, Key: publicOf(s.key)}); err != nil {
				t.Fatal(err)
			}
			sameHistory(t, data, result.Manifest)
			if err := Unfinished(data); err != nil {
				t.Error(err)
			}
			goesOn(t, s, data, result.Manifest)
		})
	}
}

// goesOn checks that the restored site opens, tree and all, and takes events.
func goesOn(t *testing.T, old *site, data string, m *Manifest) {
	t.Helper()
	old.stop()
	s := &site{t: t, data: data}
	s.start()
	if s.journal.Head() != m.Head || !s.key.Equal(old.key) {
		t.Errorf("the restored site ends with %+v, want %+v", s.journal.Head(), m.Head)
	}
	s.append(3)
	if got := s.journal.Head().Event; got != m.Head.Event+3 {
		t.Errorf("three events later it ends with event %d", got)
	}
}

// A later run copies only what is new, also when pages moved into an archive
// meanwhile, and removes what it replaces.
func TestIncremental(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "backup")
	s.append(200)
	first := s.mustRun(dir)
	s.append(5)
	second := s.mustRun(dir)
	if second.Manifest.Head.Event != 205 || second.Copied*2 > first.Copied {
		t.Errorf("the first run copied %d bytes, the second %d", first.Copied, second.Copied)
	}
	check(t, dir, nil)
	s.seal(false)
	s.append(5)
	third := s.mustRun(dir)
	if third.Manifest.Head.Event != 210 {
		t.Errorf("the third run has %d events", third.Manifest.Head.Event)
	}
	check(t, dir, nil)
	if pages, err := os.ReadDir(filepath.Join(dir, pagesFolder)); err != nil || len(pages) != 1 {
		t.Errorf("%d files of pages, %v", len(pages), err)
	}
	if sets, err := os.ReadDir(filepath.Join(dir, setsFolder)); err != nil || len(sets) != 1 {
		t.Errorf("%d sets, %v", len(sets), err)
	}
	fourth := s.mustRun(dir)
	if fourth.Copied > 10_000 {
		t.Errorf("nothing is new, and %d bytes were copied", fourth.Copied)
	}
	check(t, dir, nil)
}

// A site that does not run is copied from its files.
func TestOffline(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(10)
	s.seal(false)
	s.append(10)
	if _, err := OpenOffline(s.data); err == nil {
		t.Fatal("the history of a site that runs was opened")
	}
	head, key := s.journal.Head(), publicOf(s.key)
	s.stop()
	source, err := OpenOffline(s.data)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	dir := filepath.Join(t.TempDir(), "backup")
	r, err := Run(t.Context(), Config{Data: s.data, Dir: dir, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	if r.Manifest.Head != head {
		t.Errorf("copied up to %+v, want %+v", r.Manifest.Head, head)
	}
	check(t, dir, key)
}

// What a crash left behind the last checkpoint is copied too.
func TestOfflineBehindTheCheckpoint(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(10)
	name := filepath.Join(s.data, "journal", "tree", "checkpoint")
	earlier, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s.append(10)
	head, key := s.journal.Head(), publicOf(s.key)
	s.stop()
	if err := os.WriteFile(name, earlier, 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := OpenOffline(s.data)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	dir := filepath.Join(t.TempDir(), "backup")
	r, err := Run(t.Context(), Config{Data: s.data, Dir: dir, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	if r := check(t, dir, key); r.Manifest.Head != head || r.Checkpoint.Events != 10 {
		t.Errorf("the backup has %d events, its checkpoint %d", r.Manifest.Head.Event, r.Checkpoint.Events)
	}

	// A site that was killed in its first second has signed nothing.
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Config{Data: s.data, Dir: dir, Source: source}); err != nil {
		t.Fatal(err)
	}
	if r := check(t, dir, key); r.Manifest.Head != head || r.Checkpoint.Events != 0 {
		t.Errorf("the backup has %d events, its checkpoint %d", r.Manifest.Head.Event, r.Checkpoint.Events)
	}
	data := filepath.Join(t.TempDir(), "new")
	if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data}); err != nil {
		t.Fatal(err)
	}
	goesOn(t, s, data, r.Manifest)
}

// steps are those of a run, in order.
var steps = []string{"inbox", "keys", "archives", "pages", "manifest", "clean"}

// Wherever a first run is interrupted, the folder is no backup, or a whole one;
// the next run ends it.
func TestFirstRunInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(10)
	s.seal(false)
	s.append(20)
	for _, stop := range append(steps, "in the pages") {
		t.Run(stop, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "backup")
			interrupt(t, s, dir, stop)
			_, err := Check(t.Context(), dir, nil, nil)
			if want := stop == "clean"; (err == nil) != want || err != nil && !errors.Is(err, ErrUnfinished) {
				t.Errorf("check: %v", err)
			}
			if stop != "clean" {
				data := filepath.Join(t.TempDir(), "new")
				if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data}); !errors.Is(err, ErrUnfinished) {
					t.Errorf("restore: %v", err)
				}
				if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the folder to be was made: %v", err)
				}
			}
			s.t = t
			s.mustRun(dir)
			check(t, dir, nil)
		})
	}
	s.t = t
}

// Wherever a later run is interrupted, the backup before it is whole.
func TestLaterRunInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, stop := range append(steps, "in the pages") {
		for _, sealed := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "backup")
			s.append(10)
			before := s.mustRun(dir).Manifest
			s.append(10)
			if sealed {
				s.seal(false)
				s.append(5)
			}
			interrupt(t, s, dir, stop)
			r := check(t, dir, publicOf(s.key))
			if stop != "clean" && r.Manifest.Head != before.Head {
				t.Errorf("%s: the backup has %d events, it had %d", stop, r.Manifest.Head.Event, before.Head.Event)
			}
			if stop != "inbox" && stop != "clean" && !r.Unfinished {
				t.Errorf("%s: nothing tells of the run that was interrupted", stop)
			}
			after := s.mustRun(dir).Manifest
			if r := check(t, dir, nil); r.Manifest.Head != after.Head || r.Unfinished {
				t.Errorf("%s: %+v", stop, r)
			}
		}
	}
}

// interrupt ends a run before a step, or in the middle of the pages.
func interrupt(t *testing.T, s *site, dir, stop string) {
	t.Helper()
	c := Config{Data: s.data, Dir: dir, Source: s, step: func(name string) error {
		if name == stop {
			return errInterrupted
		}
		return nil
	}}
	if stop == "in the pages" {
		c.Source = breaking{s}
	}
	if _, err := Run(t.Context(), c); !errors.Is(err, errInterrupted) {
		t.Fatalf("run that is interrupted at %s: %v", stop, err)
	}
}

// breaking breaks off before the last pages.
type breaking struct{ *site }

func (b breaking) Pages(ctx context.Context, from uint64) (Pages, error) {
	p, err := b.site.Pages(ctx, from)
	if err == nil {
		p.(*livePages).fail = b.site.journal.Head().Event - 2
	}
	return p, err
}

// An interrupted run is not begun anew: the pages that were copied are there.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(500)
	dir := filepath.Join(t.TempDir(), "backup")
	interrupt(t, s, dir, "in the pages")
	// A torn end, as a crash leaves it.
	name := filepath.Join(dir, pagesFolder, "0000000000000001")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{0, 0, 1, 0, 'B', 'G'}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if r := s.mustRun(dir); r.Copied > 10_000 {
		t.Errorf("%d bytes were copied again", r.Copied)
	}
	check(t, dir, nil)
}

// Folders that are not this site's backups are left alone.
func TestRefusesFolder(t *testing.T) {
	t.Parallel()
	s, other := newSite(t), newSite(t)
	s.append(5)
	other.append(5)
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string)
		want error
	}{
		"something else": {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "letters"), "x") }, ErrForeign},
		"another site":   {func(t *testing.T, dir string) { other.mustRun(dir) }, ErrOther},
		"later version":  {func(t *testing.T, dir string) { put(t, filepath.Join(dir, identityFile), `{"version":2,"origin":"x"}`) }, ErrVersion},
		"damaged": {func(t *testing.T, dir string) {
			s.mustRun(dir)
			flip(t, filepath.Join(dir, manifestFile), 40)
		}, ErrDamaged},
		"damaged pages": {func(t *testing.T, dir string) {
			s.mustRun(dir)
			flip(t, filepath.Join(dir, pagesFolder, "0000000000000001"), 200)
		}, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "backup")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			c.make(t, dir)
			before := contents(t, dir)
			if _, err := s.run(dir); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			after := contents(t, dir)
			for name := range after {
				if strings.Contains(name, "/sets/") {
					delete(after, name) // aside, and removed by the next run
				}
			}
			for name := range before {
				if strings.Contains(name, "/sets/") {
					delete(before, name)
				}
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the folder was changed:\n%s", diff)
			}
		})
	}
}

func put(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// flip changes a bit of a file.
func flip(t testing.TB, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	put(t, name, string(b))
}

// A site that was rolled back, and went on differently, does not go into its old
// backup.
func TestRolledBackSite(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(10)
	early, late, data := filepath.Join(t.TempDir(), "early"), filepath.Join(t.TempDir(), "late"), filepath.Join(t.TempDir(), "new")
	s.mustRun(early)
	s.append(10)
	s.mustRun(late)
	s.stop()
	if _, err := Restore(t.Context(), RestoreConfig{Dir: early, Data: data}); err != nil {
		t.Fatal(err)
	}
	again := &site{t: t, data: data}
	again.start()
	again.append(15)
	before := contents(t, late)
	if _, err := again.run(late); !errors.Is(err, ErrOther) {
		t.Errorf("a history that forks off: %v", err)
	}
	check(t, late, nil)
	for name, text := range before {
		if b, err := os.ReadFile(name); err != nil || string(b) != text {
			t.Errorf("%s was changed, %v", name, err)
		}
	}
}

// Everything is for the owner only.
func TestPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which has no such modes
	}
	t.Parallel()
	s := newSite(t)
	s.append(5)
	s.seal(true)
	dir := filepath.Join(t.TempDir(), "backup")
	s.mustRun(dir)
	err := filepath.Walk(dir, func(name string, i os.FileInfo, err error) error {
		if err == nil && i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", name, i.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// The key tells whose backup it is.
func TestOtherKey(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(5)
	dir, data := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "new")
	s.mustRun(dir)
	other := publicOf(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if _, err := Check(t.Context(), dir, other, nil); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data, Key: other}); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder to be was made: %v", err)
	}
}

// Two runs at a time are one too many.
func TestLocked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(5)
	dir := filepath.Join(t.TempDir(), "backup")
	var inner error
	_, err := Run(t.Context(), Config{Data: s.data, Dir: dir, Source: s, step: func(name string) error {
		if name == "keys" {
			_, inner = s.run(dir)
		}
		return nil
	}})
	if err != nil || inner == nil || !strings.Contains(inner.Error(), "locked") {
		t.Errorf("first %v, second %v", err, inner)
	}
}

// A run says how far it is, and ends with its context.
func TestProgressAndCancel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(50)
	dir := filepath.Join(t.TempDir(), "backup")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last Progress
	_, err := Run(ctx, Config{Data: s.data, Dir: dir, Source: s, Now: func() time.Time { return time.Unix(1e9, 0) }, Progress: func(p Progress) {
		if p.Done < last.Done || p.Done > p.Total {
			t.Errorf("%+v after %+v", p, last)
		}
		if last = p; p.Step == "pages" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || last.Done == 0 {
		t.Errorf("%v at %+v", err, last)
	}
	s.mustRun(dir)
	check(t, dir, nil)
}
