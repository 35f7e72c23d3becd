package projectors_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

func TestSnapshotIsWhole(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	err := w.Read(func(before *projectors.Snapshot) error {
		s.Append(say("set a 2"), say("set b 2"))
		_, err := before.Get([]byte("wa"), func(v []byte) error {
			if string(v) != "1" || before.Position() != 1 || before.State() != uint64(1) {
				t.Errorf("a snapshot changed: a is %q at event %d, %v were set", v, before.Position(), before.State())
			}
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Read(func(after *projectors.Snapshot) error {
		if after.Position() != 3 || after.State() != uint64(3) {
			t.Errorf("at event %d, %v were set", after.Position(), after.State())
		}
		return nil
	})
	if err != nil || value(t, w, "a") != "2" {
		t.Errorf("a is %q, %v", value(t, w, "a"), err)
	}
}

func TestScan(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"), say("set b 1"), say("set ba 1"), say("set c 1"), say("many 3 x"))
	walk := func(scan func(*projectors.Snapshot, func(key, _ []byte) (bool, error)) error) string {
		var keys []string
		err := w.Read(func(s *projectors.Snapshot) error {
			return scan(s, func(key, _ []byte) (bool, error) {
				keys = append(keys, string(key))
				return len(keys) < 3, nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(keys, " ")
	}
	type visit = func(key, _ []byte) (bool, error)
	for want, scan := range map[string]func(*projectors.Snapshot, visit) error{
		"wa wb wba": func(s *projectors.Snapshot, v visit) error { return s.Scan([]byte("w"), nil, v) },
		"wba wc":    func(s *projectors.Snapshot, v visit) error { return s.Scan([]byte("w"), []byte("wb\x00"), v) },
		"wb wba":    func(s *projectors.Snapshot, v visit) error { return s.Scan([]byte("wb"), nil, v) },
		"wc wba wb": func(s *projectors.Snapshot, v visit) error { return s.Back([]byte("w"), nil, v) },
		"wb wa":     func(s *projectors.Snapshot, v visit) error { return s.Back([]byte("w"), []byte("wb"), v) },
		"":          func(s *projectors.Snapshot, v visit) error { return s.Scan([]byte("y"), nil, v) },
	} {
		if got := walk(scan); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	enough := errors.New("enough")
	err := w.Read(func(s *projectors.Snapshot) error {
		return s.Scan(nil, nil, func(_, _ []byte) (bool, error) { return true, enough })
	})
	if !errors.Is(err, enough) {
		t.Errorf("error of a visit: %v", err)
	}
}

// TestEventLargerThanATransaction has more in one event than Badger takes at
// once: while it is written, readers see nothing of it.
func TestEventLargerThanATransaction(t *testing.T) {
	w := newWords("words")
	during := 0
	w.during = func() {
		if during++; during == 2 {
			all(t, w, "before", 1)
		}
	}
	s := projectorstest.Start(t, w.View)
	s.Append(say("huge before"))
	s.Append(say("huge after"))
	all(t, w, "after", 2)
	if st := status(s); st.Rows != hugeRows || during != 2 || st.Generation != 1 {
		t.Errorf("status is %+v", st)
	}
	s.Digest("words")
	s.Stop()
	s.Open(w.View)
	all(t, w, "after", 2)
}

// all fails if there is a row of huge that does not begin with value.
func all(t *testing.T, w *words, value string, position uint64) {
	rows := 0
	err := w.Read(func(s *projectors.Snapshot) error {
		if s.Position() != position {
			t.Errorf("at event %d, want %d", s.Position(), position)
		}
		return s.Scan([]byte{'x'}, nil, func(key, v []byte) (bool, error) {
			if rows++; !strings.HasPrefix(string(v), value) {
				t.Errorf("row %x says %.10q, want %q", key, v, value)
			}
			return true, nil
		})
	})
	if err != nil || rows != hugeRows {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// TestTornEvent stops in the middle of such an event. Readers stay before it, and
// what was written of it leaves no trace.
func TestTornEvent(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	w.broken.Store(true)
	n := projectorstest.Append(t, s.Journal, 1, say("fail"))
	if err := s.Views.Wait(patient(t), n); err == nil || !strings.Contains(err.Error(), "stops at event 2") {
		t.Errorf("the view says %v", err)
	}
	if err := w.Read(func(s *projectors.Snapshot) error { return s.Scan([]byte{'x'}, nil, unwanted(t)) }); err != nil {
		t.Error(err)
	}
	if st := status(s); st.Position != 1 || st.Rows != 2 || st.Err == nil {
		t.Errorf("status is %+v", st)
	}
	s.Stop()
	w.broken.Store(false)
	s.Open(w.View)
	s.Wait(n)
	if st := status(s); st.Generation != 1 || st.Rows != hugeRows+2 {
		t.Errorf("status is %+v", st)
	}
	s.Digest("words")
}

func unwanted(t *testing.T) func(key, _ []byte) (bool, error) {
	return func(key, _ []byte) (bool, error) {
		t.Errorf("there is a row %x", key)
		return false, nil
	}
}

func TestBadKeyStops(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	n := projectorstest.Append(t, s.Journal, 1, say("set a 1"), say("key"))
	if err := s.Views.Wait(patient(t), n); err == nil || !strings.Contains(err.Error(), "write row 0001") {
		t.Errorf("the view says %v", err)
	}
	if st := status(s); st.Position > 1 || st.Lag == 0 {
		t.Errorf("status is %+v", st)
	}
}

// TestPositionWithoutRows has events that change nothing: the position moves, and
// is there after a stop in good order.
func TestPositionWithoutRows(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	n := s.Append(say("set a 1"), other(), other())
	s.Stop()
	s.Open(w.View)
	if st := status(s); st.Position != n || st.Lag != 0 || st.Rows != 2 {
		t.Errorf("status is %+v", st)
	}
}

func TestLocked(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	opt := projectors.Options{Dir: s.Dir, Journal: s.Journal, History: projectorstest.History}
	if v, err := projectors.Open(opt, newWords("words").View); !errors.Is(err, projectors.ErrLocked) {
		t.Errorf("opened twice: %v, %v", v, err)
	}
	s.Append(say("set a 1"))
	s.Stop()
	v, err := projectors.Open(opt, w.View)
	if err != nil || value(t, w, "a") != "1" {
		t.Fatalf("a is %q, %v", value(t, w, "a"), err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

// TestFoldedAnew changes what makes a store useless: the view comes back from the
// journal, in another generation.
func TestFoldedAnew(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, s *projectorstest.Site, w *words){
		"no folder":  func(t *testing.T, s *projectorstest.Site, _ *words) { remove(t, s.Dir+"/words/00000001") },
		"no CURRENT": func(t *testing.T, s *projectorstest.Site, _ *words) { remove(t, s.Dir+"/words/CURRENT") },
		"CURRENT":    func(t *testing.T, s *projectorstest.Site, _ *words) { write(t, s.Dir+"/words/CURRENT", "x") },
		"manifest": func(t *testing.T, s *projectorstest.Site, _ *words) {
			write(t, s.Dir+"/words/00000001/MANIFEST", "garbage")
		},
		"schema":      func(_ *testing.T, _ *projectorstest.Site, w *words) { w.Schema = 2 },
		"empty store": func(t *testing.T, s *projectorstest.Site, _ *words) { empty(t, s.Dir+"/words/00000001") },
		"short journal": func(t *testing.T, s *projectorstest.Site, _ *words) {
			s.Journal = projectorstest.NewJournal(t)
			projectorstest.Append(t, s.Journal, 1, say("set a 9"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWords("words")
			s := projectorstest.Start(t, w.View)
			s.Append(say("set a 1"), say("set b 1"), say("set a 9"))
			s.Stop()
			spoil(t, s, w)
			s.Open(w.View)
			if st := status(s); !st.Building {
				t.Errorf("the store was taken as it is: %+v", st)
			}
			s.Wait(s.Journal.Head().Event)
			if st := status(s); st.Building || st.Position != s.Journal.Head().Event || value(t, w, "a") != "9" {
				t.Errorf("status is %+v, a is %q", st, value(t, w, "a"))
			}
			s.Digest("words")
			s.Stop()
			if left, err := filepath.Glob(s.Dir + "/words/0*"); err != nil || len(left) != 1 {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}

func remove(t *testing.T, name string) {
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func empty(t *testing.T, dir string) {
	remove(t, dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestOtherHistory(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	s.Stop()
	v, err := projectors.Open(projectors.Options{Dir: s.Dir, Journal: s.Journal, History: [16]byte{1}}, w.View)
	if err != nil {
		t.Fatal(err)
	}
	if st := v.Status()[0]; !st.Building || st.Position != 0 {
		t.Errorf("rows of another history serve: %+v", st)
	}
	if err := w.Read(nil); !errors.Is(err, projectors.ErrBuilding) {
		t.Errorf("read: %v", err)
	}
	if _, err := v.Rebuild(patient(t), "words", nil); !errors.Is(err, projectors.ErrBuilding) {
		t.Errorf("rebuild: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

// TestEmptyMemtable has the file that a kill may leave.
func TestEmptyMemtable(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	s.Stop()
	write(t, s.Dir+"/words/00000001/00009.mem", "")
	s.Open(w.View)
	if st := status(s); st.Building || st.Position != 1 || value(t, w, "a") != "1" {
		t.Errorf("status is %+v", st)
	}
	s.Append(say("set a 2"))
}

func TestClosed(t *testing.T) {
	w := newWords("words")
	if err := w.Read(nil); !errors.Is(err, projectors.ErrClosed) {
		t.Errorf("before: %v", err)
	}
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	waits := make(chan error, 1)
	go func() { waits <- s.Views.Wait(patient(t), 2) }()
	s.Stop()
	if err := <-waits; !errors.Is(err, projectors.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
	if err := w.Read(nil); !errors.Is(err, projectors.ErrClosed) {
		t.Errorf("after: %v", err)
	}
	if _, err := s.Views.Rebuild(patient(t), "words", nil); !errors.Is(err, projectors.ErrClosed) {
		t.Errorf("rebuild: %v", err)
	}
}

func TestWait(t *testing.T) {
	a, b := newWords("a"), newWords("b")
	s := projectorstest.Start(t, a.View, b.View)
	n := projectorstest.Append(t, s.Journal, 1, say("set x 1"), say("wait"))
	a.gate <- struct{}{}
	if err := s.Views.Wait(patient(t), n, "a"); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Views.Wait(ctx, n); !errors.Is(err, context.Canceled) {
		t.Errorf("b waits at a gate: %v", err)
	}
	b.gate <- struct{}{}
	if err := s.Views.Wait(patient(t), n); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Views.Digest("c"); !errors.Is(err, projectors.ErrNoView) {
		t.Errorf("digest of a view that is not: %v", err)
	}
	if err := s.Views.Verify("c"); !errors.Is(err, projectors.ErrNoView) {
		t.Errorf("verify: %v", err)
	}
}

// TestSlowView has one view that waits while more pages come than are kept for
// it: the other one goes on, and the slow one misses nothing.
func TestSlowView(t *testing.T) {
	fast, slow := newWords("fast"), newWords("slow")
	s := projectorstest.Start(t, fast.View, slow.View)
	close(fast.gate)
	release := sync.OnceFunc(func() { close(slow.gate) })
	defer release()
	projectorstest.Append(t, s.Journal, 1, say("wait"))
	for range 200 {
		projectorstest.Append(t, s.Journal, 1, say("set a 1"))
	}
	n := projectorstest.Append(t, s.Journal, 1, say("set a 2"))
	if err := s.Views.Wait(patient(t), n, "fast"); err != nil {
		t.Fatal(err)
	}
	if st := s.Views.Status()[1]; st.Lag == 0 {
		t.Errorf("status is %+v", st)
	}
	release()
	s.Wait(n)
	_, a := s.Digest("fast")
	if _, b := s.Digest("slow"); a != b || value(t, slow, "a") != "2" {
		t.Error("the slow view has other rows")
	}
}

func TestBadViews(t *testing.T) {
	opt := projectors.Options{Dir: t.TempDir(), Journal: projectorstest.NewJournal(t)}
	for _, v := range []*projectors.View{{Name: "../x", Schema: 1}, {Name: "x"}, {Name: "", Schema: 1}, {Name: "x", Schema: 1}} {
		if _, err := projectors.Open(opt, v); err == nil {
			t.Errorf("%+v was opened", v)
		}
	}
	v, err := projectors.Open(opt, newWords("fine").View)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

// TestOpenFailsWhole: what was opened before something fails is closed again.
func TestOpenFailsWhole(t *testing.T) {
	w, dir := newWords("words"), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "words", "CURRENT.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	opt := projectors.Options{Dir: dir, Journal: projectorstest.NewJournal(t), History: projectorstest.History}
	_, err := projectors.Open(opt, w.View)
	if err == nil {
		t.Fatal("opened although CURRENT cannot be written")
	}
	if err := w.View.Read(func(*projectors.Snapshot) error { return nil }); !errors.Is(err, projectors.ErrClosed) {
		t.Errorf("a view that was not opened says %v", err)
	}
}
