package presence_test

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

var at = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func bos(listener string, epoch uint32, number uint64, part, of uint16) *event.Source {
	return &event.Source{Listener: listener, Epoch: epoch, File: event.BOS, Number: number, Part: part, Of: of}
}

// on and off are what a listener says of a device, so many minutes after at.
func on(device uint32, minutes int) event.PresenceEntry {
	return event.PresenceEntry{Device: device, Online: true, Carrier: event.TCP, Since: minute(minutes)}
}

func off(device uint32, minutes int, why event.PresenceReason) event.PresenceEntry {
	return event.PresenceEntry{Device: device, Reason: why, Carrier: event.TCP, Since: minute(minutes)}
}

func minute(n int) time.Time { return at.Add(time.Duration(n) * time.Minute) }

func delta(listener string, number uint64, entries ...event.PresenceEntry) *event.Event {
	return &event.Event{Observed: at, Source: bos(listener, 1, number, 1, 1), Payload: &event.PresenceDelta{Entries: entries}}
}

func snapshot(listener string, number uint64, entries ...event.PresenceEntry) *event.Event {
	return part(bos(listener, 1, number, 1, 1), len(entries), entries...)
}

func part(s *event.Source, total int, entries ...event.PresenceEntry) *event.Event {
	return &event.Event{Observed: minute(100), Source: s, Payload: &event.PresenceSnapshot{Total: uint32(total), Entries: entries}}
}

func says(p event.Payload) *event.Event { return &event.Event{Observed: minute(200), Payload: p} }

// stops is a stop at a minute.
func stops(name string, at int) *event.Event {
	return &event.Event{Observed: minute(at), Payload: &event.ListenerStopped{Listener: name, Epoch: 1}}
}

// history brings every kind of event that the view folds.
var history = []*event.Event{
	says(&event.ListenerGranted{Listener: "AAA", Epoch: 1}),
	says(&event.ListenerStarted{Listener: "AAA", Epoch: 1}),
	snapshot("AAA", 1, on(1, 1), on(2, 1), on(3, 1)),
	delta("AAA", 2, off(2, 2, event.Closed), on(4, 2)),
	delta("BBB", 1, on(3, 3), on(5, 3)),
	delta("AAA", 4, off(3, 4, event.TimedOut)),
	delta("AAA", 3, on(2, 3), off(4, 3, event.SignedOut)),
	part(bos("AAA", 1, 5, 1, 2), 2, on(1, 1)),
	part(bos("AAA", 1, 5, 2, 2), 2, on(6, 5)),
	says(&event.ListenerLost{Listener: "BBB", Epoch: 1}),
	part(bos("BBB", 2, 1, 1, 2), 2, on(5, 9)),
	delta("BBB", 9, off(5, 10, event.Closed)),
	part(bos("BBB", 2, 1, 2, 2), 2, on(7, 9)),
	stops("AAA", 3), // leaves who signed in after it
	says(&event.ListenerStopped{Listener: "AAA", Epoch: 1}),
	part(bos("CCC", 1, 1, 1, 2), 2, on(8, 1)),
	delta("DDD", 1, flaps(9, 0, 13)...), // a chunk twice and three more
	delta("DDD", 2, flaps(9, 13, 40)...),
	delta("EEE", 1, on(9, 300)),
}

// flaps is a device that signs in and goes away, half a minute between.
func flaps(device uint32, from, to int) (entries []event.PresenceEntry) {
	for i := from; i < to; i++ {
		e := on(device, 0)
		if i%2 == 1 {
			e = off(device, 0, event.Closed)
		}
		e.Since = minute(100).Add(time.Duration(i) * 30 * time.Second)
		entries = append(entries, e)
	}
	return entries
}

func TestSuite(t *testing.T) {
	projectorstest.Run(t, projectorstest.Suite{
		New:    func() *projectors.View { v, _ := presence.New(); return v },
		Golden: "testdata/rows.v4.golden",
		Events: history,
	})
}
