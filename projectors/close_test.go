package projectors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// retries is how often Badger fails to write a table in these tests: once a second,
// so beyond the bound, and not for ever, for whatever a test begins must end in it.
const retries = 20

// obstruct lets Badger write no table into dir until it has tried some times: under
// every name that it will take there is a file, which it does not overwrite.
func obstruct(t *testing.T, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	for n := range retries {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.sst", n+1)), nil, 0o600))
	}
}

// A runningViews is some views under fake time.
type runningViews struct {
	*Views
	opt    Options
	cancel func()
	ended  chan error // of Run
}

func runViews(t *testing.T, opt Options, views ...*View) *runningViews {
	t.Helper()
	v, err := Open(opt, views...)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	r := &runningViews{v, opt, cancel, make(chan error, 1)}
	go func() { r.ended <- v.Run(ctx) }()
	return r
}

// free waits until the folder is free again, which is so once all stores are closed.
func (r *runningViews) free(t *testing.T) {
	t.Helper()
	for range retries {
		v, err := Open(r.opt)
		if err == nil {
			must(t, v.Close())
			return
		}
		if !errors.Is(err, ErrLocked) {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	t.Error("the views have not closed")
}

// lines are what was logged, also by goroutines that outlive a Close.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) have(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(s string) bool { return strings.Contains(s, part) })
}

func named(name string) *View {
	v := tally()
	v.Name = name
	return v
}

// TestCloseHasABound has two views whose stores cannot write their tables and one
// that is well. The two are named after one bound for both, the third is closed, and
// what the two had committed is there at the next start.
func TestCloseHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pages, dir := history(t, 30), t.TempDir()
		want := truth(t, pages)
		said := new(lines)
		opt := Options{Dir: dir, Journal: waiting{told(pages)}, Log: slog.New(slog.NewTextHandler(said, nil))}
		s := runViews(t, opt, named("first"), named("second"), named("well"))
		must(t, s.Wait(t.Context(), 30))
		s.cancel()
		must(t, <-s.ended)
		obstruct(t, filepath.Join(dir, "first/00000001"))
		obstruct(t, filepath.Join(dir, "second/00000001"))
		began := time.Now()
		err := s.Close()
		if took := time.Since(began); !errors.Is(err, ErrNotClosed) || !strings.Contains(err.Error(), "close view first, second:") || took != closeWithin {
			t.Errorf("closed after %s: %v", took, err)
		}
		if !said.have(`views="[first second]"`) {
			t.Error("the log does not name the views")
		}
		if err := s.runners[0].view.Read(func(*Snapshot) error { return nil }); !errors.Is(err, ErrClosed) {
			t.Errorf("read from a store that closes: %v", err)
		}
		if _, err := Open(opt, tally()); !errors.Is(err, ErrLocked) {
			t.Errorf("opened while stores are open: %v", err)
		}
		opt.Dir = t.TempDir()
		for _, name := range []string{"first", "second"} { // as the end of the process leaves them
			to := directory(filepath.Join(opt.Dir, name))
			must(t, os.MkdirAll(to.generation(1), 0o700))
			log := image(t, filepath.Join(dir, name, "00000001"))
			log.write(t, to.generation(1), len(log.mem))
			must(t, to.setCurrent(1))
		}
		s.free(t)
		v, err := Open(opt, named("first"), named("second"))
		must(t, err)
		for _, st := range v.Status() {
			position, digest, err := v.Digest(st.Name)
			if err != nil || position != 30 || digest != want[30] || st.Generation != 1 {
				t.Errorf("%s is at event %d of generation %d with other rows, %v", st.Name, position, st.Generation, err)
			}
		}
		must(t, v.Close())
	})
}

// TestCloseWithoutRoom asks for room once and then touches no store.
func TestCloseWithoutRoom(t *testing.T) {
	full := errors.New("the disk is full")
	opt := Options{Dir: t.TempDir(), Journal: told(history(t, 30)), Room: func() error { return full }}
	v, err := Open(opt, named("one"), named("two"))
	must(t, err)
	if err := v.Close(); !errors.Is(err, ErrNotClosed) || !errors.Is(err, full) || !strings.Contains(err.Error(), "close view one, two:") {
		t.Errorf("closed without room: %v", err)
	}
	for _, r := range v.runners {
		if r.gen.db.IsClosed() {
			t.Errorf("the store of %s was closed", r.view.Name)
		}
	}
	must(t, v.closeAll())
}

