package site

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/device"
)

func TestTwinText(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	found := []device.Device{
		{Number: 3, Name: "pc1", Imported: now}, {Number: 4, Name: "PC1", Joined: now}, {Number: 5, Name: "PC1", Imported: now},
		{Number: 6, Name: "pc1", Imported: now, Joined: now}, {Number: 7, Name: "7 of 9", Imported: now}, {Number: 9, Name: "pc1"},
	}
	joined := &event.DeviceJoined{Device: 9, Name: "pc1"}
	if got, want := twinText(joined, found), "device 9 joined as pc1, a new record; imported under that name, without an agent: 3, 5"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	joined.Name = "7" // which finds a device by its number
	if got := twinText(joined, found); got != "" {
		t.Errorf("it says %q", got)
	}
}

func TestTwinsAreBounded(t *testing.T) {
	var all twins
	now := time.Unix(1_700_000_000, 0)
	count := func(now time.Time) (said int) {
		for range 3 * twinMost {
			if all.another(now) {
				said++
			}
		}
		return said
	}
	for _, want := range []struct {
		after time.Duration
		said  int
	}{{0, twinMost}, {twinEvery - 1, 0}, {twinEvery, twinMost}, {2*twinEvery - 1, 0}, {5 * twinEvery, twinMost}} {
		if said := count(now.Add(want.after)); said != want.said {
			t.Errorf("after %s it is said %d times, want %d", want.after, said, want.said)
		}
	}
}
