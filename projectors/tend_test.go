package projectors

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// A tended view runs under fake time over a journal that a test made.
type tended struct {
	*Views
	view *View
	stop func()

	mu      sync.Mutex
	notices []Notice
}

func runTended(t *testing.T, opt Options) *tended {
	s := &tended{view: tally()}
	opt.Notify = func(n Notice) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.notices = append(s.notices, n)
	}
	v, err := Open(opt, s.view)
	must(t, err)
	s.Views = v
	v.runners[0].healEvery = time.Minute // Badger ticks every 50 ms: an hour of fake time takes seconds
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	must(t, v.Wait(ctx, opt.Journal.Head().Event))
	s.stop = func() {
		cancel()
		must(t, errors.Join(<-done, v.Close()))
	}
	return s
}

// told returns the notices so far and forgets them.
func (s *tended) told() (kinds []NoticeKind, all []Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, s.notices = s.notices, nil
	for _, n := range all {
		kinds = append(kinds, n.Kind)
	}
	return kinds, all
}

func (s *tended) expect(t *testing.T, want ...NoticeKind) {
	t.Helper()
	if kinds, all := s.told(); !slices.Equal(kinds, want) {
		t.Errorf("notices are %v, want %v: %+v", kinds, want, all)
	}
}

// damage writes a row that no event wrote.
func (s *tended) damage(t *testing.T) {
	g := s.view.serving.Load()
	must(t, writeRows(g.db, []change{{[]byte("k?"), []byte("rotten"), g.meta.position}}, nil))
}

func TestDamageIsHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pages := history(t, 30)
		want := truth(t, pages)
		s := runTended(t, Options{Dir: t.TempDir(), Journal: waiting{told(pages)}, Verify: 3 * time.Minute})
		healthy := func(generation uint32) {
			t.Helper()
			position, digest, err := s.Digest("tally")
			if err != nil || position != 30 || digest != want[30] || s.Status()[0].Generation != generation {
				t.Errorf("generation %d is at event %d with other rows, %v", s.Status()[0].Generation, position, err)
			}
		}
		time.Sleep(7 * time.Minute) // verified more than once
		s.expect(t)
		s.damage(t)
		time.Sleep(4 * time.Minute)
		s.expect(t, Bad, Rebuilt)
		healthy(2)

		// A reader that meets what cannot be has the rows verified at once.
		malformed := func(*Snapshot) error { return bounded.ErrMalformed }
		if err := s.view.Read(malformed); err == nil {
			t.Error("the reader's error is lost")
		}
		time.Sleep(10 * time.Second)
		s.expect(t)
		time.Sleep(time.Minute)
		s.damage(t)
		_ = s.view.Read(malformed)
		time.Sleep(10 * time.Second)
		s.expect(t, Bad, Rebuilt)
		healthy(3)
		s.damage(t)
		_ = s.view.Read(malformed)
		time.Sleep(30 * time.Second) // it was healed less than a minute ago
		s.expect(t)
		time.Sleep(4 * time.Minute)
		s.expect(t, Bad, Rebuilt)
		healthy(4)
		s.stop()
	})
}

func TestUselessStoreIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pages, dir := history(t, 30), t.TempDir()
		s := runTended(t, Options{Dir: dir, Journal: waiting{told(pages)}})
		s.stop()
		s.expect(t) // the first time is nothing to tell of
		must(t, os.RemoveAll(dir+"/tally/00000001"))
		s = runTended(t, Options{Dir: dir, Journal: waiting{told(pages)}})
		time.Sleep(time.Second)
		s.expect(t, Bad, Rebuilt)
		s.stop()
	})
}

func TestFormerGenerationExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := Options{Dir: t.TempDir(), Journal: waiting{told(history(t, 30))}, KeepOld: time.Minute}
		s := runTended(t, opt)
		if _, err := s.Rollback(t.Context(), "tally"); !errors.Is(err, ErrNoFormer) {
			t.Errorf("rolled back to nothing: %v", err)
		}
		_, err := s.Rebuild(t.Context(), "tally", nil)
		must(t, err)
		time.Sleep(50 * time.Second)
		s.stop()
		s = runTended(t, opt)
		if st := s.Status()[0]; st.Former != 1 || st.Generation != 2 {
			t.Errorf("after a restart the status is %+v", st)
		}
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if st := s.Status()[0]; st.Former != 0 {
			t.Errorf("after its time the status is %+v", st)
		}
		s.stop()
		if left, err := s.runners[0].dir.generations(); err != nil || !slices.Equal(left, []uint32{2}) {
			t.Errorf("left are %v, %v", left, err)
		}
		opt.KeepOld = -1
		s = runTended(t, opt)
		_, err = s.Rebuild(t.Context(), "tally", nil)
		must(t, err)
		if st := s.Status()[0]; st.Former != 0 {
			t.Errorf("kept although nothing is to be kept: %+v", st)
		}
		s.stop()
	})
}

// slow is a fold that waits at one event, and fails at another.
type slow struct {
	tallyFold
	waitAt, failAt uint64
	gate           chan struct{}
}

func (f slow) Apply(b *Batch, e *event.Event) error {
	switch e.Number {
	case f.waitAt:
		<-f.gate
	case f.failAt:
		return errors.New("told to fail")
	}
	return f.tallyFold.Apply(b, e)
}

func TestTroubleIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		v := tally()
		v.Fold = func() Fold { return slow{waitAt: 10, failAt: 20, gate: gate} }
		s := &tended{view: v}
		j := &growing{pages: history(t, 30), shown: 2}
		views, err := Open(Options{Dir: t.TempDir(), Journal: j, Notify: func(n Notice) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.notices = append(s.notices, n)
		}}, v)
		must(t, err)
		s.Views = views
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- views.Run(ctx) }()
		must(t, views.Wait(ctx, 6))
		j.show(10)
		time.Sleep(29 * time.Second)
		s.expect(t)
		time.Sleep(15 * time.Second)
		s.expect(t, Lagging)
		if st := views.Status()[0]; st.Lag != 24 || st.Behind != 24*1000 || st.Err != nil {
			t.Errorf("status is %+v", st)
		}
		close(gate)
		time.Sleep(10 * time.Second)
		kinds, all := s.told()
		if !slices.Equal(kinds, []NoticeKind{Stopped}) || all[0].Event != 20 || all[0].Of != event.KindDeviceBlocked || all[0].View != "tally" {
			t.Errorf("notices are %+v", all)
		}
		if st := views.Status()[0]; st.StoppedAt != 20 || st.StoppedBy != event.KindDeviceBlocked || time.Since(st.Since) > 10*time.Second {
			t.Errorf("status is %+v", st)
		}
		v.Fold = func() Fold { return tallyFold{} }
		_, err = views.Rebuild(ctx, "tally", nil)
		must(t, err)
		time.Sleep(10 * time.Second)
		s.expect(t, Resumed)
		for _, n := range all {
			if n.Text() == "" || n.Kind.String() == "" {
				t.Errorf("%+v has no words", n)
			}
		}
		cancel()
		must(t, errors.Join(<-done, views.Close()))
	})
}
