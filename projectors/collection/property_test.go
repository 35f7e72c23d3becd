package collection_test

import (
	"fmt"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"pgregory.net/rapid"
)

// drawSet draws some devices of three chunks: single ones, and at times a stretch.
func drawSet(rt *rapid.T, label string) *roaring.Bitmap {
	s := roaring.New()
	for range rapid.IntRange(0, 4).Draw(rt, label+" singles") {
		s.Add(rapid.Uint32Range(1, 140_000).Draw(rt, label))
	}
	if rapid.IntRange(0, 3).Draw(rt, label+" stretch") == 0 {
		from, step := rapid.Uint32Range(1, 140_000).Draw(rt, label+" from"), rapid.Uint32Range(1, 3).Draw(rt, label+" step")
		for i := range rapid.Uint32Range(1, 900).Draw(rt, label+" many") {
			s.Add(from + i*step)
		}
	}
	return s
}

// TestMembersAreWhatTheEventsSay draws definitions, deletions and results, and
// compares the view with a plain model after each. Bitmaps that were handed out
// before must stay as they were. In the end all of it is folded anew and opened
// anew, to the same members and rows.
func TestMembersAreWhatTheEventsSay(t *testing.T) {
	site, r := start(t)
	ids := []string{"P0100001", "P0100002", "P0100003"}
	model := map[string]*roaring.Bitmap{event.RootCollection: roaring.New()}
	cycle := uint64(0)
	compare := func(rt interface{ Errorf(string, ...any) }) {
		read(t, r, func(s *collection.Snapshot) {
			if len(s.List()) != len(model) {
				rt.Errorf("%d collections, want %d", len(s.List()), len(model))
			}
			for id, want := range model {
				info, ok := s.Get(id)
				if got := s.Members(id); !ok || !got.Equals(want) || info.Members != want.GetCardinality() {
					rt.Errorf("%s holds %v, %d, want %v", id, got, info.Members, want)
				}
			}
		})
	}
	rapid.Check(t, func(rt *rapid.T) {
		type held struct{ handed, copied *roaring.Bitmap }
		var before []held
		for range rapid.IntRange(1, 12).Draw(rt, "events") {
			id := rapid.SampledFrom(append(ids, event.RootCollection)).Draw(rt, "id")
			switch kind := rapid.IntRange(0, 9).Draw(rt, "kind"); {
			case kind == 0 && id != event.RootCollection:
				delete(model, id)
				site.Append(deleted(id))
			case kind <= 2 && id != event.RootCollection:
				if model[id] == nil {
					model[id] = roaring.New()
				}
				site.Append(defined(id, fmt.Sprint("name ", rapid.IntRange(0, 2).Draw(rt, "name"))))
			default:
				cycle++
				added, removed := drawSet(rt, "added"), drawSet(rt, "removed")
				removed.AndNot(added)
				if m := model[id]; m != nil {
					m.Or(added)
					m.AndNot(removed)
				}
				site.Append(evaluated(cycle, event.IncrementalQueue, result(id, encoded(t, added), encoded(t, removed))))
			}
			compare(rt)
			read(t, r, func(s *collection.Snapshot) {
				for id := range model {
					m := s.Members(id)
					before = append(before, held{m, m.Clone()})
				}
			})
			for _, h := range before {
				if !h.handed.Equals(h.copied) {
					rt.Fatalf("a bitmap that was handed out became %v, it was %v", h.handed, h.copied)
				}
			}
		}
	})
	_, digest := site.Digest("collection")
	got, err := site.Views.Rebuild(t.Context(), "collection", nil)
	if err != nil || got.Digest != digest {
		t.Errorf("folded anew: %+v, %v", got, err)
	}
	compare(t)
	site.Stop()
	view, reader := collection.New()
	site.Open(view)
	r = reader
	site.Wait(site.Journal.Head().Event)
	compare(t)
}

// TestReadersSeeNoHalf reads, copies and unites members while they change: under
// the race detector a shared container that is written shows.
func TestReadersSeeNoHalf(t *testing.T) {
	site, r := start(t)
	site.Append(defined("P0100001", "Laptops"))
	stop, done := make(chan struct{}), make(chan error, 2)
	for range 2 {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				_, err := r.At(func(s *collection.Snapshot) error {
					m := s.Members("P0100001")
					c, u := m.Clone(), roaring.Or(m, roaring.BitmapOf(200_000))
					c.Add(300_000)
					u.Remove(1)
					// Every event brings 10 members, or takes 10 away.
					if info, _ := s.Get("P0100001"); m.GetCardinality()%10 != 0 || info.Members != m.GetCardinality() {
						return fmt.Errorf("%d members", m.GetCardinality())
					}
					return nil
				})
				if err != nil {
					done <- err
					return
				}
			}
		}()
	}
	var events []*event.Event
	for i := uint32(0); i < 200; i++ {
		from := i%20*8000 + 1
		in := set(t, from, from+9)
		if i/20%2 == 0 {
			events = append(events, evaluated(uint64(i), event.IncrementalQueue, result("P0100001", in, nil)))
		} else {
			events = append(events, evaluated(uint64(i), event.IncrementalQueue, result("P0100001", nil, in)))
		}
	}
	site.Wait(projectorstest.Append(t, site.Journal, 1, events...))
	close(stop)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
