package filter_test

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/filter"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// BenchmarkMatches is a filter over events that it does not want; the metric
// entries/s counts devices in reports.
func BenchmarkMatches(b *testing.B) {
	blocked := record(b, &event.Event{Actor: event.Actor{Issuer: "local", Subject: "admin"}, Payload: &event.DeviceBlocked{Device: 5, Reason: "stolen"}})
	snapshot, results := new(event.PresenceSnapshot), new(event.ResultsReported)
	for i := range uint32(event.MaxEntries) {
		snapshot.Entries = append(snapshot.Entries, event.PresenceEntry{Device: 2*i + 1, Online: true, Since: time.UnixMilli(1_700_000_000_000 + int64(i*7919%100_000))})
	}
	for i := range uint32(4000) {
		results.Rows = append(results.Rows, event.ResultRow{Result: task.Result{Operation: operations[0], Device: 2*i + 1, Attempt: 1, State: task.Succeeded, At: time.Unix(1_700_000_000, 0)}})
	}
	for _, c := range []struct {
		name    string
		f       filter.Filter
		r       *journal.Record
		entries int
	}{
		{"kind", filter.Filter{Kinds: []string{"operation."}}, blocked, 0},
		{"actor", filter.Filter{Actor: filter.Actor{Subject: "ann"}}, blocked, 0},
		{"device/small", filter.Filter{Device: 8}, blocked, 0},
		{"device/presence-8192", filter.Filter{Device: 8000}, record(b, &event.Event{Payload: snapshot}), len(snapshot.Entries)},
		{"device/results-4000", filter.Filter{Device: 8000}, record(b, &event.Event{Payload: results}), len(results.Rows)},
		{"operation/results-4000", filter.Filter{Operation: operations[1]}, record(b, &event.Event{Payload: results}), len(results.Rows)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got, err := c.f.Matches(c.r); got || err != nil {
					b.Fatal(got, err)
				}
			}
			perSecond := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(perSecond, "events/s")
			if c.entries > 0 {
				b.ReportMetric(perSecond*float64(c.entries), "entries/s")
			}
		})
	}
}
