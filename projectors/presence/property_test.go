package presence_test

import (
	"context"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"pgregory.net/rapid"
)

// TestCountsAreKept draws reports of three listeners, in and out of order, in
// parts and with parts missing: what is kept is what the rows say, and folding
// all of it anew gives the same rows.
func TestCountsAreKept(t *testing.T) {
	s, r := start(t)
	listeners := []string{"AAA", "BBB", "CCC"}
	entry := rapid.Custom(func(rt *rapid.T) event.PresenceEntry {
		device := rapid.Uint32Range(1, 12).Draw(rt, "device")
		at := rapid.IntRange(0, 50).Draw(rt, "since")
		if rapid.Bool().Draw(rt, "online") {
			return on(device, at)
		}
		return off(device, at, event.PresenceReason(rapid.IntRange(1, 4).Draw(rt, "reason")))
	})
	any := rapid.Custom(func(rt *rapid.T) *event.Event {
		name := rapid.SampledFrom(listeners).Draw(rt, "listener")
		epoch := rapid.Uint32Range(1, 3).Draw(rt, "epoch")
		entries := rapid.SliceOfN(entry, 0, 5).Draw(rt, "entries")
		number := rapid.Uint64Range(1, 20).Draw(rt, "number")
		switch rapid.IntRange(0, 9).Draw(rt, "kind") {
		case 0:
			return says(&event.ListenerGranted{Listener: name, Epoch: epoch})
		case 1:
			e := stops(name, rapid.IntRange(0, 60).Draw(rt, "stopped"))
			e.Payload.(*event.ListenerStopped).Epoch = epoch
			return e
		case 2:
			return says(&event.ListenerLost{Listener: name, Epoch: epoch})
		case 3, 4, 5:
			of := rapid.Uint16Range(1, 3).Draw(rt, "of")
			total := len(entries) + rapid.IntRange(0, 3).Draw(rt, "others")
			return part(bos(name, epoch, number, rapid.Uint16Range(1, of).Draw(rt, "part"), of), total, entries...)
		}
		e := delta(name, number, entries...)
		e.Source.Epoch = epoch
		return e
	})
	rapid.Check(t, func(rt *rapid.T) {
		s.Append(rapid.SliceOfN(any, 1, 6).Draw(rt, "events")...)
		rows, err := r.List(0, 100)
		if err != nil {
			rt.Fatal(err)
		}
		if counts(t, r, rows); t.Failed() {
			rt.FailNow()
		}
	})
	position, digest := s.Digest("presence")
	got, err := s.Views.Rebuild(context.Background(), "presence", nil)
	if err != nil || !got.Same || got.Digest != digest || got.Position != position {
		t.Errorf("folded anew: %+v, %v", got, err)
	}
}
