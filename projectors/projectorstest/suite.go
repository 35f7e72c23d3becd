package projectorstest

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// A Suite is what [Run] needs to know of a view.
type Suite struct {
	// New returns a new view.
	New func() *projectors.View
	// Events is a history that brings every kind that the view folds; some 10 to
	// 30 events, for the store is opened once for each.
	Events []*event.Event
	// Golden names the file that has the rows after Events: what is on disk does
	// not change by accident. With the flag -update it is written.
	Golden string
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	digests := s.digests(t)
	t.Run("changes", func(t *testing.T) { s.testChanges(t, digests) })
	t.Run("golden", s.testGolden)
	t.Run("pages", func(t *testing.T) { s.testPages(t, digests) })
	t.Run("restart at every event", func(t *testing.T) { s.testRestart(t, digests) })
	t.Run("PL-2 deleted view", func(t *testing.T) { s.testDeleted(t, digests) })
	t.Run("PL-3 rebuild while serving", func(t *testing.T) { s.testRebuild(t, digests) })
	t.Run("as of every event", func(t *testing.T) { s.testPast(t, digests) })
	t.Run("rollback", func(t *testing.T) { s.testRollback(t, digests) })
	t.Run("gap", s.testGap)
	t.Run("later version", s.testUnknown)
}

// digests folds the events one by one and returns the digest after each; the one
// at 0 is the empty view's.
func (s Suite) digests(t *testing.T) (all [][32]byte) {
	view := s.New()
	site := Start(t, view)
	_, empty := site.Digest(view.Name)
	all = append(all, empty)
	for _, e := range s.Events {
		site.Append(e)
		position, digest := site.Digest(view.Name)
		if position != uint64(len(all)) {
			t.Fatalf("view is at event %d, want %d", position, len(all))
		}
		all = append(all, digest)
	}
	return all
}

// testChanges keeps the suite honest: a history that changes nothing proves
// nothing, and one that lacks a kind proves nothing of it.
func (s Suite) testChanges(t *testing.T, digests [][32]byte) {
	changes := 0
	for i := range digests[1:] {
		if digests[i] != digests[i+1] {
			changes++
		}
	}
	if changes < len(s.Events)/2 {
		t.Errorf("of %d events only %d change a row", len(s.Events), changes)
	}
	seen := make(map[event.Kind]bool)
	for _, e := range s.Events {
		seen[e.Kind()] = true
	}
	for _, k := range s.New().Kinds {
		if !seen[k] {
			t.Errorf("no event of kind %s", k)
		}
	}
}

func (s Suite) testPages(t *testing.T, digests [][32]byte) {
	view := s.New()
	site := Start(t, view)
	Append(t, site.Journal, 7, s.Events...)
	site.Wait(site.Journal.Head().Event)
	if _, got := site.Digest(view.Name); got != digests[len(digests)-1] {
		t.Error("pages of 7 events give other rows than pages of one")
	}
}

func (s Suite) testRestart(t *testing.T, digests [][32]byte) {
	view := s.New()
	site := Start(t, view)
	for i, e := range s.Events {
		site.Append(e)
		site.Stop()
		site.Open(view)
		if _, got := site.Digest(view.Name); got != digests[i+1] {
			t.Fatalf("opened anew after event %d, the rows are not the same", i+1)
		}
	}
	if g := site.Views.Status()[0].Generation; g != 1 {
		t.Errorf("generation %d serves: the store was not taken as it was", g)
	}
}

func (s Suite) testDeleted(t *testing.T, digests [][32]byte) {
	view := s.New()
	site := Start(t, view)
	site.Append(s.Events...)
	site.Stop()
	check(t, os.RemoveAll(filepath.Join(site.Dir, view.Name)))
	site.Open(view)
	site.Wait(site.Journal.Head().Event)
	position, got := site.Digest(view.Name)
	if position != uint64(len(s.Events)) || got != digests[position] {
		t.Errorf("the deleted view came back other than it was, at event %d", position)
	}
}

// testRebuild appends, reads and rebuilds at the same time: every snapshot must
// be what the view is after its event, and positions never fall.
func (s Suite) testRebuild(t *testing.T, digests [][32]byte) {
	view := s.New()
	site := Start(t, view)
	half := len(s.Events) / 2
	site.Append(s.Events[:half]...)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() { watch(t, view, digests, stop) })
	}
	var rebuilt sync.WaitGroup
	rebuilt.Go(func() {
		for i := range 2 {
			s.rebuild(t, site, digests, uint32(i+2))
		}
	})
	site.Append(s.Events[half:]...)
	rebuilt.Wait()
	close(stop)
	readers.Wait()
	if _, got := site.Digest(view.Name); got != digests[len(digests)-1] {
		t.Error("after the rebuilds the rows are other than they were")
	}
	s.testLeft(t, site, view, 2) // the one that serves, and the one before
}

