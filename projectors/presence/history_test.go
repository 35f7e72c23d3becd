package presence_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/presence"
)

// shown is a history in words, the newest first.
func shown(t *testing.T, r *presence.Reader, device uint32) (lines []string) {
	t.Helper()
	all, err := r.History(device)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		lines = append(lines, fmt.Sprintf("%d %v %s %s %s by %d", int(c.At.Sub(at).Minutes()), c.Online, c.Reason, c.Carrier, c.Listener, c.Event))
	}
	return lines
}

func TestHistory(t *testing.T) {
	s, r := start(t)
	if lines := shown(t, r, 1); len(lines) != 0 {
		t.Errorf("a device that nobody named has %q", lines)
	}
	s.Append(delta("AAA", 1, on(1, 1)), delta("AAA", 2, off(1, 2, event.Closed)), delta("AAA", 3, off(1, 2, event.Closed))) // nothing new
	web := on(1, 3)
	web.Carrier = event.WebSocket
	s.Append(delta("BBB", 1, web), delta("AAA", 4, off(1, 4, event.TimedOut))) // which does not count
	s.Append(says(&event.ListenerLost{Listener: "BBB", Epoch: 1}))
	want := []string{
		"200 false listener-lost websocket BBB by 6",
		"3 true signed-in websocket BBB by 4",
		"2 false closed tcp AAA by 2",
		"1 true signed-in tcp AAA by 1",
	}
	if got := shown(t, r, 1); !slices.Equal(got, want) {
		t.Errorf("history is %q, want %q", got, want)
	}
}

// However many changes there are, the newest MaxHistory are told, in order, and
// across a restart.
func TestHistoryIsBounded(t *testing.T) {
	s, r := start(t)
	for i := range 63 {
		e := on(7, 20*i)
		if i%2 == 1 {
			e = off(7, 20*i, event.SignedOut)
		}
		s.Append(delta("AAA", uint64(i+1), e))
		all, err := r.History(7)
		if err != nil || len(all) != min(i+1, presence.MaxHistory) {
			t.Fatalf("after change %d there are %d, %v", i, len(all), err)
		}
		for back, c := range all {
			if n := i - back; !c.At.Equal(minute(20*n)) || c.Online != (n%2 == 0) || c.Event != uint64(n+1) {
				t.Fatalf("after change %d, %d back is %+v", i, back, c)
			}
		}
	}
	before := shown(t, r, 7)
	s.Stop()
	view, again := presence.New()
	s.Open(view)
	s.Append(delta("BBB", 1, on(8, 1)))
	if got := shown(t, again, 7); !slices.Equal(got, before) {
		t.Errorf("history is %q, was %q", got, before)
	}
	s.Append(delta("AAA", 64, off(7, 20*63, event.TimedOut)))
	if got := shown(t, again, 7); len(got) != presence.MaxHistory || got[1] != before[0] {
		t.Errorf("history is %q, was %q", got, before)
	}
}

func TestFlapping(t *testing.T) {
	s, r := start(t)
	number := uint64(0)
	say := func(entries ...event.PresenceEntry) {
		t.Helper()
		number++
		s.Append(delta("AAA", number, entries...))
	}
	flapping := func(devices ...uint32) {
		t.Helper()
		all, err := r.Flapping()
		if err != nil {
			t.Fatal(err)
		}
		var got []uint32
		for _, f := range all {
			got = append(got, f.Device)
		}
		if !slices.Equal(got, devices) {
			t.Errorf("flapping are %d, want %d", got, devices)
		}
	}
	slowly := func(device uint32, n int, step time.Duration) (entries []event.PresenceEntry) {
		for i := range n {
			e := on(device, 0)
			e.Since = at.Add(time.Duration(i) * step)
			entries = append(entries, e)
		}
		return entries
	}
	edge := presence.FlapWindow / (presence.FlapChanges - 1)
	say(slowly(1, presence.FlapChanges-1, time.Second)...)
	say(slowly(2, 30, edge+time.Second)...) // always nine within the window
	flapping()
	say(slowly(3, presence.FlapChanges, edge)...) // ten within exactly the window
	say(slowly(1, presence.FlapChanges, time.Second)[presence.FlapChanges-1:]...)
	flapping(1, 3)
	all, _ := r.Flapping()
	if f := all[0]; !f.First.Equal(at) || !f.Last.Equal(at.Add(9*time.Second)) || f.Changes != 10 || f.Event != number {
		t.Errorf("flap is %+v", f)
	}
	s.Stop()
	view, again := presence.New()
	s.Open(view)
	r = again
	say(on(4, 0))
	flapping(1, 3)
	say(on(1, 30)) // it was quiet for long
	flapping(3)
}

// A listener that comes and goes makes no device flap: it is not their fault.
func TestFlappingIsNotTheListeners(t *testing.T) {
	s, r := start(t)
	for i := range uint64(8) {
		s.Append(delta("AAA", i+1, on(1, 200)), says(&event.ListenerLost{Listener: "AAA", Epoch: 1}))
	}
	if all, err := r.Flapping(); err != nil || len(all) > 0 {
		t.Errorf("flapping are %+v, %v", all, err)
	}
	if all, err := r.History(1); err != nil || len(all) != 16 {
		t.Errorf("%d changes, %v", len(all), err)
	}
}

// Those that flapped long ago and have been quiet since do not hide who flaps now.
func TestNewestFlapsAreNamed(t *testing.T) {
	s, r := start(t)
	number := uint64(0)
	flap := func(at time.Time, from, to uint32) {
		t.Helper()
		for i := range presence.FlapChanges {
			var entries []event.PresenceEntry
			for device := from; device <= to; device++ {
				e := on(device, 0)
				e.Since = at.Add(time.Duration(i) * time.Second)
				entries = append(entries, e)
			}
			number++
			s.Append(delta("AAA", number, entries...))
		}
	}
	flap(at, 1, presence.MaxFlapping+1)
	flap(at.Add(time.Hour), presence.MaxFlapping+2, presence.MaxFlapping+2)
	all, err := r.Flapping()
	if err != nil || len(all) != presence.MaxFlapping {
		t.Fatalf("%d devices, %v", len(all), err)
	}
	for i, f := range all[:len(all)-1] {
		if f.Device != uint32(i+1) {
			t.Fatalf("device %d at %d", f.Device, i)
		}
	}
	if last := all[len(all)-1]; last.Device != presence.MaxFlapping+2 {
		t.Errorf("device %d is the last one", last.Device)
	}
}
