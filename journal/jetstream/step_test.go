package jetstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/generation"
)

// A crash is a folder as it was at one step, and what was acknowledged by then.
type crash struct {
	step         string
	dir          string
	acknowledged map[string]string
}

// crashes collects what a crash between any two steps would leave.
type crashes struct {
	t    *testing.T
	from string // the folder
	to   string

	mu           sync.Mutex
	acknowledged map[string]string
	all          []crash
}

func newCrashes(t *testing.T) *crashes {
	dir := t.TempDir()
	return &crashes{t: t, from: filepath.Join(dir, "journal"), to: dir, acknowledged: make(map[string]string)}
}

func (c *crashes) step(done string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	to := filepath.Join(c.to, fmt.Sprintf("%d %s", len(c.all), done))
	copyFolder(c.t, c.from, to)
	c.all = append(c.all, crash{done, to, maps.Clone(c.acknowledged)})
	return nil
}

// append appends pages and notes what was acknowledged.
func (c *crashes) append(j *Journal, name string, pages int) {
	c.t.Helper()
	mustAppend(c.t, j, name, pages)
	all := everything(c.t, j)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acknowledged = all
}

// check opens every folder: all that was acknowledged is there, nothing else, and
// the journal goes on. It does so twice, the second time from what a crash at each
// step of that opening leaves.
func (c *crashes) check(opts Options, deep bool) {
	c.t.Helper()
	steps := make(map[string]int)
	for _, x := range c.all {
		steps[x.step]++
		again := newCrashes(c.t)
		again.from, again.acknowledged = x.dir, x.acknowledged
		if deep {
			opts.step = again.step
		}
		j, err := Open(context.Background(), x.dir, opts)
		if err != nil {
			c.t.Errorf("after a crash when it had %s: %v", x.step, err)
			continue
		}
		same(c.t, j, x.acknowledged)
		if err := j.Check(context.Background(), nil); err != nil {
			c.t.Errorf("after a crash when it had %s: %v", x.step, err)
		}
		again.append(j, fmt.Sprintf("more, deep %t, ", deep), 1)
		if err := j.Close(); err != nil {
			c.t.Error(err)
		}
		if again.all = again.all[:min(len(again.all), 3)]; deep {
			again.check(Options{Key: opts.Key}, false)
		}
	}
	if deep {
		c.t.Logf("crashes: %v", steps)
	}
}

// A crash between any two steps of making, closing, archiving and removing
// generations does no harm.
func TestCrashAtEveryStep(t *testing.T) {
	c := newCrashes(t)
	opts := Options{Key: testKey, step: c.step}
	j := mustOpen(t, c.from, opts)
	c.append(j, "a", 2)
	mustSeal(t, j)
	c.append(j, "b", 2)
	mustSeal(t, j)
	c.append(j, "c", 2)
	tr := grownTree(t, j)
	for n := uint32(1); n <= 2; n++ {
		if _, err := j.Archive(context.Background(), n, tr, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Remove(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, c.from, opts)
	c.append(j, "d", 1)
	if err := j.Remove(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if len(c.all) < 20 {
		t.Errorf("%d steps only", len(c.all))
	}
	c.check(Options{Key: testKey}, true)
}

// What a crash leaves of a stream that is being removed, or being made, is not
// in the way.
func TestLeftovers(t *testing.T) {
	from := filepath.Join(t.TempDir(), "journal")
	j := mustOpen(t, from, Options{})
	mustAppend(t, j, "a", 2)
	mustSeal(t, j)
	mustAppend(t, j, "b", 2)
	mustSeal(t, j)
	mustArchive(t, j, 1)
	want := everything(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	removed := func(t *testing.T, dir string) {
		l, err := generation.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		l[0].Removed = true
		if err := generation.Write(dir, l); err != nil {
			t.Fatal(err)
		}
	}
	for name, leave := range map[string]func(t *testing.T, dir string){
		"a stream that was to be removed": removed,
		"one without its settings": func(t *testing.T, dir string) {
			removed(t, dir)
			remove(t, filepath.Join(streamFolder(dir, 1), "meta.inf"))
		},
		"one that was renamed": func(t *testing.T, dir string) {
			removed(t, dir)
			remove(t, filepath.Join(streamFolder(dir, 1), "meta.inf"))
			if err := os.Rename(streamFolder(dir, 1), filepath.Join(streamsFolder(dir), "."+generation.Stream(1))); err != nil {
				t.Fatal(err)
			}
		},
		"one that was half removed": func(t *testing.T, dir string) {
			removed(t, dir)
			remove(t, filepath.Join(streamFolder(dir, 1), "meta.inf"), generation.LiveFolder(dir, 1))
		},
		"a new stream that is not there":     func(t *testing.T, dir string) { remove(t, streamFolder(dir, 3)) },
		"a new stream without its settings":  func(t *testing.T, dir string) { remove(t, filepath.Join(streamFolder(dir, 3), "meta.sum")) },
		"a new stream with half its files":   func(t *testing.T, dir string) { remove(t, generation.LiveFolder(dir, 3)) },
		"a stream whose list was taken back": func(t *testing.T, dir string) { makeNext(t, dir, 4) },
		"a file that was being written": func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, generation.File), func(b []byte) []byte {
				if err := os.WriteFile(filepath.Join(dir, generation.File+".tmp"), b[:20], 0o600); err != nil {
					t.Fatal(err)
				}
				return b
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			copyFolder(t, from, dir)
			leave(t, dir)
			j := mustOpen(t, dir, Options{})
			same(t, j, want)
			mustAppend(t, j, "c", 1)
			mustSeal(t, j)
			mustAppend(t, j, "d", 1)
			j = reopen(t, j, Options{})
			if len(everything(t, j)) != len(want)+6 {
				t.Error("not everything is there")
			}
			entries, err := os.ReadDir(streamsFolder(dir))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), ".") {
					t.Errorf("%s is still there", e.Name())
				}
			}
		})
	}
}

