package generation_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/generation"
)

func head(event, pages uint64) journal.Head {
	return journal.Head{Event: event, Pages: pages, Hash: [32]byte{byte(event), 31: byte(pages)}}
}

func sample() generation.List {
	return generation.List{
		{Number: 1, End: head(40, 8), Archive: "00000001.bga", Size: 4096, Digest: [32]byte{1, 2, 3}, Removed: true},
		{Number: 2, Before: head(40, 8), End: head(90, 20), Archive: "00000002.bga", Size: 99, Digest: [32]byte{4}},
		{Number: 3, Before: head(90, 20), End: head(91, 21)},
		{Number: 4, Before: head(91, 21)},
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	if _, err := generation.Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a list that is not there: %v", err)
	}
	if err := generation.Write(dir, sample()); err != nil {
		t.Fatal(err)
	}
	got, err := generation.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "generations.v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, generation.File)); err != nil || string(b) != string(want) {
		t.Errorf("the spelling of the file has changed: %v\n%s", err, b)
	}
}

func TestOf(t *testing.T) {
	l := sample()
	for page, want := range map[uint64]uint32{1: 1, 8: 1, 9: 2, 20: 2, 21: 3, 22: 4, 1000: 4} {
		if g := l.Of(page); g == nil || g.Number != want {
			t.Errorf("page %d is of generation %v, want %d", page, g, want)
		}
	}
	if g := l.Of(0); g != nil {
		t.Errorf("page 0 is of generation %d", g.Number)
	}
}

// A list that does not hold together is neither written nor read.
func TestRefuses(t *testing.T) {
	for name, change := range map[string]func(generation.List) generation.List{
		"none":                    func(generation.List) generation.List { return nil },
		"a hole in the numbers":   func(l generation.List) generation.List { l[1].Number = 7; return l },
		"another beginning":       func(l generation.List) generation.List { l[2].Before.Hash[5] = 1; return l },
		"sealed at the end":       func(l generation.List) generation.List { return l[:3] },
		"open in the middle":      func(l generation.List) generation.List { l[2].End = journal.Head{}; return l },
		"removed, no archive":     func(l generation.List) generation.List { l[2].Removed = true; return l },
		"archive of another name": func(l generation.List) generation.List { l[1].Archive = "../../etc/passwd"; return l },
		"archive of an open one":  func(l generation.List) generation.List { l[3].Archive = "00000004.bga"; return l },
	} {
		dir := t.TempDir()
		if err := generation.Write(dir, change(sample())); err == nil {
			t.Errorf("%s: written", name)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("%s: the folder has %v, %v", name, files, err)
		}
	}
}

func TestDamage(t *testing.T) {
	good, err := os.ReadFile(filepath.Join("testdata", "generations.v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":         {"", generation.ErrDamaged},
		"cut":           {string(good[:len(good)/2]), generation.ErrDamaged},
		"more behind":   {string(good) + "{}", generation.ErrDamaged},
		"later version": {strings.Replace(string(good), `"version": 1`, `"version": 2`, 1), generation.ErrVersion},
		"unknown field": {strings.Replace(string(good), `"version": 1,`, `"version": 1, "more": 2,`, 1), generation.ErrDamaged},
		"short hash":    {strings.Replace(string(good), `00"`, `"`, 1), generation.ErrDamaged},
		"other number":  {strings.Replace(string(good), `"event": 40`, `"event": 41`, 1), generation.ErrDamaged},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, generation.File), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := generation.Read(dir); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	good, err := os.ReadFile(filepath.Join("testdata", "generations.v1.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add(`{"version":1,"generations":[{"number":1}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, generation.File), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := generation.Read(dir)
		if err != nil {
			if !errors.Is(err, generation.ErrDamaged) && !errors.Is(err, generation.ErrVersion) {
				t.Error(err)
			}
			return
		}
		if err := generation.Write(dir, l); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, generation.File)); err != nil || string(b) != text {
			t.Errorf("%q became %q, %v", text, b, err)
		}
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "generation")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	end := journal.Head{Event: 1000, Pages: 12, Hash: [32]byte{1}}
	if err := generation.Write(dir, generation.List{{Number: 1, End: end}, {Number: 2, Before: end}}); err != nil {
		fmt.Println(err)
		return
	}
	list, err := generation.Read(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, g := range list {
		fmt.Printf("generation %d begins with event %d, sealed: %v\n", g.Number, g.Before.Event+1, g.Sealed())
	}
	// Output:
	// generation 1 begins with event 1, sealed: true
	// generation 2 begins with event 1001, sealed: false
}
