package jetstream

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/tree"
)

var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// reopen closes a journal and opens it again.
func reopen(t *testing.T, j *Journal, opts Options) *Journal {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, j.store.dir, opts)
}

func mustOpen(t *testing.T, dir string, opts Options) *Journal {
	t.Helper()
	j, err := Open(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// mustAppend appends pages of 3 events with the given names.
func mustAppend(t *testing.T, j journal.Journal, name string, pages int) {
	t.Helper()
	for i := range pages {
		if err := j.Append(context.Background(), named("%s%d.a", name, i), named("%s%d.b", name, i), named("%s%d.c", name, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// grownTree is the tree of a journal, which covers all there is.
func grownTree(t *testing.T, j *Journal) *tree.Tree {
	t.Helper()
	tr, err := tree.Open(filepath.Join(t.TempDir(), "tree"), tree.Options{
		Journal: j, Origin: fmt.Sprintf("bugle.TST/%x", j.History()), Key: testKey, Every: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := tr.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		tr.Close()
	})
	late, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	if err := tr.Wait(late, j.Head().Event); err != nil {
		t.Fatal(err)
	}
	return tr
}

func mustSeal(t *testing.T, j *Journal) generation.Generation {
	t.Helper()
	g, err := j.Seal(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func mustArchive(t *testing.T, j *Journal, n uint32) generation.Generation {
	t.Helper()
	g, err := j.Archive(context.Background(), n, grownTree(t, j), nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// folded is a fold that keeps names, and can be saved.
type folded struct {
	mu    sync.Mutex
	names []string
	told  int
}

func (f *folded) Apply(e *event.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told++
	f.names = append(f.names, fmt.Sprint(e.Number, e.Payload.(*event.FileRequeued).Name))
}

// Generations are closed by size while many append: nothing is lost, nothing is
// refused, and all reads as one.
func TestGenerationsBySize(t *testing.T) {
	opts := Options{SealBytes: 4 << 10}
	var f folded
	opts.Folds = []journal.Fold{&f}
	j := mustOpen(t, t.TempDir(), opts)
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := range 60 {
				if err := j.Append(context.Background(), named("%d.%d", c, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	check := func(j *Journal) {
		t.Helper()
		if all := everything(t, j); len(all) != 480 {
			t.Errorf("%d events are there, want 480", len(all))
		}
		l := j.Generations()
		if len(l) < 3 {
			t.Errorf("%d generations only", len(l))
		}
		for i := range l[:len(l)-1] {
			if l[i].End != l[i+1].Before || !l[i].Sealed() {
				t.Errorf("generation %d: %+v, then %+v", i+1, l[i], l[i+1])
			}
		}
	}
	check(j)
	names := slices.Clone(f.names)
	f = folded{}
	j = reopen(t, j, opts)
	check(j)
	if !slices.Equal(f.names, names) {
		t.Error("the fold knows something else after a new start")
	}
}

func TestGenerationsByAge(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	opts := Options{SealAge: time.Hour}
	opts.Now = func() time.Time { return now }
	j := mustOpen(t, t.TempDir(), opts)
	mustAppend(t, j, "a", 2)
	now = now.Add(59 * time.Minute)
	mustAppend(t, j, "b", 1)
	if n := len(j.Generations()); n != 1 {
		t.Fatalf("%d generations before the time", n)
	}
	j = reopen(t, j, opts)
	now = now.Add(time.Minute)
	mustAppend(t, j, "c", 1)
	if l := j.Generations(); len(l) != 2 || l[0].End.Pages != 3 {
		t.Errorf("after an hour: %+v", l)
	}
	mustAppend(t, j, "d", 1)
	if n := len(j.Generations()); n != 2 {
		t.Errorf("%d generations", n)
	}
}

func TestSeal(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	if _, err := j.Seal(context.Background()); !errors.Is(err, ErrEmpty) {
		t.Errorf("sealing what is empty: %v", err)
	}
	mustAppend(t, j, "a", 3)
	if g := mustSeal(t, j); g.Number != 1 || g.End != j.Head() || g.End.Event != 9 {
		t.Errorf("sealed %+v at %+v", g, j.Head())
	}
	if _, err := j.Seal(context.Background()); !errors.Is(err, ErrEmpty) {
		t.Errorf("sealing again: %v", err)
	}
	if _, err := j.Archive(context.Background(), 2, nil, nil); !errors.Is(err, ErrOpen) {
		t.Errorf("archiving what is open: %v", err)
	}
	if err := j.Remove(context.Background(), 2); !errors.Is(err, ErrOpen) {
		t.Errorf("removing what is open: %v", err)
	}
	if err := j.Remove(context.Background(), 1); !errors.Is(err, ErrArchived) {
		t.Errorf("removing what is not archived: %v", err)
	}
	if _, err := j.Archive(context.Background(), 3, nil, nil); err == nil {
		t.Error("a generation that is not there was archived")
	}
	mustAppend(t, j, "b", 2)
	if all := everything(t, j); len(all) != 15 {
		t.Errorf("%d events", len(all))
	}
}

// A generation that is in an archive only reads as before, also after a new
// start, with and without what was kept.
func TestArchiveAndRemove(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{Key: testKey})
	mustAppend(t, j, "a", 5)
	mustSeal(t, j)
	mustAppend(t, j, "b", 5)
	mustSeal(t, j)
	mustAppend(t, j, "c", 5)
	want := everything(t, j)
	tr := grownTree(t, j)
	for n := uint32(1); n <= 2; n++ {
		var last uint64
		g, err := j.Archive(context.Background(), n, tr, func(done, total uint64) {
			if done != last+1 || total != 10 {
				t.Errorf("progress %d of %d after %d", done, total, last)
			}
			last = done
		})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := j.Archive(context.Background(), n, tr, nil); err != nil || again != g {
			t.Errorf("archiving again: %+v, %v", again, err)
		}
		for range 2 {
			if err := j.Remove(context.Background(), n); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Lstat(generation.LiveFolder(dir, n)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder of generation %d: %v", n, err)
		}
		same(t, j, want)
	}
	if err := j.Check(context.Background(), nil); err != nil {
		t.Error(err)
	}
	for _, state := range []bool{true, false} {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if !state {
			remove(t, filepath.Join(dir, stateFile))
		}
		j = mustOpen(t, dir, Options{Key: testKey})
		same(t, j, want)
		if l := j.Generations(); len(l) != 3 || !l[0].Removed || !l[1].Removed {
			t.Errorf("generations %+v", l)
		}
	}
	mustAppend(t, j, "d", 1)
}

func same(t *testing.T, j journal.Journal, want map[string]string) {
	t.Helper()
	got := everything(t, j)
	for name, n := range want {
		if got[name] != n {
			t.Fatalf("event %s is %q, want %s", name, got[name], n)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
}

// big is an event of some 200 KB.
func big() *event.Event {
	facts := make([]event.Fact, 50)
	for i := range facts {
		facts[i] = event.Fact{Name: "n", Value: strings.Repeat("v", event.MaxText)}
	}
	return &event.Event{Payload: &event.DeviceDiscovered{Device: 1, Facts: facts}}
}
