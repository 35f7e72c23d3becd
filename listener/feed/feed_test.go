package feed

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// say is an update in words.
func say(u listener.Update) string {
	switch u := u.(type) {
	case listener.OpenOperation:
		t, _ := u.Signed.Task()
		var done []uint32
		if u.Done != nil {
			done = slices.Collect(u.Done.All())
		}
		return fmt.Sprintf("open %d for %d done %d", t.Operation[15], slices.Collect(u.Targets.All()), done)
	case listener.ReleaseWave:
		return fmt.Sprintf("wave %d of %d for %d", u.Wave, u.ID[15], slices.Collect(u.Devices.All()))
	case listener.EndOperation:
		return fmt.Sprintf("end %d %q", u.ID[15], u.Cancel)
	case listener.ChangeKeys:
		return fmt.Sprintf("keys %s", u.Ring)
	case listener.BlockDevice:
		return fmt.Sprintf("block %d", u.Device)
	case listener.UnblockDevice:
		return fmt.Sprintf("unblock %d", u.Device)
	case listener.Whole:
		return "whole"
	}
	return fmt.Sprintf("%T", u)
}

func expect(t *testing.T, c *Client, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := say(next(t, c)); got != w {
			t.Fatalf("update %q, want %q", got, w)
		}
	}
}

// A listener that comes gets the state, and then what changes, and so does one
// that comes later: what it is told makes the same of it.
func TestStateThenChanges(t *testing.T) {
	s := newSite(t, listener.BlockDevice{Device: 9}, open(t, 1, 1, 2, 300), listener.Whole{})
	east := s.listener("EAST01")
	expect(t, east, "block 9", "open 1 for [1 2 300] done []", "whole")
	s.script.tell(listener.UnblockDevice{Device: 9}, open(t, 2, 5), listener.EndOperation{ID: task.ID{15: 1}})
	expect(t, east, "unblock 9", "open 2 for [5] done []", "end 1 \"\"")

	west := s.listener("WEST01")
	known := newState()
	for range 6 {
		known.apply(next(t, west))
	}
	if len(known.blocked) != 0 || len(known.open) != 1 || known.open[task.ID{15: 2}] == nil {
		t.Errorf("the later listener knows %v, %v", known.blocked, known.open)
	}
	s.script.tell(listener.BlockDevice{Device: 4})
	expect(t, east, "block 4")
	expect(t, west, "block 4")
}

// A state that is written between changes is for those who come: who follows
// skips it, and what is not open any more is not in it.
func TestNewStateInTheStream(t *testing.T) {
	s := newSite(t, open(t, 1, 1), listener.Whole{})
	s.mu.Lock()
	s.answered = map[task.ID]*task.Targets{{15: 2}: set(t, 8), {15: 5}: nil}
	s.mu.Unlock()
	east := s.listener("EAST01")
	expect(t, east, "open 1 for [1] done []", "whole")
	held := open(t, 2, 7, 8, 9)
	held.Held = true
	s.script.tell(openUntil(t, time.Now().Add(-time.Minute), 4, 1), open(t, 5, 1)) // nobody says that they have ended
	expect(t, east, "open 4 for [1] done []", "open 5 for [1] done []")
	s.script.tell(listener.EndOperation{ID: task.ID{15: 1}, Cancel: []byte("stop"), Until: time.Now().Add(time.Hour)},
		listener.EndOperation{ID: task.ID{15: 3}, Cancel: []byte("past"), Until: time.Now().Add(-time.Hour)},
		held, listener.ReleaseWave{ID: task.ID{15: 2}, Wave: 1, Devices: set(t, 7), At: moment},
		listener.ReleaseWave{ID: task.ID{15: 2}, Wave: 1, Devices: set(t, 7), At: moment}, listener.ChangeKeys{Ring: []byte("ring 2")})
	expect(t, east, `end 1 "stop"`, `end 3 "past"`, "open 2 for [7 8 9] done []", "wave 1 of 2 for [7]", "wave 1 of 2 for [7]", "keys ring 2")
	for range fewChanges { // enough that a new state is due
		s.script.tell(listener.BlockDevice{Device: 5})
	}
	for range fewChanges {
		expect(t, east, "block 5")
	}
	s.script.tell(listener.BlockDevice{Device: 6})
	expect(t, east, "block 6") // not the state that stands before it

	west := s.listener("WEST01")
	var got []string
	for _, u := range stateOf(t, west) {
		got = append(got, say(u))
	}
	want := []string{"keys ring 2", "block 5", "open 2 for [7 8 9] done [8]", "wave 1 of 2 for [7]", `end 1 "stop"`}
	if !slices.Equal(got, want) {
		t.Errorf("state %q, want %q", got, want)
	}
	for got := "block 5"; got != "block 6"; got = say(next(t, west)) {
		if got != "block 5" {
			t.Fatalf("update %q behind the state", got)
		}
	}
}

// When the source breaks, all begin anew, and what is not true any more is gone.
func TestSourceBreaks(t *testing.T) {
	s := newSite(t, open(t, 1, 1), listener.Whole{})
	east := s.listener("EAST01")
	expect(t, east, "open 1 for [1] done []", "whole")
	s.script.change(func() { s.script.updates = []listener.Update{open(t, 2, 2), listener.Whole{}} })
	s.script.breaks(errors.New("the journal is gone"))
	expect(t, east, "open 2 for [2] done []", "whole")
}

// A listener whose connection is lost begins anew; so does one that was away
// for so long that the stream has moved on.
func TestConnectionLost(t *testing.T) {
	s := newSite(t, open(t, 1, 1), listener.Whole{})
	east := s.listener("EAST01")
	expect(t, east, "open 1 for [1] done []", "whole")
	east.conn.Close()
	expect(t, east, "open 1 for [1] done []", "whole")
	second := s.listener("EAST01") // as after a restart: it takes the place of the first
	expect(t, second, "open 1 for [1] done []", "whole")
	s.script.tell(open(t, 2, 2))
	expect(t, second, "open 2 for [2] done []")
}

// Messages that come again, or not at all, are noticed by their numbers.
func TestNumbers(t *testing.T) {
	c := &Client{at: begin{generation: [16]byte{1}, number: 4}}
	m := func(n uint64, u listener.Update) Message {
		return Message{Generation: [16]byte{1}, Number: n, Update: u, Begin: u == nil}
	}
	for _, step := range []struct {
		m    Message
		want listener.Update
		err  bool
	}{
		{m: m(5, nil)},
		{m: m(6, listener.BlockDevice{Device: 1}), want: listener.BlockDevice{Device: 1}},
		{m: m(6, listener.BlockDevice{Device: 1})},
		{m: m(2, listener.BlockDevice{Device: 2})},
		{m: m(7, listener.Whole{}), want: listener.Whole{}},
		{m: m(8, nil)},
		{m: m(9, listener.BlockDevice{Device: 3})}, // in a state that is not needed
		{m: m(10, listener.Whole{})},
		{m: m(11, listener.BlockDevice{Device: 4}), want: listener.BlockDevice{Device: 4}},
		{m: m(13, listener.BlockDevice{Device: 4}), err: true},
		{m: Message{Generation: [16]byte{2}, Number: 12, Update: listener.Whole{}}, err: true},
	} {
		got, err := c.take(step.m)
		if got != step.want || (err != nil) != step.err {
			t.Errorf("message %d: %v, %v", step.m.Number, got, err)
		}
	}
}
