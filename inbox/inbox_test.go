package inbox_test

import (
	"reflect"
	"testing"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func TestEachKindBecomesItsEvents(t *testing.T) {
	bubble(t, func(r *rig) {
		r.drop(1, results(box.ResultRow{Result: task.Result{Operation: operation, Device: 7, Attempt: 1, State: task.Sent, At: at(0)}}, said(7, task.Delivered)))
		r.drop(1, online(true, 20_000))
		r.drop(2, online(false, 2))
		r.drop(3, online(true, 0))
		r.drop(1, &box.Status{Records: []box.StatusRecord{
			{Type: box.Started, At: at(1), Version: "1.0", Address: "[::1]:10123"},
			{Type: box.Refused, At: at(2), Where: "listener", Address: "10.0.0.1", Text: "expired", Count: 3},
			{Type: box.Message, At: at(3), Component: "listener", Number: 9, Severity: 2, Device: 5, Text: "slow"},
			{Type: box.Stopped, At: at(4)}}})
		r.drop(1, &box.Discovery{Records: []box.DiscoveryRecord{{Device: 7, At: at(5), Facts: []box.Fact{{Name: "os", Value: "linux"}}}}})
		r.start()
		r.rest()
		r.idle()
		var got []string
		for _, e := range r.events() {
			got = append(got, string(e.Kind()))
			if e.Source == nil || e.Source.Listener != "BGL" || e.Source.Epoch != 1 || e.Source.Part > e.Source.Of {
				t.Errorf("event %d has source %+v", e.Number, e.Source)
			}
			if e.Actor != (event.Actor{Issuer: "listener", Subject: "BGL"}) {
				t.Errorf("event %d has actor %+v", e.Number, e.Actor)
			}
		}
		want := []string{"results.reported",
			"presence.snapshot", "presence.snapshot", "presence.snapshot", "presence.delta", "presence.snapshot",
			"listener.started", "signin.failed", "status.message", "listener.stopped", "device.discovered"}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("events are\n%v, want\n%v", got, want)
		}
		if n := len(r.files("archive")); n != 6 {
			t.Errorf("%d files in the archive, want 6", n)
		}
	})
}
