package filter_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/filter"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var key = ed25519.NewKeyFromSeed(make([]byte, 32))

// signed is a task as an operation's event holds it.
func signed(t interface{ Fatal(...any) }, id task.ID) task.Signed {
	now := time.Unix(1_700_000_000, 0)
	s, err := (&task.Task{Site: "P01", Operation: id, Kind: "scan.quick", Leaves: 1, NotBefore: now, DeliverBy: now.Add(time.Hour), Requested: now}).Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzMatches: whatever the bytes of an event are, looking at them in place says
// the same as decoding them.
func FuzzMatches(f *testing.F) {
	row := event.ResultRow{Result: task.Result{Operation: operations[0], Device: 300, State: task.Failed, Code: -5, At: time.Unix(5, 0), Detail: "no"}}
	for _, e := range []*event.Event{
		{Payload: &event.PresenceSnapshot{Total: 2, Entries: []event.PresenceEntry{{Device: 70_000}, {Device: 1}}}},
		{Payload: &event.PresenceDelta{Entries: []event.PresenceEntry{{Device: 300, Online: true}}}, Source: &event.Source{Listener: "SITE01", File: event.BOS, Number: 1, Part: 1, Of: 1}},
		{Payload: &event.ResultsReported{Rows: []event.ResultRow{row, row}}, Actor: event.Actor{Issuer: "listener", Subject: "SITE01"}},
		{Payload: &event.OperationRequested{Task: signed(f, operations[1]), Targets: bitmap(devices)}},
		{Payload: &event.OperationClosed{Operation: operations[0]}},
		{Payload: &event.StatusMessage{Device: 300}},
	} {
		f.Add(record(f, e).Body)
	}
	filters := []filter.Filter{
		{Actor: filter.Actor{Subject: "SITE01"}}, {Device: 1}, {Device: 300}, {Operation: operations[0]}, {Operation: operations[1]},
		{Kinds: []string{"presence."}, Device: 70_000, Actor: filter.Actor{Issuer: "listener", Subject: "SITE01"}},
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, wrong := event.Decode(body)
		for i := range filters {
			got, err := filters[i].Matches(&journal.Record{Number: 1, Body: body})
			if wrong == nil && (err != nil || got != filters[i].MatchesEvent(e)) {
				t.Errorf("%+v takes %s: %v, %v", filters[i], e.Kind(), got, err)
			}
		}
	})
}
