package jetstream

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// custody is a closed journal that has everything: a generation that is in an
// archive only, one that is closed, one that is open; and what is in it.
func custody(t *testing.T) (dir string, events map[string]string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "custody")
	j := mustOpen(t, dir, Options{Key: testKey})
	mustAppend(t, j, "a", 6)
	mustSeal(t, j)
	mustAppend(t, j, "b", 6)
	mustSeal(t, j)
	mustAppend(t, j, "c", 6)
	mustArchive(t, j, 1)
	if err := j.Remove(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	events = everything(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, events
}

// outcome opens a journal and reads all of it. It fails the test if anything else
// comes out than what was there or an error, or if an Open that fails has changed
// something.
func outcome(t *testing.T, dir string, events map[string]string) (opened bool, err error) {
	t.Helper()
	before := lookAt(t, dir)
	j, err := Open(context.Background(), dir, Options{Key: testKey})
	if err != nil {
		untouched(t, dir, before)
		return false, err
	}
	defer j.Close()
	got, err := readNames(j)
	if err == nil && !maps.Equal(got, events) {
		t.Errorf("%d events were read without an error, %d were there", len(got), len(events))
	}
	for name, n := range got {
		if events[name] != n {
			t.Errorf("event %s was read as %s", n, name)
		}
	}
	if errors.Is(err, journal.ErrDamaged) {
		select {
		case <-j.Damaged():
		default:
			t.Errorf("nobody is told of %v", err)
		}
	}
	return true, err
}

// readNames reads all events up to the first error.
func readNames(j journal.Journal) (map[string]string, error) {
	all := make(map[string]string)
	r, err := j.Read(context.Background(), 1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		p, err := r.Next(context.Background())
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				return all, err
			}
			all[e.Payload.(*event.FileRequeued).Name] = itoa(e.Number)
		}
	}
}

// A bit that flips anywhere in the folder is found, before anything is changed or
// read; or it is in a file that is not needed.
func TestEveryFlip(t *testing.T) {
	dir, events := custody(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	found, kept := make(map[string]int), make(map[string]int)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err
		}
		to := filepath.Join(t.TempDir(), "copy")
		copyFolder(t, dir, to)
		needless := filepath.Base(name) == stateFile || filepath.Base(name) == indexFile
		rounds := 30
		if needless || filepath.Ext(name) == ".bga" {
			rounds = 6 // the journal opens
		}
		for range rounds {
			at := rnd.IntN(len(b))
			flipped := append([]byte(nil), b...)
			flipped[at] ^= 1 << rnd.IntN(8)
			if err := os.WriteFile(filepath.Join(to, name), flipped, 0o600); err != nil {
				return err
			}
			opened, err := outcome(t, to, events)
			if err != nil {
				found[name]++
			} else {
				kept[name]++
			}
			if t.Failed() {
				t.Fatalf("%s, byte %d of %d", name, at, len(b))
			}
			if opened {
				to = filepath.Join(t.TempDir(), "copy")
				copyFolder(t, dir, to)
			}
		}
		if !needless && kept[name] > 0 {
			t.Errorf("%d flips of %s were not noticed", kept[name], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("noticed: %v; made anew: %v", found, kept)
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
