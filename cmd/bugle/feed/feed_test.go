package feed_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/cmd/bugle/feed"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

var (
	at  = projectorstest.Epoch
	key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
)

func opID(n byte) task.ID { return task.ID{15: n} }

// requested is operation n for devices 1 to 4, good for an hour.
func requested(t fatal, n byte, p event.OperationRequested) *event.Event {
	set, err := task.NewTargets(slices.Values([]uint32{1, 2, 3, 4}))
	if err != nil {
		t.Fatal(err)
	}
	p.Task, err = (&task.Task{Site: "P01", Operation: opID(n), Kind: "scan.quick", Root: set.Root(), Leaves: set.Leaves(),
		NotBefore: at, DeliverBy: at.Add(time.Hour), Requested: at}).Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	p.Targets, p.Count = bitmap(t, 1, 2, 3, 4), 4
	return &event.Event{Payload: &p}
}

type fatal interface{ Fatal(...any) }

func bitmap(t fatal, devices ...uint32) []byte {
	raw, err := roaring.BitmapOf(devices...).ToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// say is an update in words.
func say(u listener.Update) string {
	switch u := u.(type) {
	case listener.OpenOperation:
		t, _ := u.Signed.Task()
		done := []uint32{}
		if u.Done != nil {
			done = slices.Collect(u.Done.All())
		}
		return fmt.Sprintf("open %d %v done %v priority %d durable %v held %v", t.Operation[15], slices.Collect(u.Targets.All()), done, u.Priority, u.Durable, u.Held)
	case listener.ReleaseWave:
		return fmt.Sprintf("wave %d of %d: %v at %s over %s", u.Wave, u.ID[15], slices.Collect(u.Devices.All()), u.At.Sub(at), u.Spread)
	case listener.EndOperation:
		until := "no time"
		if !u.Until.IsZero() {
			until = u.Until.Sub(at).String()
		}
		return fmt.Sprintf("end %d with %q until %s", u.ID[15], u.Cancel, until)
	case listener.BlockDevice:
		return fmt.Sprint("block ", u.Device)
	case listener.UnblockDevice:
		return fmt.Sprint("unblock ", u.Device)
	}
	return fmt.Sprintf("%T", u)
}

// history has every kind that says something, and one that says nothing.
func history(t fatal) []*event.Event {
	payload := func(p event.Payload) *event.Event { return &event.Event{Payload: p} }
	return []*event.Event{
		requested(t, 1, event.OperationRequested{Priority: 1, Durable: true, Pacing: event.Pacing{Waves: []uint32{1}}}),
		requested(t, 2, event.OperationRequested{Priority: 3}),
		payload(&event.OperationReleased{Operation: opID(1), Wave: 1, Devices: bitmap(t, 2), Count: 1, Spread: time.Minute}),
		payload(&event.ResultsReported{Rows: []event.ResultRow{{Result: task.Result{Operation: opID(1), Device: 2, State: task.Succeeded, At: at}}}}),
		payload(&event.DeviceBlocked{Device: 3}),
		payload(&event.OperationReleased{Operation: opID(1), Wave: 2, Devices: bitmap(t, 1, 3), Count: 2}),
		payload(&event.OperationStopped{Operation: opID(1), Cancel: []byte("stop")}),
		payload(&event.DeviceUnblocked{Device: 3}),
		requested(t, 3, event.OperationRequested{}),
		payload(&event.OperationCancelled{Operation: opID(2), Cancel: []byte("cancel")}),
		payload(&event.OperationExpired{Operation: opID(3)}),
		payload(&event.OperationClosed{Operation: opID(2)}),
		payload(&event.DeviceRemoved{Device: 4}),
	}
}

var told = []string{
	"open 1 [1 2 3 4] done [] priority 1 durable true held true",
	"open 2 [1 2 3 4] done [] priority 3 durable false held false",
	"wave 1 of 1: [2] at 2ns over 1m0s",
	"block 3",
	"wave 2 of 1: [1 3] at 5ns over 0s",
	`end 1 with "stop" until 1h0m0s`,
	"unblock 3",
	"open 3 [1 2 3 4] done [] priority 0 durable false held false",
	`end 2 with "cancel" until 1h0m0s`,
	`end 3 with "" until no time`,
	`end 2 with "" until no time`,
	"block 4", // for ever
}

func TestUpdates(t *testing.T) {
	j := projectorstest.NewJournal(t)
	m := feed.NewMapper()
	var got []string
	for _, e := range history(t) {
		projectorstest.Append(t, j, 1, e)
		e.Number, e.Accepted = j.Head().Event, at.Add(time.Duration(j.Head().Event-1))
		updates, err := m.Updates(e)
		if err != nil {
			t.Fatal(err)
		}
		if len(updates) > 0 != feed.Wants(e.Kind()) {
			t.Errorf("%s says %d updates, wanted %v", e.Kind(), len(updates), feed.Wants(e.Kind()))
		}
		for _, u := range updates {
			got = append(got, say(u))
		}
	}
	if !slices.Equal(got, told) {
		t.Errorf("told %q, want %q", got, told)
	}
	if _, err := m.Updates(&event.Event{Payload: &event.OperationReleased{Operation: opID(1), Devices: []byte{9}}}); err == nil {
		t.Error("a wave that cannot be read is told")
	}
	if _, err := m.Updates(&event.Event{Payload: &event.OperationRequested{Task: []byte{9}}}); err == nil {
		t.Error("a task that cannot be read is told")
	}
}

// TestState is what a listener is told that begins in the middle of it all.
func TestState(t *testing.T) {
	view, r := operation.New()
	s := projectorstest.Start(t, view)
	state := func() (all []string) {
		t.Helper()
		m := feed.NewMapper()
		_, err := r.At(func(s *operation.Snapshot) error {
			updates, err := m.State(s.Open(), s.Cancels())
			for _, u := range updates {
				all = append(all, say(u))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	events := history(t)
	s.Append(events[:6]...)
	if got, want := state(), []string{"open 1 [1 2 3 4] done [2] priority 1 durable true held true", told[2], told[4], told[1]}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	s.Append(events[6:]...)
	if got, want := state(), []string{`end 1 with "stop" until 1h0m0s`, `end 2 with "cancel" until 1h0m0s`}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// A cancel of an operation that was stopped before is as good as the stop.
func TestEndsAfterState(t *testing.T) {
	m := feed.NewMapper()
	if _, err := m.State(nil, []operation.Cancel{{ID: opID(1), Signed: []byte("stop"), Until: at.Add(time.Minute)}}); err != nil {
		t.Fatal(err)
	}
	updates, err := m.Updates(&event.Event{Payload: &event.OperationCancelled{Operation: opID(1), Cancel: []byte("cancel")}})
	if err != nil || len(updates) != 1 || say(updates[0]) != `end 1 with "cancel" until 1m0s` {
		t.Errorf("told %v, %v", updates, err)
	}
}

func Example() {
	m := feed.NewMapper()
	updates, err := m.Updates(&event.Event{Number: 7, Payload: &event.DeviceBlocked{Device: 3}})
	fmt.Println(say(updates[0]), err)
	// Output: block 3 <nil>
}
