package projectorstest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
)

// Patience is how long the tests wait for what must happen.
const Patience = 30 * time.Second

// Epoch is the time at which the journals of [NewJournal] begin.
var Epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// History is the identity of the journals.
var History = [16]byte{'h', 'i', 's', 't', 'o', 'r', 'y'}

// NewJournal opens a journal in memory whose clock stands still: event n is
// accepted n-1 nanoseconds after [Epoch], however the events are cut into pages.
func NewJournal(t testing.TB) *journaltest.Memory {
	t.Helper()
	j := journaltest.NewMemory(journal.Options{Now: func() time.Time { return Epoch }})
	t.Cleanup(func() { check(t, j.Close()) })
	return j
}

// Append appends copies of the events, at most perPage in one page, and returns
// the number of the last one.
func Append(t testing.TB, j journal.Journal, perPage int, events ...*event.Event) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for len(events) > 0 {
		n := min(perPage, len(events))
		page := make([]*event.Event, n)
		for i, e := range events[:n] {
			clone := *e
			page[i] = &clone
		}
		check(t, j.Append(ctx, page...))
		events = events[n:]
	}
	return j.Head().Event
}

// A Site is views that follow a journal.
type Site struct {
	Journal *journaltest.Memory
	Views   *projectors.Views
	Dir     string
	Options projectors.Options // that [Site.Open] gives the views; folder, journal and history are the site's

	t    testing.TB
	stop func()
}

// Start opens the views in a new folder and runs them until the test ends.
func Start(t testing.TB, views ...*projectors.View) *Site {
	t.Helper()
	return StartWith(t, projectors.Options{}, views...)
}

// StartWith is [Start] with options.
func StartWith(t testing.TB, opt projectors.Options, views ...*projectors.View) *Site {
	t.Helper()
	s := &Site{t: t, Journal: NewJournal(t), Dir: t.TempDir(), Options: opt}
	s.Open(views...)
	t.Cleanup(s.Stop)
	return s
}

// Open opens the views over the journal as it is and runs them.
func (s *Site) Open(views ...*projectors.View) {
	s.t.Helper()
	opt := s.Options
	opt.Dir, opt.Journal, opt.History = s.Dir, s.Journal, History
	v, err := projectors.Open(opt, views...)
	check(s.t, err)
	s.Views = v
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		check(s.t, <-done)
		check(s.t, v.Close())
	})
}

// Stop stops and closes the views. It may be called more than once.
func (s *Site) Stop() { s.stop() }

// Append appends copies of the events, each in a page of its own, waits until
// the views hold them, and returns the number of the last one.
func (s *Site) Append(events ...*event.Event) uint64 {
	s.t.Helper()
	n := Append(s.t, s.Journal, 1, events...)
	s.Wait(n)
	return n
}

// Wait waits until the views hold event n.
func (s *Site) Wait(n uint64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	check(s.t, s.Views.Wait(ctx, n))
}

// Digest returns position and digest of a view, after it was verified.
func (s *Site) Digest(name string) (uint64, [32]byte) {
	s.t.Helper()
	check(s.t, s.Views.Verify(name))
	position, digest, err := s.Views.Digest(name)
	check(s.t, err)
	return position, digest
}

// DigestAt returns the digest of a view as of event n.
func (s *Site) DigestAt(name string, n uint64) (digest [32]byte) {
	s.t.Helper()
	past, err := s.Views.At(s.t.Context(), n)
	check(s.t, err)
	check(s.t, past.View(name).Read(func(s *projectors.Snapshot) (err error) {
		digest, err = s.Digest()
		return err
	}))
	return digest
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
