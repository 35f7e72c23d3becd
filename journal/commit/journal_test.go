package commit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

func named(format string, args ...any) *event.Event {
	return &event.Event{Payload: &event.FileRequeued{Name: fmt.Sprintf(format, args...)}}
}

func nothing() error { return nil }

// Whoever comes when the queue is full waits, and is let go by its context, by
// room, or by Close.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journaltest.NewMemory(journal.Options{})
		release := m.Hold()
		var stored sync.WaitGroup
		// One page is being put; MaxWaiting more fill the queue.
		for i := range 1 + commit.MaxWaiting {
			stored.Go(func() {
				if err := m.AppendIf(context.Background(), nothing, named("%d", i)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(context.Background())
		answers := make(chan error)
		go func() { answers <- m.Append(ctx, named("gives up")) }()
		synctest.Wait()
		cancel()
		if err := <-answers; !errors.Is(err, context.Canceled) {
			t.Errorf("whoever waited for room and gave up was told %v", err)
		}
		stored.Go(func() {
			if err := m.Append(context.Background(), named("gets room")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		release()
		stored.Wait()
		if h := m.Head(); h.Pages != commit.MaxWaiting+2 || h.Event != commit.MaxWaiting+2 {
			t.Errorf("the journal ends with %+v, want %d events", h, commit.MaxWaiting+2)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseLetsGoWhoWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journaltest.NewMemory(journal.Options{})
		release := m.Hold()
		var taken sync.WaitGroup
		for range 1 + commit.MaxWaiting {
			taken.Go(func() {
				if err := m.AppendIf(context.Background(), nothing, named("x")); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		answer := make(chan error)
		go func() { answer <- m.Append(context.Background(), named("too late")) }()
		synctest.Wait()
		go m.Close()
		synctest.Wait()
		release()
		if err := <-answer; !errors.Is(err, journal.ErrClosed) {
			t.Errorf("told %v, want ErrClosed", err)
		}
		taken.Wait()
	})
}

// A page never exceeds its bounds, whatever waits.
func TestGroupsKeepTheBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journaltest.NewMemory(journal.Options{})
		defer m.Close()
		release := m.Hold()
		var wg sync.WaitGroup
		for i := range 2*journal.MaxPageEvents + 1 {
			wg.Go(func() {
				if err := m.Append(context.Background(), named("%d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		r, err := m.Read(context.Background(), 1)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for n < 2*journal.MaxPageEvents+1 {
			p, err := r.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			n += len(p.Records)
		}
		if h := m.Head(); h.Pages > 4 {
			t.Errorf("%d events that waited together made %d pages", n, h.Pages)
		}
	})
}

// The memory that the newest pages take is bounded by pages and by bytes;
// readers never notice.
func TestRing(t *testing.T) {
	m := journaltest.NewMemory(journal.Options{})
	defer m.Close()
	facts := make([]event.Fact, 60)
	for i := range facts {
		facts[i] = event.Fact{Name: "n", Value: string(make([]byte, event.MaxText))}
	}
	large := &event.Event{Payload: &event.DeviceDiscovered{Device: 1, Facts: facts}}
	const pages = 2 * commit.RingBytes / (480 << 10)
	for range pages {
		if err := m.Append(context.Background(), large, large); err != nil {
			t.Fatal(err)
		}
	}
	for from := uint64(1); from <= 2*pages; from += 7 {
		r, err := m.Read(context.Background(), from)
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.Next(context.Background())
		if err != nil || p.First > from || p.Last() < from {
			t.Fatalf("page for event %d: %v, %v", from, p, err)
		}
	}
}

// What the codec does not know it still keeps, and folds are told of it.
func TestUnknownEvents(t *testing.T) {
	var f fold
	m := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{&f}})
	defer m.Close()
	for _, k := range []event.Kind{"some.other", "device.joined"} {
		if err := m.Append(context.Background(), &event.Event{Payload: &event.Unknown{Of: k, Version: 99, Raw: []byte{1, 2}}}); err != nil {
			t.Errorf("an unknown version of %s: %v", k, err)
		}
	}
	if f.events != 2 {
		t.Errorf("the fold was told of %d events, want 2", f.events)
	}
}

type fold struct{ events int }

func (f *fold) Apply(*event.Event) { f.events++ }
