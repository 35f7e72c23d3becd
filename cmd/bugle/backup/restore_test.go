package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/journal/jetstream"
)

// copied is a backup of a site with archives and pages, and that site's key.
func copied(t *testing.T) (dir string, s *site, m *Manifest) {
	t.Helper()
	s = newSite(t)
	s.append(10)
	s.seal(false)
	s.append(10)
	s.seal(true)
	s.append(10)
	dir = filepath.Join(t.TempDir(), "backup")
	m = s.mustRun(dir).Manifest
	s.stop()
	return dir, s, m
}

// Whatever file of a backup is damaged, in whatever way, check and restore say
// so, and nothing is written.
func TestDamagedBackup(t *testing.T) {
	t.Parallel()
	dir, _, m := copied(t)
	files := []string{manifestFile, identityFile}
	for _, f := range m.Files {
		files = append(files, f.Stored)
	}
	tried := 0
	for _, name := range files {
		good, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for how, bad := range map[string][]byte{
			"first byte": changed(good, 0),
			"middle":     changed(good, len(good)/2),
			"last byte":  changed(good, len(good)-1),
			"cut":        good[:len(good)-1],
			"empty":      {},
			"gone":       nil,
		} {
			tried++
			full := filepath.Join(dir, name)
			if bad == nil {
				err = os.Remove(full)
			} else {
				err = os.WriteFile(full, bad, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			data := filepath.Join(t.TempDir(), "new")
			if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data}); err == nil {
				t.Errorf("%s, %s: restored", name, how)
			} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrUnfinished) && !errors.Is(err, ErrKey) {
				t.Errorf("%s, %s: an error of no kind: %v", name, how, err)
			}
			if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s, %s: the folder to be was made", name, how)
			}
		}
		put(t, filepath.Join(dir, name), string(good))
	}
	check(t, dir, nil)
	if tried < 60 {
		t.Errorf("only %d damages were tried", tried)
	}
}

func changed(b []byte, at int) []byte {
	b = append([]byte(nil), b...)
	b[at] ^= 0x10
	return b
}

// What an informed hand changes, hashes of the manifest and all, the signature
// tells, or the history itself.
func TestForgedBackup(t *testing.T) {
	t.Parallel()
	dir, s, m := copied(t)
	forge := func(change func(m *Manifest)) {
		t.Helper()
		forged := *m
		forged.Files = append([]File(nil), m.Files...)
		change(&forged)
		text, err := forged.sign(s.key)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, manifestFile), string(text))
	}
	for name, change := range map[string]func(m *Manifest){
		"fewer events":    func(m *Manifest) { m.Head.Event-- },
		"another head":    func(m *Manifest) { m.Head.Hash[3] ^= 1 },
		"another root":    func(m *Manifest) { m.Root[3] ^= 1 },
		"another site":    func(m *Manifest) { m.Site = "P02" },
		"an archive less": func(m *Manifest) { m.Files = without(m.Files, "journal/archive/00000001.bga") },
		"no pages":        func(m *Manifest) { m.Files = without(m.Files, namePages) },
		"no key":          func(m *Manifest) { m.Files = without(m.Files, nameHeadKey) },
		"pages cut":       func(m *Manifest) { cutPages(t, dir, m) },
		"out of the site": func(m *Manifest) { m.Files[0].Name = "keys/../../x" },
		"out of the copy": func(m *Manifest) { m.Files[0].Stored = "sets/../../x" },
	} {
		forge(change)
		data := filepath.Join(t.TempDir(), "new")
		if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the folder to be was made", name)
		}
	}
	forge(func(*Manifest) {})
	check(t, dir, publicOf(s.key))
	text := strings.Replace(string(m.encode()), "bugle backup v1", "bugle backup v2", 1)
	put(t, filepath.Join(dir, manifestFile), text)
	if _, err := Check(t.Context(), dir, nil, nil); !errors.Is(err, ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
}

func without(files []File, name string) (all []File) {
	for _, f := range files {
		if f.Name != name {
			all = append(all, f)
		}
	}
	return all
}

// cutPages makes the manifest speak of all but the last page.
func cutPages(t *testing.T, dir string, m *Manifest) {
	for i := range m.Files {
		f := &m.Files[i]
		if f.Name != namePages {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Stored))
		if err != nil {
			t.Fatal(err)
		}
		f.Size -= 200
		f.Digest = hashOf(b[:f.Size])
	}
}

// A restore goes into an empty folder, or one that is not there.
func TestRestoreIntoFolder(t *testing.T) {
	t.Parallel()
	dir, _, m := copied(t)
	used := t.TempDir()
	put(t, filepath.Join(used, "letters"), "x")
	before := contents(t, used)
	if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: used}); !errors.Is(err, ErrNotEmpty) {
		t.Error(err)
	}
	if diff := cmp.Diff(before, contents(t, used)); diff != "" {
		t.Errorf("the folder was changed:\n%s", diff)
	}
	empty := t.TempDir()
	if err := os.Mkdir(filepath.Join(empty, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: empty}); err != nil {
		t.Fatal(err)
	}
	sameHistory(t, empty, m)
	if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: empty}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("over a site: %v", err)
	}
	entries, err := os.ReadDir(empty)
	if err != nil || len(entries) != 4 {
		t.Errorf("the site's folder has %v, %v", entries, err)
	}
}

