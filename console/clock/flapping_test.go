package clock

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// flapper is devices that flap, and a fold that keeps the messages of the site.
type flapper struct {
	mu       sync.Mutex
	all      []presence.Flap
	messages []status.Message // newest first
}

func (f *flapper) set(all ...presence.Flap) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = all
}

func (f *flapper) said() []status.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.messages
}

func (f *flapper) Apply(e *event.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, ok := e.Payload.(*event.SiteMessage); ok {
		said := status.Message{Event: e.Number, Accepted: e.Accepted, Component: m.Component, Number: m.Message, Severity: m.Severity, Device: m.Device, Text: m.Text}
		f.messages = append([]status.Message{said}, f.messages...)
	}
}

func (f *flapper) Flapping() ([]presence.Flap, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all, nil
}

func (f *flapper) Messages(before uint64, limit int, _ ...event.Severity) (all []status.Message, err error) {
	for _, m := range f.said() {
		if (before == 0 || m.Event < before) && len(all) < limit {
			all = append(all, m)
		}
	}
	return all, nil
}

func (f *flapper) Due(time.Time) (expire, closing []task.ID, err error) { return nil, nil, nil }
func (f *flapper) Listeners() ([]status.Listener, error)                { return nil, nil }
func (f *flapper) Wait(context.Context, uint64, ...string) error        { return nil }

// serve lets a clock run in the bubble; the function that it returns ends it.
func (f *flapper) serve(t *testing.T, j journal.Journal) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	c := New(Config{Journal: j, Operations: f, Listeners: f, Views: f, Flapping: f, Messages: f, Interval: time.Hour, Log: slog.New(slog.DiscardHandler)})
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func flap(device uint32) presence.Flap {
	return presence.Flap{Device: device, First: time.Now().Add(-9 * time.Minute), Last: time.Now()}
}

// A device that flaps all the time is told of once an hour, also across a new start
// of the site; one that has calmed down is not.
func TestFlappingOncePerHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flapper{}
		j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{f}})
		defer j.Close()
		stop := f.serve(t, j)
		minutes := func(n int) {
			for range n {
				f.set(flap(7))
				time.Sleep(time.Minute)
			}
			synctest.Wait()
		}
		said := func(want int) {
			t.Helper()
			if all := f.said(); len(all) != want {
				t.Fatalf("said %d times, want %d: %+v", len(all), want, all)
			}
		}
		minutes(1)
		said(1)
		if m := f.said()[0]; m.Device != 7 || m.Number != flapMessage || m.Severity != event.Warning || m.Component != "clock" {
			t.Errorf("said %+v", m)
		}
		minutes(58)
		said(1)
		stop()
		stop = f.serve(t, j)
		minutes(1)
		said(1) // it remembers what the site said before
		minutes(2)
		said(2)
		time.Sleep(3 * time.Hour) // the view still names it, for it changed last then
		synctest.Wait()
		said(2)
		stop()
	})
}

// A whole fleet that comes and goes is told of by a bounded number of messages.
func TestFlappingOfManyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flapper{}
		j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{f}})
		defer j.Close()
		for device := range uint32(1000) {
			f.all = append(f.all, flap(device+1))
		}
		stop := f.serve(t, j)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		stop()
		devices := map[string]bool{}
		for _, m := range f.messages {
			devices[fmt.Sprint(m.Device)] = true
		}
		if len(f.messages) != flapMost || len(devices) != flapMost {
			t.Errorf("%d messages about %d devices, want %d", len(f.messages), len(devices), flapMost)
		}
	})
}

// A listener that says so itself does not silence the site.
func TestFlappingIsTheSitesToSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flapper{messages: []status.Message{{Event: 1, Accepted: time.Now(), Listener: "EAST01", Component: "clock", Number: flapMessage, Severity: event.Warning, Device: 7}}}
		j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{f}})
		defer j.Close()
		f.set(flap(7))
		stop := f.serve(t, j)
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		if n := len(f.messages); n != 2 {
			t.Errorf("%d messages, want that of the listener and that of the site", n)
		}
	})
}
