package journaltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// An Open opens the journal in dir, anew or again, and fails the test if it
// cannot. It does not close it.
type Open func(t *testing.T, dir string, opts journal.Options) journal.Journal

// Run is what every journal must do. Some of it runs in a [Bubble]: there, and
// only there, a test can wait until every caller is asleep.
func Run(t *testing.T, open Open) {
	s := suite{open}
	for _, c := range []struct {
		name string
		test func(*testing.T, suite)
	}{
		{"an event comes back as it was", testRoundTrip},
		{"events of one call share a page, in order", testBatch},
		{"numbers are dense and pages are chained", testChain},
		{"many callers lose nothing and mix nothing up", testManyCallers},
		{"accepted rises although the clock does not", testAccepted},
		{"what cannot be taken is refused and leaves no trace", testLimits},
		{"a context that has ended stores nothing", testEndedContext},
		{"after opening again all is there and goes on", testReopen},
		{"a guard sees what was folded and decides", testGuard},
		{"guards at the same time give dense numbers", testGuardNumbers},
		{"a guard without events is a barrier", testBarrier},
		{"folds are told first, of everything, in order", testFolds},
		{"a selective fold is told what it wants", testSelectiveFold},
		{"a fold that is saved knows as much as one that is told", testSavingFold},
		{"a fold that cannot be restored is told everything", testFoldNotRestored},
		{"a reader begins anywhere and ends at the end", testRead},
		{"a reader cannot begin beyond the end", testAhead},
		{"a follower gets every page, behind or not", testFollow},
		{"a follower's wait ends with its context", testFollowContext},
		{"closing ends followers and refuses callers", testClose},
		{"any sequence of calls agrees with a model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, suite, string)
	}{
		{"callers who wait together share a page", testGroup},
		{"whoever gives up is not stored behind its back", testGiveUp},
		{"closing answers who waits", testCloseAnswers},
		{"time passes as the bubble says", testFakeTime},
	} {
		dir := t.TempDir()
		t.Run(c.name, func(t *testing.T) {
			Bubble(t, func(t *testing.T) { c.test(t, s, dir) })
		})
	}
}

type suite struct{ open Open }

// start opens a journal in dir that is closed at the end of the test.
func (s suite) start(t *testing.T, dir string, opts journal.Options) journal.Journal {
	t.Helper()
	j := s.open(t, dir, opts)
	t.Cleanup(func() { closeJournal(t, j) })
	return j
}

func closeJournal(t *testing.T, j journal.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// patience is how long anything may take before a test gives up. Nothing takes
// that long; it only ends a test that would hang.
const patience = 30 * time.Second

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// named makes an event that its name tells from others.
func named(format string, args ...any) *event.Event {
	return &event.Event{
		Observed: time.Unix(1_700_000_000, 42).UTC(),
		Actor:    event.Actor{Issuer: "site", Subject: "suite"},
		Payload:  &event.FileRequeued{Name: fmt.Sprintf(format, args...)},
	}
}

func nameOf(t testing.TB, r *journal.Record) string {
	t.Helper()
	e, err := r.Event()
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := e.Payload.(*event.FileRequeued); ok {
		return p.Name
	}
	return string(e.Kind())
}

func mustAppend(t testing.TB, j journal.Journal, events ...*event.Event) {
	t.Helper()
	if err := j.Append(context.Background(), events...); err != nil {
		t.Fatalf("append: %v", err)
	}
}

// tryAppend is mustAppend for other goroutines than the test's.
func tryAppend(t testing.TB, j journal.Journal, events ...*event.Event) {
	if err := j.Append(context.Background(), events...); err != nil {
		t.Errorf("append: %v", err)
	}
}

// pages reads from event from to the end and checks what holds for every
// sequence of pages.
func pages(t testing.TB, j journal.Journal, from uint64) []*journal.Page {
	t.Helper()
	r, err := j.Read(context.Background(), from)
	if err != nil {
		t.Fatalf("read from %d: %v", from, err)
	}
	defer r.Close()
	var all []*journal.Page
	for {
		p, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("next page behind %d: %v", len(all), err)
		}
		if len(all) > 0 {
			follows(t, all[len(all)-1], p)
		}
		all = append(all, p)
	}
}

func follows(t testing.TB, before, p *journal.Page) {
	t.Helper()
	if p.First != before.Last()+1 || p.Previous != before.Hash {
		t.Fatalf("page %d–%d does not follow page %d–%d", p.First, p.Last(), before.First, before.Last())
	}
}

// names are the names of all events from event 1 on.
func names(t testing.TB, j journal.Journal) (all []string) {
	t.Helper()
	for _, p := range pages(t, j, 1) {
		for i := range p.Records {
			if want := uint64(len(all) + 1); p.Records[i].Number != want {
				t.Fatalf("event %d where %d must be", p.Records[i].Number, want)
			}
			all = append(all, nameOf(t, &p.Records[i]))
		}
	}
	return all
}

// hold keeps the appender busy, inside a guard, until release is called.
func hold(t *testing.T, j journal.Journal) (release func()) {
	t.Helper()
	inside, gate, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- j.AppendIf(context.Background(), func() error { close(inside); <-gate; return nil })
	}()
	<-inside
	return func() {
		close(gate)
		if err := <-done; err != nil {
			t.Errorf("the guard that held the journal: %v", err)
		}
	}
}

var folders atomic.Uint64

// folder is a new name for a folder below dir.
func folder(dir string) string {
	return filepath.Join(dir, strconv.FormatUint(folders.Add(1), 10))
}

func testFakeTime(t *testing.T, s suite, dir string) {
	j := s.open(t, dir, journal.Options{})
	defer closeJournal(t, j)
	a, b := named("a"), named("b")
	mustAppend(t, j, a)
	time.Sleep(time.Hour)
	mustAppend(t, j, b)
	if got := b.Accepted.Sub(a.Accepted).Round(time.Minute); got != time.Hour {
		t.Errorf("%s lie between two events, an hour must", got)
	}
	synctest.Wait()
}
