package journaltest

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// fill appends pages of 1, 2, 3, 1, 2, 3 … events.
func fill(t *testing.T, j journal.Journal, pages int) {
	t.Helper()
	for i := range pages {
		mustAppend(t, j, slices.Repeat([]*event.Event{named("%d", i)}, 1+i%3)...)
	}
}

func testRead(t *testing.T, s suite) {
	dir := t.TempDir()
	j := s.open(t, dir, journal.Options{})
	fill(t, j, 9)
	readEverywhere(t, j)
	closeJournal(t, j)
	// Now nothing is in memory.
	j = s.open(t, dir, journal.Options{})
	defer closeJournal(t, j)
	readEverywhere(t, j)
	r, err := j.Read(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	end := j.Head().Event
	mustAppend(t, j, named("later"))
	for {
		p, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Last() > end {
			t.Errorf("the reader went on to event %d, the end was %d", p.Last(), end)
		}
	}
	if _, err := r.Next(context.Background()); !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %v, want io.EOF again", err)
	}
}

func readEverywhere(t *testing.T, j journal.Journal) {
	t.Helper()
	all := pages(t, j, 1)
	if got := pages(t, j, 0); len(got) != len(all) {
		t.Errorf("from event 0 there are %d pages, from 1 %d", len(got), len(all))
	}
	for i, p := range all {
		for n := p.First; n <= p.Last(); n++ {
			got := pages(t, j, n)
			if len(got) != len(all)-i || got[0].First != p.First || got[0].Hash != p.Hash {
				t.Fatalf("from event %d: %d pages, the first begins with %d; want %d, beginning with %d",
					n, len(got), got[0].First, len(all)-i, p.First)
			}
		}
	}
	if got := pages(t, j, j.Head().Event+1); len(got) != 0 {
		t.Errorf("behind the last event there are %d pages", len(got))
	}
}

func testAhead(t *testing.T, s suite) {
	j := s.start(t, t.TempDir(), journal.Options{})
	for range 2 {
		beyond := j.Head().Event + 2
		if _, err := j.Read(context.Background(), beyond); !errors.Is(err, journal.ErrAhead) {
			t.Errorf("read from %d: %v, want ErrAhead", beyond, err)
		}
		if _, err := j.Follow(context.Background(), beyond); !errors.Is(err, journal.ErrAhead) {
			t.Errorf("follow from %d: %v, want ErrAhead", beyond, err)
		}
		mustAppend(t, j, named("x"), named("y"))
	}
}

// enough is more pages than any journal keeps in memory.
const enough = 200

func testFollow(t *testing.T, s suite) {
	j := s.start(t, t.TempDir(), journal.Options{})
	ctx := patient(t)
	var wg sync.WaitGroup
	ends := make([]uint64, 4)
	follower := func(i int, from uint64) {
		f, err := j.Follow(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer f.Close()
			ends[i] = followTo(t, ctx, f, "end")
		})
	}
	follower(0, 1)
	fill(t, j, enough)
	follower(1, 1)
	follower(2, j.Head().Event/2)
	follower(3, j.Head().Event+1)
	fill(t, j, 10)
	mustAppend(t, j, named("end"))
	wg.Wait()
	for i, end := range ends {
		if end != j.Head().Event {
			t.Errorf("follower %d ended at event %d, the journal at %d", i, end, j.Head().Event)
		}
	}
}

// followTo reads until an event has the given name and returns its number.
func followTo(t *testing.T, ctx context.Context, f journal.Reader, name string) uint64 {
	var before *journal.Page
	for {
		p, err := f.Next(ctx)
		if err != nil {
			t.Errorf("follow: %v", err)
			return 0
		}
		if before != nil && (p.First != before.Last()+1 || p.Previous != before.Hash) {
			t.Errorf("page from event %d does not follow the one from %d", p.First, before.First)
			return 0
		}
		before = p
		last := &p.Records[len(p.Records)-1]
		e, err := last.Event()
		if err != nil {
			t.Error(err)
			return 0
		}
		if e.Payload.(*event.FileRequeued).Name == name {
			return e.Number
		}
	}
}

func testFollowContext(t *testing.T, s suite) {
	j := s.start(t, t.TempDir(), journal.Options{})
	f, err := j.Follow(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { _, err := f.Next(ctx); ended <- err }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("next: %v, want context.Canceled", err)
	}
	mustAppend(t, j, named("x"))
	p, err := f.Next(patient(t))
	if err != nil || p.First != 1 {
		t.Errorf("after a wait that was given up: page %v, error %v", p, err)
	}
}
