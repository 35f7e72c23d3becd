package collection_test

import (
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// all is what a reader says, in words.
func all(r *collection.Reader) (text string) {
	_, err := r.At(func(s *collection.Snapshot) error {
		text += fmt.Sprintln(s.Of(7), s.Of(65_535), s.LastCycle())
		for _, c := range s.List() {
			text += fmt.Sprintln(c, s.Page(c.ID, 3, 20), s.Members(c.ID).GetCardinality(), s.Deltas(c.ID))
			found, ok := s.Find(c.Name)
			text += fmt.Sprintln(found.ID, ok)
			for q := event.FullQueue; q <= event.IncrementalQueue; q++ {
				runs, err := s.Runs(c.ID, q)
				text += fmt.Sprintln(q, runs, err)
			}
		}
		for q := event.FullQueue; q <= event.IncrementalQueue; q++ {
			cycles, err := s.Cycles(q, 100)
			text += fmt.Sprintln(q, s.Stats(q), cycles, err)
		}
		return nil
	})
	return text + fmt.Sprintln(err)
}

func TestAsOf(t *testing.T) {
	view, r := collection.New()
	projectorstest.AsOf(t, history(t), view, func() string { return all(r) },
		func(p *projectors.Past) string { return all(collection.At(p)) })
}