// TestWriteThatDoesNotEnd has a view that is in the middle of an event when all is to
// end, as one is that waits for Badger to make room.
func TestWriteThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, gate := named("stuck"), make(chan struct{})
		stuck.Fold = func() Fold { return slow{waitAt: 10, gate: gate} }
		j := &growing{pages: history(t, 30), shown: 2}
		s := runViews(t, Options{Dir: t.TempDir(), Journal: j}, stuck, named("well"))
		must(t, s.Wait(t.Context(), 6))
		j.show(10)
		must(t, s.Wait(t.Context(), 30, "well"))
		s.cancel()
		must(t, <-s.ended)
		if err := s.Close(); !errors.Is(err, ErrNotClosed) || !strings.Contains(err.Error(), "close view stuck:") {
			t.Errorf("closed amid a write: %v", err)
		}
		close(gate)
		s.free(t)
	})
}

// TestFailedRebuildLeavesItsStore has a rebuild that fails and whose store cannot write
// its tables: it returns, what served before goes on, and the next start removes what
// is left.
func TestFailedRebuildLeavesItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, view := t.TempDir(), tally()
		opt := Options{Dir: dir, Journal: waiting{told(history(t, 30))}}
		s := runViews(t, opt, view)
		must(t, s.Wait(t.Context(), 30))
		view.Fold = func() Fold { return slow{failAt: 20} }
		_, err := s.Rebuild(t.Context(), "tally", func(Progress) { obstruct(t, filepath.Join(dir, "tally/00000002")) })
		if !errors.Is(err, ErrNotClosed) || !strings.Contains(err.Error(), "told to fail") {
			t.Errorf("failed: %v", err)
		}
		if _, _, err := s.Digest("tally"); err != nil || !s.runners[0].dir.has(2) {
			t.Errorf("the view does not serve, or the store of the rebuild is gone while it is open: %v", err)
		}
		time.Sleep(retries * time.Second) // for Badger to get through
		s.cancel()
		must(t, errors.Join(<-s.ended, s.Close()))
		v, err := Open(opt, tally())
		must(t, err)
		if s.runners[0].dir.has(2) {
			t.Error("the store of the rebuild is left")
		}
		must(t, v.Close())
	})
}

// TestRebuildLeftOpenKeepsTheLock ends views while the store of a rebuild that failed
// still tries to write: nobody else may open the folder before it is done.
func TestRebuildLeftOpenKeepsTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, view := t.TempDir(), tally()
		opt := Options{Dir: dir, Journal: waiting{told(history(t, 30))}, CloseWithin: 3 * time.Second}
		s := runViews(t, opt, view)
		must(t, s.Wait(t.Context(), 30))
		view.Fold = func() Fold { return slow{failAt: 20} }
		_, err := s.Rebuild(t.Context(), "tally", func(Progress) { obstruct(t, filepath.Join(dir, "tally/00000002")) })
		if !errors.Is(err, ErrNotClosed) {
			t.Errorf("failed: %v", err)
		}
		s.cancel()
		if err := errors.Join(<-s.ended, s.Close()); !errors.Is(err, ErrNotClosed) {
			t.Errorf("closed beside the store of a rebuild: %v", err)
		}
		if _, err := Open(opt, tally()); !errors.Is(err, ErrLocked) {
			t.Errorf("opened beside the store of a rebuild: %v", err)
		}
		s.free(t)
	})
}

// TestDismissWithoutRoom leaves a generation open that does not serve, as Close does.
func TestDismissWithoutRoom(t *testing.T) {
	full := errors.New("the disk is full")
	v, err := Open(Options{Dir: t.TempDir(), Journal: told(history(t, 30))}, tally())
	must(t, err)
	r := v.runners[0]
	g, err := r.create()
	must(t, err)
	room := r.opt.Room
	r.opt.Room = func() error { return full }
	if err := r.dismiss(g); !errors.Is(err, full) || !errors.Is(err, ErrNotClosed) || g.db.IsClosed() {
		t.Errorf("dismissed without room: %v", err)
	}
	r.opt.Room = room
	must(t, errors.Join(r.dismiss(g), v.Close()))
	if !g.db.IsClosed() {
		t.Error("the store is open")
	}
}
