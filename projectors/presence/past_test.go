package presence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// all is what a reader says, in words.
func all(r *presence.Reader) string {
	rows, err := r.List(0, 100)
	online, by := r.Counts()
	a, ok, err2 := r.Listener("AAA")
	changes, err3 := r.History(9)
	flapping, err4 := r.Flapping()
	return fmt.Sprint(rows, err, online, by, r.Online(), a, ok, err2, changes, err3, flapping, err4)
}

func TestAsOf(t *testing.T) {
	view, r := presence.New()
	projectorstest.AsOf(t, history, view, func() string { return all(r) },
		func(p *projectors.Past) string { return all(presence.At(p)) })
}

// reads is a site with a full report and, behind it, deltas about every device,
// ten of them over: each row has eleven versions.
func reads(b *testing.B) (*projectorstest.Site, *presence.Reader) {
	view, r := presence.New()
	s := projectorstest.Start(b, view)
	projectorstest.Append(b, s.Journal, 1, full(1, 1)...)
	number := uint64(1)
	var deltas []*event.Event
	for round := range 10 {
		for from := 0; from < fleet; from += 250 {
			number++
			entries := make([]event.PresenceEntry, 250)
			for i := range entries {
				entries[i] = event.PresenceEntry{Device: uint32(from + i + 1), Online: round%2 == 0, Carrier: event.TCP, Since: at.Add(time.Duration(round) * time.Hour)}
			}
			deltas = append(deltas, &event.Event{Observed: at, Source: bos("LSN", 1, number, 1, 1), Payload: &event.PresenceDelta{Entries: entries}})
		}
	}
	projectorstest.Append(b, s.Journal, 100, deltas...)
	s.Wait(s.Journal.Head().Event)
	s.Stop() // what is in memory goes to tables
	s.Open(view)
	s.Wait(s.Journal.Head().Event)
	return s, r
}

func benchmarkRead(b *testing.B, r *presence.Reader) {
	b.Run("Get", func(b *testing.B) {
		i := uint32(0)
		for b.Loop() {
			if i = i%fleet + 1; true {
				if _, ok, err := r.Get(i); err != nil || !ok {
					b.Fatal(ok, err)
				}
			}
		}
	})
	b.Run("List100", func(b *testing.B) {
		i := uint32(0)
		for b.Loop() {
			if i = (i + 100) % (fleet - 200); true {
				if rows, err := r.List(i, 100); err != nil || len(rows) != 100 {
					b.Fatal(len(rows), err)
				}
			}
		}
	})
}

// BenchmarkReadNow and BenchmarkReadAt read rows of now and as of an event in the
// middle of the window.
func BenchmarkReadNow(b *testing.B) {
	_, r := reads(b)
	benchmarkRead(b, r)
}

func BenchmarkReadAt(b *testing.B) {
	s, _ := reads(b)
	past, err := s.Views.At(b.Context(), s.Journal.Head().Event/2)
	if err != nil {
		b.Fatal(err)
	}
	benchmarkRead(b, presence.At(past))
}