func (s Suite) rebuild(t *testing.T, site *Site, digests [][32]byte, generation uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	name := s.New().Name
	var last, total uint64
	got, err := site.Views.Rebuild(ctx, name, func(p projectors.Progress) {
		if p.Done < last || p.Done > p.Total {
			t.Errorf("progress went from %d to %d of %d", last, p.Done, p.Total)
		}
		last, total = p.Done, p.Total
	})
	switch {
	case err != nil:
		t.Error(err)
	case !got.Same || got.Digest != digests[got.Position] || got.Generation != generation:
		t.Errorf("rebuild came to %+v", got)
	case last == 0 || last > total:
		t.Errorf("progress ended at %d of %d", last, total)
	}
}

// watch reads until stop.
func watch(t *testing.T, view *projectors.View, digests [][32]byte, stop <-chan struct{}) {
	var last uint64
	for {
		select {
		case <-stop:
			return
		default:
		}
		err := view.Read(func(s *projectors.Snapshot) error {
			got, err := s.Digest()
			if err != nil {
				return err
			}
			if s.Position() < last || got != digests[s.Position()] {
				t.Errorf("a reader that was at event %d saw other rows than the view has after event %d", last, s.Position())
			}
			last = s.Position()
			return nil
		})
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// testLeft closes the views and counts the generations that are left.
func (s Suite) testLeft(t *testing.T, site *Site, view *projectors.View, want int) {
	site.Stop()
	left, err := filepath.Glob(filepath.Join(site.Dir, view.Name, "0*"))
	check(t, err)
	if len(left) != want {
		t.Errorf("generations left: %v, want %d", left, want)
	}
}

func (s Suite) testGap(t *testing.T) {
	view := s.New()
	site := Start(t, view)
	site.Stop()
	Append(t, site.Journal, 1, s.Events...)
	v, err := projectors.Open(projectors.Options{Dir: site.Dir, Journal: gapped{site.Journal, 3}, History: History}, view)
	check(t, err)
	defer func() { check(t, v.Close()) }()
	err = runUntil(t, v, uint64(len(s.Events)))
	var gap *projectors.GapError
	if !errors.As(err, &gap) || gap.Want != 3 || gap.Got != 4 {
		t.Errorf("without event 3 the view says %v", err)
	}
	if st := v.Status()[0]; st.Position != 2 || !errors.Is(st.Err, err) && st.Err == nil || st.Lag != uint64(len(s.Events))-2 {
		t.Errorf("status is %+v", st)
	}
}

// testUnknown has an event of a later version of a kind that the view folds: the
// view must not go past it.
func (s Suite) testUnknown(t *testing.T) {
	view := s.New()
	site := Start(t, view)
	site.Append(s.Events[0])
	later := *s.Events[1]
	later.Source = nil
	later.Payload = &event.Unknown{Of: view.Kinds[0], Version: 99, Raw: []byte{0x91, 99}}
	n := Append(t, site.Journal, 1, &later)
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := site.Views.Wait(ctx, n); err == nil || ctx.Err() != nil {
		t.Errorf("the view went past an event that it cannot know: %v", err)
	}
	if st := site.Views.Status()[0]; st.Position != n-1 || st.Err == nil {
		t.Errorf("status is %+v", st)
	}
}

// runUntil runs v until it holds event n or stops, and returns why it stopped.
func runUntil(t *testing.T, v *projectors.Views, n uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	err := v.Wait(ctx, n)
	cancel()
	check(t, <-done)
	return err
}

// gapped is a journal that lacks an event.
type gapped struct {
	journal.Journal
	missing uint64
}

func (g gapped) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	r, err := g.Journal.Read(ctx, from)
	return &gappedReader{r, g.missing}, err
}

func (g gapped) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	r, err := g.Journal.Follow(ctx, from)
	return &gappedReader{r, g.missing}, err
}

type gappedReader struct {
	journal.Reader
	missing uint64
}

func (r *gappedReader) Next(ctx context.Context) (*journal.Page, error) {
	p, err := r.Reader.Next(ctx)
	if err == nil && p.First == r.missing && len(p.Records) == 1 {
		p, err = r.Reader.Next(ctx)
	}
	if err == io.EOF {
		return nil, io.EOF
	}
	return p, err
}