// A site that was made in the folder while the backup was checked stays what it
// is.
func TestRestoreWhileAnotherIsMade(t *testing.T) {
	t.Parallel()
	dir, _, m := copied(t)
	data := filepath.Join(t.TempDir(), "new")
	var before map[string]string
	late := func(Progress) {
		if before != nil {
			return
		}
		if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data}); err != nil {
			t.Error(err)
		}
		before = contents(t, data)
	}
	if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data, Progress: late}); !errors.Is(err, ErrNotEmpty) {
		t.Error(err)
	}
	if before == nil {
		t.Fatal("no other was made")
	}
	if err := Unfinished(data); err != nil {
		t.Error(err)
	}
	after := contents(t, data)
	for name := range after {
		if strings.HasSuffix(name, ".lock") {
			delete(after, name)
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the site was changed:\n%s", diff)
	}
	sameHistory(t, data, m)
}

// Wherever a restore is interrupted, the folder is no site, and the next call
// ends it.
func TestRestoreInterrupted(t *testing.T) {
	t.Parallel()
	dir, _, m := copied(t)
	other, _, _ := copied(t)
	stops := []string{"begin", "files", "journal", "checkpoint", "read back", "move keys", "move inboxes", "move journal", "end"}
	hit := 0
	for _, stop := range append(stops, "in the pages") {
		data := filepath.Join(t.TempDir(), "new")
		c := RestoreConfig{Dir: dir, Data: data, step: func(name string) error {
			if name == stop {
				hit++
				return errInterrupted
			}
			return nil
		}}
		if stop == "in the pages" {
			hit++
			c.load = halfway
		}
		if _, err := Restore(t.Context(), c); !errors.Is(err, errInterrupted) {
			t.Fatalf("%s: %v", stop, err)
		}
		if err := Unfinished(data); stop != "begin" && !errors.Is(err, ErrRestoring) {
			t.Errorf("%s: the folder looks finished: %v", stop, err)
		}
		if _, err := Run(t.Context(), Config{Data: data, Dir: filepath.Join(t.TempDir(), "b"), Source: nowhere{}}); stop != "begin" && !errors.Is(err, ErrRestoring) {
			t.Errorf("%s: a backup of it: %v", stop, err)
		}
		if strings.HasPrefix(stop, "move") {
			if _, err := Restore(t.Context(), RestoreConfig{Dir: other, Data: data}); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("%s: another backup went into the same folder: %v", stop, err)
			}
		}
		if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data}); err != nil {
			t.Fatalf("%s: %v", stop, err)
		}
		sameHistory(t, data, m)
		if err := Unfinished(data); err != nil {
			t.Error(err)
		}
	}
	if hit != len(stops)+1 {
		t.Errorf("%d of %d interruptions happened", hit, len(stops)+1)
	}
}

// nowhere is the history of no site.
type nowhere struct{ Source }

func (nowhere) Origin() string { return "bugle.P01/00" }

// halfway ends in the middle of the pages.
func halfway(ctx context.Context, dir string, history [16]byte, archives []string, pages iter.Seq2[[]byte, error]) error {
	return jetstream.Import(ctx, dir, history, archives, func(yield func([]byte, error) bool) {
		n := 0
		for raw, err := range pages {
			if n++; n > 4 {
				raw, err = nil, errInterrupted
			}
			if !yield(raw, err) {
				return
			}
		}
	})
}

// A restore whose copy was lost before it was put in its place says so.
func TestLostWhatWasBuilt(t *testing.T) {
	t.Parallel()
	dir, _, _ := copied(t)
	data := filepath.Join(t.TempDir(), "new")
	_, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data, step: func(name string) error {
		if name == "move keys" {
			return errInterrupted
		}
		return nil
	}})
	if !errors.Is(err, errInterrupted) {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(data, stagingFolder)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data}); err == nil || Unfinished(data) == nil {
		t.Errorf("restored out of nothing: %v", err)
	}
}

func TestNoBackup(t *testing.T) {
	t.Parallel()
	if _, err := Check(t.Context(), filepath.Join(t.TempDir(), "none"), nil, nil); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if _, err := Check(t.Context(), t.TempDir(), nil, nil); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}

func FuzzManifest(f *testing.F) {
	m := &Manifest{Site: "P01", Origin: "bugle.P01/00", Files: []File{{Name: "keys/x", Stored: "sets/00000001/keys/x", Size: 1}}}
	m.Head.Event, m.Head.Pages = 3, 2
	f.Add(string(m.encode()) + "\n")
	f.Add("bugle backup v1\n{}\n")
	f.Add("bugle backup v9\n{}\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseManifest([]byte(text))
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Error(err)
			}
			return
		}
		if again, err := parseManifest(append(m.encode(), '\n')); err != nil || cmp.Diff(m, again) != "" {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
		for _, file := range m.Files {
			for _, name := range []string{file.Name, file.Stored} {
				if !filepath.IsLocal(filepath.FromSlash(name)) {
					t.Errorf("%q leads out of the folder", name)
				}
			}
		}
	})
}

func FuzzMark(f *testing.F) {
	b, err := json.Marshal(restoreMark{Version: 1, Manifest: "00", Moving: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add(`{"version":2}`)
	f.Fuzz(func(t *testing.T, text string) {
		name := filepath.Join(t.TempDir(), markFile)
		put(t, name, text)
		if m, err := readMark(name); err == nil && m.Version > 1 {
			t.Errorf("read %+v of a later version", m)
		}
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "backup")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	_, err = Check(context.Background(), dir, nil, nil)
	fmt.Println(errors.Is(err, ErrForeign))
	fmt.Println(Unfinished(dir))
	// Output:
	// true
	// <nil>
}
