package projectorstest

import (
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// narrow makes most of a short history older than the window, and keeps states of
// some events.
func narrow(events int) projectors.Options {
	n := uint64(events)
	return projectors.Options{Window: projectors.Window{Age: 1, Events: n / 3}, Keep: projectors.Keep{Events: max(n/4, 1)}}
}

// testPast reads the view as of every event: from the store, folded in memory,
// while it grows, after a restart, after a rebuild, and without kept states.
func (s Suite) testPast(t *testing.T, digests [][32]byte) {
	view := s.New()
	site := StartWith(t, narrow(len(s.Events)), view)
	compare := func(when string, last int) {
		t.Helper()
		for n := 1; n <= last; n++ {
			if site.DigestAt(view.Name, uint64(n)) != digests[n] {
				t.Errorf("%s, the rows as of event %d are other than they were", when, n)
			}
		}
	}
	for i, e := range s.Events {
		site.Append(e)
		compare("while the view grows", i+1)
	}
	if w := site.Views.Status()[0].Window; w <= 1 || w > uint64(len(s.Events)) {
		t.Errorf("the window begins with event %d: nothing is older", w)
	}
	site.Stop()
	site.Open(view)
	compare("opened anew", len(s.Events))
	s.rebuild(t, site, digests, 2)
	compare("rebuilt", len(s.Events))
	if w := site.Views.Status()[0].Window; w <= 1 {
		t.Errorf("after the rebuild the window begins with event %d", w)
	}
	site.Stop()
	site.Options = projectors.Options{}
	site.Open(view)
	compare("opened with a larger window", len(s.Events))
}

// testRollback goes back to the generation before, which has missed some events.
func (s Suite) testRollback(t *testing.T, digests [][32]byte) {
	view := s.New()
	site := StartWith(t, narrow(len(s.Events)), view)
	half := len(s.Events) / 2
	site.Append(s.Events[:half]...)
	s.rebuild(t, site, digests, 2)
	site.Append(s.Events[half:]...)
	for _, generation := range []uint32{1, 2} {
		got, err := site.Views.Rollback(t.Context(), view.Name)
		if err != nil || !got.Same || got.Generation != generation || got.Digest != digests[got.Position] {
			t.Errorf("rolled back to generation %d: %+v, %v", generation, got, err)
		}
		if _, got := site.Digest(view.Name); got != digests[len(digests)-1] {
			t.Errorf("generation %d has other rows", generation)
		}
		site.Stop()
		site.Open(view)
		if st := site.Views.Status()[0]; st.Generation != generation || st.Former != 3-generation || st.Building {
			t.Errorf("after a restart the status is %+v", st)
		}
	}
}

// AsOf appends the events and compares, for each, what now said right after it
// with what then says as of it at the end: from the store, and with all of it
// older than the window.
func AsOf(t *testing.T, events []*event.Event, view *projectors.View, now func() string, then func(*projectors.Past) string) {
	t.Helper()
	site := StartWith(t, narrow(len(events)), view)
	said := []string{""}
	for _, e := range events {
		site.Append(e)
		said = append(said, now())
	}
	for n := 1; n < len(said); n++ {
		past, err := site.Views.At(t.Context(), uint64(n))
		check(t, err)
		if got := then(past); got != said[n] {
			t.Errorf("as of event %d the view says\n%s\nright after it, it said\n%s", n, got, said[n])
		}
	}
}
