package window_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"github.com/bugle-fleet/bugle/projectors/window"
)

const night = `{"name":"night","start":"2026-11-28T01:00","minutes":180,"every":{"unit":"week"}}`

var at = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// set sets a window; without JSON it deletes it.
func set(collection, name, json string) *event.Event {
	return &event.Event{Observed: at, Payload: &event.WindowChanged{Collection: collection, Name: name, After: []byte(json)}}
}

func made(id string) *event.Event {
	return &event.Event{Payload: &event.CollectionChanged{ID: id, After: &event.Collection{ID: id, Name: "c " + id, Limit: event.RootCollection}}}
}

func deleted(id string) *event.Event {
	return &event.Event{Payload: &event.CollectionChanged{ID: id, Before: &event.Collection{ID: id}}}
}

// history brings every kind of event that the view folds.
func history() []*event.Event {
	return []*event.Event{
		made("P0100001"), set("P0100001", "night", night), set("P0100001", "noon", `{"name":"noon","start":"2026-11-28T12:00","minutes":60}`),
		made("P0100002"), set("P0100002", "night", night), set("P0100001", "night", `{"name":"night","start":"2026-11-28T02:00","minutes":180}`),
		set("P0100003", "nobody's", "no window at all"), set("P0100001", "never", ""), set("P0100001", "noon", ""),
		made("P0100001"), set("P0100002", "z", night), set("P0100002", "a", night), deleted("P0100002"), set("P010000", "2night", night),
	}
}

func TestSuite(t *testing.T) {
	projectorstest.Run(t, projectorstest.Suite{
		New:    func() *projectors.View { v, _ := window.New(); return v },
		Golden: "testdata/rows.golden",
		Events: history(),
	})
}

// all is what a reader says, in words.
func all(r *window.Reader) string {
	every, err := r.All()
	one, err2 := r.Of("P0100001")
	return fmt.Sprintf("%+v %v %+v %v", every, err, one, err2)
}

func TestAsOf(t *testing.T) {
	view, r := window.New()
	projectorstest.AsOf(t, history(), view, func() string { return all(r) },
		func(p *projectors.Past) string { return all(window.At(p)) })
}
