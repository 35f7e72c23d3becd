package presence

import (
	"cmp"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/projectors"
)

// A device flaps when it changes FlapChanges times within FlapWindow. What the site
// concludes when a listener ends or leaves it out does not count: that is no fault
// of the device.
const (
	FlapChanges = 10
	FlapWindow  = 10 * time.Minute
)

// MaxFlapping is how many devices [Reader.Flapping] names, those that flapped last:
// one that is quiet since then is among them until its next change.
const MaxFlapping = 1000

// A Flap is a device that flapped when it changed last.
type Flap struct {
	Device  uint32
	First   time.Time // of the last FlapChanges changes
	Last    time.Time
	Event   uint64 // that brought the last one
	Changes uint64 // of the device, ever
}

// A burst is when the last changes of a device were that count, without the state
// that holds, in Unix milliseconds. It is not stored: the history tells it.
type burst struct {
	since [FlapChanges - 1]int64 // newest first
	known uint8                  // how many of them
}

func (b *burst) add(since int64) {
	copy(b.since[1:], b.since[:])
	b.since[0] = since
	b.known = min(b.known+1, uint8(len(b.since)))
}

// flaps tells whether all of them lie within the window before a state that began
// then. The clocks of two listeners differ, so that before may be behind.
func (b *burst) flaps(since int64) bool {
	for _, t := range b.since {
		if back := since - t; back > FlapWindow.Milliseconds() || -back > FlapWindow.Milliseconds() {
			return false
		}
	}
	return int(b.known) == len(b.since)
}

// flap takes note that a device went from c to to.
func (f *fold) flap(device uint32, c, to *cell) {
	if !c.concluded() {
		to.burst.add(c.since)
	}
	f.setFlapping(device, !to.concluded() && to.burst.flaps(to.since))
}

// loadBurst reads when the last changes of a device were, no further back than it
// matters.
func loadBurst(s *projectors.Snapshot, row *stored) (b burst, err error) {
	var found []int64
	for c := range formerOf(s, row, &err) {
		if concluded(c.Reason) {
			continue
		}
		found = append(found, c.At.UnixMilli())
		if len(found) == len(b.since) || row.Since.Sub(c.At) > FlapWindow {
			break
		}
	}
	for _, since := range slices.Backward(found) {
		b.add(since)
	}
	return b, err
}

func (f *fold) setFlapping(device uint32, flaps bool) {
	if flaps == f.flapping.Contains(device) && !flaps {
		return
	}
	if flaps {
		f.flapping.Add(device)
	} else {
		f.flapping.Remove(device)
	}
	f.flaps = nil
}

// listFlaps returns what readers get; it is made anew when something changed.
func (f *fold) listFlaps() []Flap {
	if f.flaps != nil || f.flapping.IsEmpty() {
		return f.flaps
	}
	devices := f.flapping.ToArray()
	if len(devices) > MaxFlapping {
		slices.SortFunc(devices, func(a, b uint32) int {
			return cmp.Or(cmp.Compare(f.devices.at(b).since, f.devices.at(a).since), cmp.Compare(a, b))
		})
		devices = devices[:MaxFlapping]
		slices.Sort(devices)
	}
	f.flaps = make([]Flap, 0, len(devices))
	for _, device := range devices {
		c := f.devices.at(device)
		f.flaps = append(f.flaps, Flap{Device: device, Last: time.UnixMilli(c.since).UTC(), Event: c.event, Changes: c.count + 1,
			First: time.UnixMilli(c.burst.since[FlapChanges-2]).UTC()})
	}
	return f.flaps
}

// Flapping returns the devices that flapped when they changed last, by rising
// number; whether that is long ago their Last tells. Nobody changes the list.
func (r *Reader) Flapping() (all []Flap, err error) {
	_, err = r.At(func(s *Snapshot) error {
		all = s.Flapping()
		return nil
	})
	return all, err
}

// Flapping is [Reader.Flapping].
func (s *Snapshot) Flapping() []Flap { return s.state().flapping }
