package journaltest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func testRoundTrip(t *testing.T, s suite) {
	j := s.start(t, t.TempDir(), journal.Options{})
	e := &event.Event{
		Observed: time.Unix(1_700_000_000, 1).UTC(),
		Key:      "once",
		Actor:    event.Actor{Issuer: "token", Subject: "ann", Session: "s", Behalf: "b", Address: "192.0.2.1"},
		Source:   &event.Source{Listener: "BGL01", Epoch: 3, File: event.BOS, Number: 9, Part: 1, Of: 2, Digest: [32]byte{7}},
		Payload:  &event.OperationCancelled{Operation: task.ID{1, 2, 3}, Reason: "none"},
	}
	mustAppend(t, j, e)
	if e.Number != 1 || e.Accepted.IsZero() {
		t.Errorf("append gave number %d and time %s", e.Number, e.Accepted)
	}
	got, err := pages(t, j, 1)[0].Records[0].Event()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("event came back changed (-appended +read):\n%s", diff)
	}
}

func testBatch(t *testing.T, s suite) {
	j := s.start(t, t.TempDir(), journal.Options{})
	var batch []*event.Event
	for i := range journal.MaxPageEvents {
		batch = append(batch, named("%d", i))
	}
	mustAppend(t, j, batch...)
	all := pages(t, j, 1)
	if len(all) != 1 || len(all[0].Records) != len(batch) {
		t.Fatalf("%d pages, the first of %d events", len(all), len(all[0].Records))
	}
	for i, e := range batch {
		r := &all[0].Records[i]
		if e.Number != uint64(i+1) || r.Number != e.Number || nameOf(t, r) != fmt.Sprint(i) || !e.Accepted.Equal(time.Unix(0, r.Accepted)) {
			t.Fatalf("event %d has number %d and is %q at its place", i, e.Number, nameOf(t, r))
		}
	}
}

func testChain(t *testing.T, s suite) {
	j := s.start(t, t.TempDir(), journal.Options{})
	if h := j.Head(); h != (journal.Head{}) {
		t.Fatalf("a new journal ends with %+v", h)
	}
	for i := range 20 {
		mustAppend(t, j, slices.Repeat([]*event.Event{named("%d", i)}, i+1)...)
	}
	var head journal.Head
	for _, p := range pages(t, j, 1) {
		if p.Hash != sha256.Sum256(p.Bytes()) {
			t.Errorf("hash of page %d is not that of its bytes", head.Pages+1)
		}
		if _, err := journal.ParsePage(p.Bytes(), head); err != nil {
			t.Error(err)
		}
		head = head.Next(p)
	}
	if head != j.Head() || head.Event != 210 || head.Pages != 20 {
		t.Errorf("the pages lead to %+v, the journal ends with %+v", head, j.Head())
	}
}

func testManyCallers(t *testing.T, s suite) {
	const callers, each = 32, 20
	j := s.start(t, t.TempDir(), journal.Options{})
	var wg sync.WaitGroup
	numbers := make([][]uint64, callers)
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				e := named("%d/%d", c, i)
				if err := j.Append(context.Background(), e); err != nil {
					t.Error(err)
					return
				}
				numbers[c] = append(numbers[c], e.Number)
			}
		})
	}
	wg.Wait()
	all := names(t, j)
	if len(all) != callers*each {
		t.Fatalf("%d events, %d were appended", len(all), callers*each)
	}
	for c, list := range numbers {
		if !slices.IsSorted(list) {
			t.Errorf("caller %d got numbers that do not rise: %d", c, list)
		}
		for i, n := range list {
			if got, want := all[n-1], fmt.Sprintf("%d/%d", c, i); got != want {
				t.Errorf("event %d is %q, its caller appended %q", n, got, want)
			}
		}
	}
}

func testAccepted(t *testing.T, s suite) {
	now := time.Unix(1_700_000_000, 0)
	back := func() time.Time { now = now.Add(-time.Second); return now }
	j := s.start(t, t.TempDir(), journal.Options{Now: back})
	for i := range 5 {
		mustAppend(t, j, named("%d", i), named("%d", i))
	}
	rising(t, j, 10)
}

func rising(t *testing.T, j journal.Journal, want int) {
	t.Helper()
	var last int64
	n := 0
	for _, p := range pages(t, j, 1) {
		for i := range p.Records {
			if p.Records[i].Accepted <= last {
				t.Errorf("event %d was accepted at %d, the one before at %d", p.Records[i].Number, p.Records[i].Accepted, last)
			}
			last = p.Records[i].Accepted
			n++
		}
	}
	if n != want {
		t.Errorf("%d events, want %d", n, want)
	}
}

// long makes an event of about size bytes.
func long(size int) *event.Event {
	facts := make([]event.Fact, 0, size/event.MaxText)
	for ; size > 0; size -= event.MaxText {
		facts = append(facts, event.Fact{Name: "n", Value: strings.Repeat("v", event.MaxText)})
	}
	return &event.Event{Payload: &event.DeviceDiscovered{Device: 1, Facts: facts}}
}