// makeNext makes the folder of a stream without any page.
func makeNext(t *testing.T, dir string, n uint32) {
	t.Helper()
	msgs := generation.LiveFolder(dir, n)
	if err := errors.Join(os.MkdirAll(msgs, 0o700), os.WriteFile(filepath.Join(msgs, "1.blk"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// What an import has not finished is refused at every step.
func TestImportCrash(t *testing.T) {
	from, archives := twoArchives(t)
	c := newCrashes(t)
	opts := Options{step: c.step}.orDefault()
	behind := from.Generations()[2].Before
	if err := importInto(context.Background(), c.from, from.History(), archives, rawPages(t, from, behind), opts); err != nil {
		t.Fatal(err)
	}
	for _, x := range c.all {
		before := lookAt(t, x.dir)
		if _, err := Open(context.Background(), x.dir, Options{}); err == nil || !strings.Contains(err.Error(), "not completed") {
			t.Errorf("when it had %s: %v", x.step, err)
		}
		delete(before, lockFile)
		now := lookAt(t, x.dir)
		delete(now, lockFile)
		if !maps.Equal(before, now) {
			t.Errorf("when it had %s the folder was changed", x.step)
		}
	}
	if len(c.all) < 6 {
		t.Errorf("%d steps only", len(c.all))
	}
	j := mustOpen(t, c.from, Options{})
	if j.Head() != from.Head() {
		t.Errorf("it ends with %+v", j.Head())
	}
}

// What fails between two steps is told to whoever asked for it, or logged; nothing
// that is appended suffers, and trying again works.
func TestFailureAtEveryStep(t *testing.T) {
	failed := errors.New("injected")
	for _, step := range []string{
		"was about to close a generation", "wrote the list", "made the stream",
		"wrote the archive", "verified the archive", "verified the archive again", "said that it is removed", "wrote the state",
	} {
		t.Run(step, func(t *testing.T) {
			times, failures := 0, 0
			opts := Options{Key: testKey, step: func(done string) error {
				if done == step && failures < times {
					failures++
					return failed
				}
				return nil
			}}
			j := mustOpen(t, t.TempDir(), opts)
			try := func(do func() error) {
				t.Helper()
				before := failures
				err := do()
				if failures > before && !errors.Is(err, failed) || failures == before && err != nil {
					t.Errorf("told %v", err)
				}
				mustAppend(t, j, fmt.Sprint(j.Head().Event, " "), 1)
				if err != nil {
					if err := do(); err != nil {
						t.Errorf("again: %v", err)
					}
				}
			}
			mustAppend(t, j, "a", 2)
			times = 1
			try(func() error { _, err := j.Seal(context.Background()); return err })
			tr := grownTree(t, j)
			try(func() error { _, err := j.Archive(context.Background(), 1, tr, nil); return err })
			try(func() error { return j.Remove(context.Background(), 1) })
			want := everything(t, j)
			j = reopen(t, j, Options{Key: testKey})
			same(t, j, want)
			if failures != 1 {
				t.Errorf("%d failures were injected", failures)
			}
		})
	}
}

// A generation that cannot be closed when it is large enough goes on.
func TestRollFails(t *testing.T) {
	for _, step := range []string{"was about to close a generation", "wrote the list", "made the stream"} {
		now, fail := time.Unix(1_700_000_000, 0), true
		opts := Options{SealBytes: 4 << 10, step: func(done string) error {
			if fail && done == step {
				return errors.New("injected")
			}
			return nil
		}}
		opts.Now = func() time.Time { return now }
		j := mustOpen(t, t.TempDir(), opts)
		mustAppend(t, j, "a", 60)
		if n := len(j.Generations()); n != 1 {
			t.Errorf("%d generations", n)
		}
		fail = false
		mustAppend(t, j, "b", 1)
		if n := len(j.Generations()); n != 1 {
			t.Errorf("%d generations before the pause is over", n)
		}
		now = now.Add(rollPause + time.Second)
		mustAppend(t, j, "c", 1)
		if n := len(j.Generations()); n != 2 {
			t.Errorf("%d generations", n)
		}
		want := everything(t, j)
		j = reopen(t, j, opts)
		same(t, j, want)
	}
}
