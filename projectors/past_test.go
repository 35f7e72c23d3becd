package projectors_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"pgregory.net/rapid"
)

// small is a window of few events, with a state kept every few.
var small = projectors.Options{Window: projectors.Window{Age: 1, Events: 4}, Keep: projectors.Keep{Events: 5}}

// at reads a word as of an event.
func at(t *testing.T, s *projectorstest.Site, n uint64, key string) (value string, err error) {
	t.Helper()
	past, err := s.Views.At(t.Context(), n)
	if err != nil {
		return "", err
	}
	err = past.View("words").Read(func(snap *projectors.Snapshot) error {
		if snap.Position() != n {
			t.Errorf("asked for event %d, got event %d", n, snap.Position())
		}
		_, err := snap.Get([]byte("w"+key), func(v []byte) error {
			value = string(v)
			return nil
		})
		return err
	})
	return value, err
}

func TestAtRefuses(t *testing.T) {
	w := newWords("words")
	s := projectorstest.Start(t, w.View)
	s.Append(say("set a 1"), say("set a 2"))
	for _, n := range []uint64{0, 3} {
		_, err := s.Views.At(t.Context(), n)
		var out *projectors.RangeError
		if !errors.As(err, &out) || out.Event != n || out.Last != 2 {
			t.Errorf("as of event %d: %v", n, err)
		}
	}
	past, err := s.Views.At(t.Context(), 1)
	if err != nil || past.Event() != 1 {
		t.Fatal(err)
	}
	if err := past.View("other").Read(nil); !errors.Is(err, projectors.ErrNoView) {
		t.Errorf("another view: %v", err)
	}
	if err := past.Prepare("other", nil); !errors.Is(err, projectors.ErrNoView) {
		t.Errorf("another view: %v", err)
	}
	w.broken.Store(true)
	n := projectorstest.Append(t, s.Journal, 1, say("fail"))
	if _, err := at(t, s, n, "a"); err == nil || !strings.Contains(err.Error(), "stopped before it") {
		t.Errorf("behind the event that stopped the view: %v", err)
	}
	if v, err := at(t, s, n-1, "a"); err != nil || v != "2" {
		t.Errorf("before it: %q, %v", v, err)
	}
	s.Stop()
	if _, err := at(t, s, 1, "a"); !errors.Is(err, projectors.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestPastState reads what the fold published, from the store and folded.
func TestPastState(t *testing.T) {
	w := newWords("words")
	s := projectorstest.StartWith(t, small, w.View)
	for range 12 {
		s.Append(say("set a 1"))
	}
	for n := uint64(1); n <= 12; n++ {
		past, err := s.Views.At(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		err = past.View("words").Read(func(s *projectors.Snapshot) error {
			if s.State() != n {
				t.Errorf("as of event %d, %v words were set", n, s.State())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestPastIsFoldedOnce has many who ask for the same at the same time.
func TestPastIsFoldedOnce(t *testing.T) {
	w := newWords("words")
	s := projectorstest.StartWith(t, small, w.View)
	s.Append(say("set a 1"), say("many 3 x"), say("set a 2"))
	for range 10 {
		s.Append(say("set b 1"))
	}
	var folds sync.Map
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			past, err := s.Views.At(t.Context(), 2)
			if err != nil {
				t.Error(err)
				return
			}
			err = past.Prepare("words", func(p projectors.Progress) { folds.Store(past, p) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	n := 0
	folds.Range(func(_, p any) bool {
		if n++; p.(projectors.Progress).Done != p.(projectors.Progress).Total {
			t.Errorf("progress ended at %+v", p)
		}
		return true
	})
	if n != 1 {
		t.Errorf("it was folded %d times", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	past, err := s.Views.At(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := past.View("words").Read(nil); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if v, err := at(t, s, 3, "a"); err != nil || v != "2" {
		t.Errorf("asked again, a was %q, %v", v, err)
	}
}

// TestKeptStates has states that are kept while the view runs, under fake time,
// and damages them: the past stays the same.
func TestKeptStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWords("words")
		s := projectorstest.StartWith(t, small, w.View)
		var digests [][32]byte
		for i := range 30 {
			s.Append(say("set a %d", i))
			_, digest := s.Digest("words")
			digests = append(digests, digest)
			time.Sleep(6 * time.Second)
		}
		kept, err := filepath.Glob(filepath.Join(s.Dir, "words", "kept", "*.snap"))
		if err != nil || len(kept) < 4 {
			t.Fatalf("kept are %v, %v", kept, err)
		}
		compare := func(when string) {
			t.Helper()
			for i, want := range digests {
				if s.DigestAt("words", uint64(i+1)) != want {
					t.Errorf("%s, as of event %d there are other rows", when, i+1)
				}
			}
		}
		compare("with kept states")
		time.Sleep(2 * time.Minute) // what was folded is let go
		for i, name := range kept {
			spoil(t, name, i)
		}
		compare("with damaged ones")
		s.Stop()
		s.Open(w.View)
		compare("opened anew")
		s.Stop()
	})
}

// spoil damages a file in one of several ways.
func spoil(t *testing.T, name string, how int) {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	switch how % 4 {
	case 0:
		b[len(b)/2] ^= 4
	case 1:
		b = b[:len(b)-5]
	case 2:
		b = append(b, 0)
	case 3:
		b = nil
	}
	write(t, name, string(b))
}

// TestAtAnyEvent draws histories, restarts and rebuilds: as of every event the
// rows are those of a fold up to it.
func TestAtAnyEvent(t *testing.T) {
	w, truth := newWords("words"), newWords("words")
	s, whole := projectorstest.StartWith(t, small, w.View), projectorstest.Start(t, truth.View)
	digests := [][32]byte{{}}
	command := rapid.Custom(func(rt *rapid.T) *event.Event {
		key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
		switch rapid.IntRange(0, 4).Draw(rt, "command") {
		case 0:
			return say("del %s", key)
		case 1:
			return say("many %d %s", rapid.IntRange(0, 5).Draw(rt, "rows"), key)
		case 2:
			return other()
		}
		return say("set %s %d", key, rapid.IntRange(0, 9).Draw(rt, "value"))
	})
	rapid.Check(t, func(rt *rapid.T) {
		events := rapid.SliceOfN(command, 1, 4).Draw(rt, "events")
		for _, e := range events {
			whole.Append(e)
			_, digest := whole.Digest("words")
			digests = append(digests, digest)
		}
		projectorstest.Append(t, s.Journal, rapid.IntRange(1, 4).Draw(rt, "page"), events...)
		s.Wait(s.Journal.Head().Event)
		switch rapid.IntRange(0, 20).Draw(rt, "then") {
		case 0:
			s.Stop()
			s.Open(w.View)
		case 1:
			if res, err := s.Views.Rebuild(t.Context(), "words", nil); err != nil || !res.Same {
				rt.Fatal(res, err)
			}
		}
		last := uint64(len(digests) - 1)
		for range 5 {
			n := rapid.Uint64Range(1, last).Draw(rt, "as of")
			if s.DigestAt("words", n) != digests[n] {
				rt.Fatalf("as of event %d of %d there are other rows", n, last)
			}
		}
	})
}

// counted counts how many pages are read.
type counted struct {
	journal.Journal
	pages int
}

func (c *counted) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	c.pages++
	return c.Journal.Read(ctx, from)
}

func TestEventAt(t *testing.T) {
	j := projectorstest.NewJournal(t) // event n is accepted n-1 ns after the epoch
	if n, err := projectors.EventAt(t.Context(), j, projectorstest.Epoch); err != nil || n != 0 {
		t.Errorf("of an empty journal: %d, %v", n, err)
	}
	for size := range 40 {
		projectorstest.Append(t, j, 1+size%7, other(), other(), other(), other(), other())
	}
	c := &counted{Journal: j}
	for n := uint64(0); n <= 201; n++ {
		c.pages = 0
		got, err := projectors.EventAt(t.Context(), c, projectorstest.Epoch.Add(time.Duration(n)-1))
		if err != nil || got != min(n, 200) || c.pages > 9 {
			t.Errorf("at the time of event %d: %d after %d pages, %v", n, got, c.pages, err)
		}
		when, err := projectors.TimeOf(t.Context(), j, n)
		if out := n == 0 || n > 200; out != errors.As(err, new(*projectors.RangeError)) {
			t.Errorf("time of event %d: %v", n, err)
		} else if !out && !when.Equal(projectorstest.Epoch.Add(time.Duration(n)-1)) {
			t.Errorf("time of event %d is %v", n, when)
		}
	}
}
