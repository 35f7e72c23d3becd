package backup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The name of every folder that is made is made to last, and no other.
func TestMakeTop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synced := func(name string) (all []string) {
		err := makeTop(name, func(folder string) error {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s is synced before all is made: %v", folder, err)
			}
			all = append(all, folder)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return all
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "a", "b"), filepath.Join(dir, "a"), dir}, synced(filepath.Join(dir, "a", "b", "c"))); diff != "" {
		t.Error(diff)
	}
	if s, err := os.Stat(filepath.Join(dir, "a")); err != nil || s.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", s, err)
	}
	if all := synced(filepath.Join(dir, "a", "b")); len(all) > 0 {
		t.Errorf("of what was there is synced %v", all)
	}
	if err := makeTop(filepath.Join(dir, "x"), func(string) error { return errInterrupted }); !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
}

// A copy in the folder that it is of would go with it.
func TestRefusesOwnFolder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(5)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(s.data, "journal"), link); err != nil {
		t.Fatal(err)
	}
	before := contents(t, s.data)
	for _, dir := range []string{s.data, filepath.Join(s.data, "backup"), filepath.Join(s.data, "new", "backup"), filepath.Join(link, "backup")} {
		if _, err := s.run(dir); !errors.Is(err, ErrInside) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if diff := cmp.Diff(before, contents(t, s.data)); diff != "" {
		t.Errorf("the site's folder was changed:\n%s", diff)
	}
	dir := s.data + ".backup" // beside it, with a name that begins alike
	s.mustRun(dir)
	kept := contents(t, dir)
	for _, data := range []string{dir, filepath.Join(dir, "site")} {
		if _, err := Restore(t.Context(), RestoreConfig{Dir: dir, Data: data}); !errors.Is(err, ErrInside) {
			t.Errorf("restore into %s: %v", data, err)
		}
	}
	if diff := cmp.Diff(kept, contents(t, dir)); diff != "" {
		t.Errorf("the backup was changed:\n%s", diff)
	}
}

// A file that nobody gave a name of a box, not even one of text, keeps no backup
// from being made.
func TestOddNamesInInboxes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.append(2)
	s.write("inboxes/bgb.box/\xff.BOS", "x")
	s.write("inboxes/bgb.box/a\nb", "x")
	dir := filepath.Join(t.TempDir(), "backup")
	m := s.mustRun(dir).Manifest
	check(t, dir, nil)
	if _, ok := m.file("inboxes/bgb.box/SITE01-00000001-00000000000000000007.BOS"); !ok {
		t.Error("a file that waits is left out")
	}
}
