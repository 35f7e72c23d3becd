package projectors_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// TestRebuildHealsStoppedView has a view that stopped at an event which its fold
// takes now.
func TestRebuildHealsStoppedView(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	w.broken.Store(true)
	n := projectorstest.Append(t, s.Journal, 1, say("fail"), say("set a 2"))
	if err := s.Views.Wait(patient(t), n); err == nil {
		t.Fatal("the view did not stop")
	}
	if _, err := s.Views.Rebuild(patient(t), "words", nil); err == nil {
		t.Error("rebuilt past an event that cannot be applied")
	}
	w.broken.Store(false)
	got, err := s.Views.Rebuild(patient(t), "words", nil)
	if err != nil || !got.Same || got.Position != 1 {
		t.Errorf("rebuild: %+v, %v", got, err)
	}
	s.Wait(n)
	if st := status(s); st.Err != nil || value(t, w, "a") != "2" {
		t.Errorf("status is %+v", st)
	}
	s.Append(say("set a 3"))
	if value(t, w, "a") != "3" {
		t.Error("the view does not go on")
	}
}

// TestRebuildFindsDifference has a fold that once wrote something else.
func TestRebuildFindsDifference(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	w.twist.Store(true)
	s.Append(say("set a 1"))
	_, before := s.Digest("words")
	w.twist.Store(false)
	got, err := s.Views.Rebuild(patient(t), "words", nil)
	if err != nil || got.Same || got.Digest == before || got.Generation != 2 {
		t.Errorf("rebuild: %+v, %v", got, err)
	}
	if value(t, w, "a") != "1" {
		t.Error("the new generation does not serve")
	}
}

// TestFormerGenerationWaits has a reader that stays while the view is rebuilt.
func TestFormerGenerationWaits(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	former := filepath.Join(s.Dir, "words", "00000001")
	err := w.Read(func(old *projectors.Snapshot) error {
		if _, err := s.Views.Rebuild(patient(t), "words", nil); err != nil {
			return err
		}
		s.Append(say("set a 2"))
		if value(t, w, "a") != "2" {
			t.Error("the new generation does not serve")
		}
		if _, err := os.Stat(former); err != nil {
			t.Errorf("the former generation is gone while it is read: %v", err)
		}
		_, err := old.Get([]byte("wa"), func(v []byte) error {
			if string(v) != "1" {
				t.Errorf("the former generation says %q", v)
			}
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Views.Rebuild(patient(t), "words", nil); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := os.Stat(former); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the generation before the former one is left: %v", err)
	}
}

func TestRebuildIsRefused(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	if _, err := s.Views.Rebuild(patient(t), "other", nil); !errors.Is(err, projectors.ErrNoView) {
		t.Errorf("unknown view: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err := s.Views.Rebuild(ctx, "words", func(projectors.Progress) {
		if _, err := s.Views.Rebuild(patient(t), "words", nil); !errors.Is(err, projectors.ErrBusy) {
			t.Errorf("two at once: %v", err)
		}
		cancel()
		projectorstest.Append(t, s.Journal, 1, say("set a 2"))
		s.Wait(2)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if left, err := filepath.Glob(s.Dir + "/words/0*"); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
	s.Append(say("set a 3"))
	if st := status(s); st.Generation != 1 || value(t, w, "a") != "3" {
		t.Errorf("status is %+v", st)
	}
}

// TestRebuildWithoutRun is what a tool does that only opens the views.
func TestRebuildWithoutRun(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"))
	s.Stop()
	n := projectorstest.Append(t, s.Journal, 1, say("set a 2"))
	v, err := projectors.Open(projectors.Options{Dir: s.Dir, Journal: s.Journal, History: projectorstest.History}, w.View)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Rebuild(patient(t), "words", nil)
	if err != nil || !got.Same || got.Position != 1 {
		t.Errorf("rebuild: %+v, %v", got, err)
	}
	if st := v.Status()[0]; st.Position != n || value(t, w, "a") != "2" {
		t.Errorf("status is %+v", st)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}