func testLimits(t *testing.T, s suite) {
	j := s.start(t, t.TempDir(), journal.Options{})
	for name, events := range map[string][]*event.Event{
		"too many events":     slices.Repeat([]*event.Event{named("x")}, journal.MaxPageEvents+1),
		"too large an event":  {long(event.MaxEncoded + event.MaxText)},
		"too large a batch":   {long(250 << 10), long(250 << 10), long(20 << 10)},
		"no payload":          {{}},
		"a key that is long":  {{Key: strings.Repeat("k", event.MaxKey+1), Payload: &event.FileRequeued{}}},
		"a good and bad one":  {named("good"), {}},
		"a key that is bytes": {{Key: "\xff", Payload: &event.FileRequeued{}}},
	} {
		if err := j.Append(context.Background(), events...); !errors.Is(err, journal.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
		if err := j.AppendIf(context.Background(), func() error { return nil }, events...); !errors.Is(err, journal.ErrRefused) {
			t.Errorf("%s, behind a guard: %v, want ErrRefused", name, err)
		}
	}
	if h := j.Head(); h.Event != 0 {
		t.Errorf("%d events were stored of what was refused", h.Event)
	}
	mustAppend(t, j, long(250<<10), long(250<<10))
	mustAppend(t, j)
	if h := j.Head(); h.Event != 2 || h.Pages != 1 {
		t.Errorf("after two large events and an empty call the journal ends with %+v", h)
	}
}

func testEndedContext(t *testing.T, s suite) {
	j := s.start(t, t.TempDir(), journal.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := j.Append(ctx, named("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v", err)
	}
	guard := func() error { t.Error("the guard was called"); return nil }
	if err := j.AppendIf(ctx, guard, named("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("append behind a guard: %v", err)
	}
	mustAppend(t, j, named("y"))
	if got := names(t, j); !slices.Equal(got, []string{"y"}) {
		t.Errorf("stored: %q", got)
	}
}

func testReopen(t *testing.T, s suite) {
	dir := t.TempDir()
	now := time.Unix(1_800_000_000, 0)
	opts := journal.Options{Now: func() time.Time { return now }}
	var want []string
	for round := range 3 {
		j := s.open(t, dir, opts)
		if got := names(t, j); !slices.Equal(got, want) {
			t.Fatalf("round %d begins with %q, want %q", round, got, want)
		}
		for i := range 3 {
			e := named("%d.%d", round, i)
			mustAppend(t, j, e)
			want = append(want, fmt.Sprintf("%d.%d", round, i))
			if e.Number != uint64(len(want)) {
				t.Fatalf("event %d got number %d", len(want), e.Number)
			}
		}
		rising(t, j, len(want))
		closeJournal(t, j)
		now = now.Add(-time.Hour)
	}
}

func testGroup(t *testing.T, s suite, dir string) {
	j := s.open(t, dir, journal.Options{})
	defer closeJournal(t, j)
	release := hold(t, j)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() { tryAppend(t, j, named("%d", i)) })
	}
	synctest.Wait()
	if h := j.Head(); h.Event != 0 {
		t.Errorf("%d events passed the guard that was before them", h.Event)
	}
	release()
	wg.Wait()
	if h := j.Head(); h.Event != 200 || h.Pages != 1 {
		t.Errorf("200 callers who waited together made %d pages of %d events", h.Pages, h.Event)
	}
}

func testGiveUp(t *testing.T, s suite, dir string) {
	j := s.open(t, dir, journal.Options{})
	defer closeJournal(t, j)
	release := hold(t, j)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		guard := func() error { t.Error("a guard was called after its caller had left"); return nil }
		if err := j.AppendIf(ctx, guard, named("guarded")); !errors.Is(err, context.Canceled) {
			t.Errorf("append behind a guard: %v", err)
		}
	})
	e := named("plain")
	wg.Go(func() {
		if err := j.Append(ctx, e); !errors.Is(err, context.Canceled) {
			t.Errorf("append: %v", err)
		}
		e.Number = 99 // it is the caller's again
	})
	synctest.Wait()
	cancel()
	wg.Wait()
	release()
	mustAppend(t, j, named("later"))
	if got := names(t, j); got[len(got)-1] != "later" || slices.Contains(got, "guarded") {
		t.Errorf("stored: %q", got)
	}
	if e.Number != 99 {
		t.Error("the journal wrote into an event after its caller had left")
	}
}

func testClose(t *testing.T, s suite) {
	j := s.open(t, t.TempDir(), journal.Options{})
	mustAppend(t, j, named("a"))
	f, err := j.Follow(context.Background(), 2)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := f.Next(patient(t)); ended <- err }()
	closeJournal(t, j)
	if err := <-ended; !errors.Is(err, journal.ErrClosed) {
		t.Errorf("follower: %v, want ErrClosed", err)
	}
	if err := j.Append(context.Background(), named("b")); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("append: %v, want ErrClosed", err)
	}
	if err := j.AppendIf(context.Background(), func() error { return nil }, named("b")); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("append behind a guard: %v, want ErrClosed", err)
	}
	if _, err := j.Read(context.Background(), 1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("read: %v, want ErrClosed", err)
	}
	closeJournal(t, j)
}

func testCloseAnswers(t *testing.T, s suite, dir string) {
	j := s.open(t, dir, journal.Options{})
	release := hold(t, j)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { tryAppend(t, j, named("%d", i)) })
	}
	synctest.Wait()
	closed := make(chan struct{})
	go func() { closeJournal(t, j); close(closed) }()
	synctest.Wait()
	if err := j.Append(context.Background(), named("late")); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("append while closing: %v, want ErrClosed", err)
	}
	release()
	wg.Wait()
	<-closed
	j = s.open(t, dir, journal.Options{})
	defer closeJournal(t, j)
	if got := names(t, j); len(got) != 10 {
		t.Errorf("%d events are there of 10 that were answered: %q", len(got), got)
	}
}
