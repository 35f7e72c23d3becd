package filter_test

import (
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/filter"
	"github.com/bugle-fleet/bugle/journal/event"
)

// Events about a collection, and events of collections about a device.
func TestCollections(t *testing.T) {
	set := func(numbers ...uint32) []byte {
		b, err := event.AppendSet(nil, roaring.BitmapOf(numbers...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	direct := func(numbers ...uint32) *event.Collection {
		b, err := roaring.BitmapOf(numbers...).ToBytes()
		if err != nil {
			t.Fatal(err)
		}
		return &event.Collection{ID: "P0100001", Name: "a", Limit: "P0100002", Direct: b}
	}
	for _, c := range []struct {
		payload event.Payload
		about   []string // collections
		devices []uint32
	}{
		{&event.CollectionChanged{ID: "P0100001", After: direct(1, 2)}, []string{"P0100001"}, []uint32{1, 2}},
		{&event.CollectionChanged{ID: "P0100001", Before: direct(1, 2), After: direct(2, 3)}, []string{"P0100001"}, []uint32{1, 3}},
		{&event.CollectionChanged{ID: "P0100001", Before: &event.Collection{ID: "P0100001"}}, []string{"P0100001"}, nil},
		{&event.WindowChanged{Collection: "P0100001", Name: "P0100002", After: []byte("{}")}, []string{"P0100001"}, nil},
		{&event.EvaluationRequested{Collections: []string{"P0100001", "P0100002"}}, []string{"P0100001", "P0100002"}, nil},
		{&event.CollectionsEvaluated{Results: []event.CollectionResult{{ID: "P0100001", Added: set(1)}, {ID: "P0100002", Removed: set(2, 3)}}},
			[]string{"P0100001", "P0100002"}, []uint32{1, 2, 3}},
		{&event.CollectionsEvaluated{Results: []event.CollectionResult{{ID: "P0100001", Added: []byte("nonsense")}}}, []string{"P0100001"}, nil},
		{&event.OperationRequested{Collection: "P0100002", AsOf: 7}, []string{"P0100002"}, nil},
		{&event.DeviceBlocked{Device: 1, Reason: "P0100001"}, nil, []uint32{1}},
	} {
		check := func(f filter.Filter, want bool) {
			t.Helper()
			e := &event.Event{Payload: c.payload}
			if got, err := f.Matches(record(t, e)); got != want || err != nil {
				t.Errorf("%+v takes %+v: %v, %v", f, c.payload, got, err)
			}
			if got := f.MatchesEvent(e); got != want {
				t.Errorf("%+v takes the decoded %+v: %v", f, c.payload, got)
			}
		}
		for _, id := range []string{"P0100001", "P0100002", "P0100003"} {
			is := false
			for _, about := range c.about {
				is = is || about == id
			}
			check(filter.Filter{Collection: id}, is)
			check(filter.Filter{Collection: id, Kinds: []string{"status."}}, false)
		}
		for d := uint32(1); d < 5; d++ {
			is := false
			for _, about := range c.devices {
				is = is || about == d
			}
			check(filter.Filter{Device: d}, is)
		}
	}
}
