package evaluator

import (
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/inventory"
)

// Inventory is [Config.Inventory] of the view.
func Inventory(r *inventory.Reader) func(read func(Devices) error) (position uint64, err error) {
	return func(read func(Devices) error) (uint64, error) {
		return r.At(func(s *inventory.Snapshot) error { return read(s) })
	}
}

// Collections is [Config.Collections] of the view.
func Collections(r *collection.Reader) func() (all []Known, cycle, position uint64, err error) {
	return func() (all []Known, cycle, position uint64, err error) {
		position, err = r.At(func(s *collection.Snapshot) error {
			all, cycle = nil, s.LastCycle()
			took := lastTook(s)
			for _, info := range s.List() {
				k := Known{ID: info.ID, Defined: info.Defined.Event, Members: s.Members(info.ID), Changed: info.Changed.Event,
					Evaluated: info.Evaluated.Event, Basis: info.Evaluated.Basis, Began: info.Evaluated.Started, Took: took[info.ID].Took}
				if info.ID != event.RootCollection {
					k.Definition = &info.Collection
				}
				all = append(all, k)
			}
			return nil
		})
		return all, cycle, position, err
	}
}

// lastTook returns the last run of each collection that was for all devices.
func lastTook(s *collection.Snapshot) map[string]collection.Run {
	last := map[string]collection.Run{}
	for _, q := range []event.EvaluationQueue{event.FullQueue, event.ManualQueue, event.SingleQueue} {
		for _, st := range s.Stats(q) {
			if st.Last.Event > last[st.ID].Event {
				last[st.ID] = st.Last
			}
		}
	}
	return last
}
