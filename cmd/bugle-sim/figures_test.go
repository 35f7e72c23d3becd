package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// series is n, n-1, … 1 milliseconds.
func series(n int) (all []time.Duration) {
	for i := range n {
		all = append(all, time.Duration(n-i)*time.Millisecond)
	}
	return all
}

func TestQuantiles(t *testing.T) {
	for _, c := range []struct {
		took []time.Duration
		want quantiles
	}{
		{nil, quantiles{}},
		{series(1), quantiles{1, 1, 1}},
		{series(2), quantiles{1, 2, 2}},
		{series(3), quantiles{2, 3, 3}},
		{series(100), quantiles{50, 99, 100}},
		{series(1000), quantiles{500, 990, 1000}},
		{[]time.Duration{-1500 * time.Microsecond, 1234567 * time.Nanosecond}, quantiles{-1.5, 1.235, 1.235}},
	} {
		if diff := cmp.Diff(c.want, quantilesOf(c.took)); diff != "" {
			t.Errorf("%d values (-want +got):\n%s", len(c.took), diff)
		}
	}
}

func TestSummary(t *testing.T) {
	got := summaryOf([]quantiles{{3, 30, 300}, {1, 10, 100}, {2, 20, 200}, {4, 40, 400}})
	want := summary{span{1, 2, 4}, span{10, 20, 40}, span{100, 200, 400}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(summary{}, summaryOf(nil)); diff != "" {
		t.Errorf("of nothing: %s", diff)
	}
}

func TestSinceLeavesOutWhoDidNot(t *testing.T) {
	from := time.Unix(100, 0)
	got := since(from, []time.Time{from.Add(2), {}, from.Add(-1)})
	if diff := cmp.Diff([]time.Duration{2, -1}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAResultIsVisibleByTheFirstAnswerThatHoldsItsEvent(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	members := []*member{{device: 7}, {device: 8}, {device: 9}, {device: 10}, {device: 11}, {device: 12}}
	ends := []time.Time{at(10), at(11), at(12), at(13), {}, at(15)}
	rows := []console.Target{
		{Device: 7, State: "succeeded", Event: 100},
		{Device: 8, State: "failed", Event: 101},
		{Device: 9, State: "running", Event: 90},  // no result yet
		{Device: 10, State: "expired", Event: 95}, // not by the agent
		{Device: 11, State: "succeeded", Event: 95},
		{Device: 12, State: "succeeded", Event: 999}, // changed after all looks
	}
	looks := []look{{at: at(20), event: 99}, {at: at(40), event: 100}, {at: at(60), event: 100}, {at: at(80), event: 120}}
	took, last := visibleAfter(members, ends, rows, looks, at(90))
	if diff := cmp.Diff([]time.Duration{30 * time.Millisecond, 69 * time.Millisecond, 75 * time.Millisecond}, took); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !last.Equal(at(90)) {
		t.Errorf("last was visible at %s, want %s", last, at(90))
	}
}

func TestARollCallCountsEachOnce(t *testing.T) {
	r := newRollCall(2)
	r.mark(1, time.Unix(5, 0))
	r.mark(1, time.Unix(6, 0))
	at, missing := r.times()
	if missing != 1 || !at[0].IsZero() || !at[1].Equal(time.Unix(5, 0)) {
		t.Errorf("times %v, %d missing", at, missing)
	}
	r.mark(0, time.Unix(7, 0))
	r.wait(t.Context())
	if r.missing() != 0 {
		t.Error("somebody is missing")
	}
}

func TestATaskThatComesBeforeTheAnswerCounts(t *testing.T) {
	c := courses{agents: 1}
	id := func(n byte) task.ID { return task.ID{n} }
	if c.of(id(1)) != nil {
		t.Error("an operation is kept while no push is under way")
	}
	c.begin()
	early := c.of(id(1))
	for n := range byte(100) {
		c.of(id(n))
	}
	if len(c.known) != maxCourses {
		t.Errorf("%d operations are kept, want %d", len(c.known), maxCourses)
	}
	if early == nil || c.settle(id(1)) != early || c.of(id(1)) != early {
		t.Error("the operation is not the one that came early")
	}
	if c.of(id(2)) != nil || c.of(id(200)) != nil {
		t.Error("operations of others are kept")
	}
	c.begin()
	if c.settle(id(3)) == nil {
		t.Error("an operation that nobody had yet is not kept")
	}
}

func TestWhoIsToldToComeLaterMakesAllWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(10, 2, 5*time.Second)
		begun := time.Now()
		for i, want := range []time.Duration{0, 0, 100 * time.Millisecond, 200 * time.Millisecond} {
			if err := p.wait(t.Context()); err != nil || time.Since(begun) != want {
				t.Errorf("turn %d after %s (%v), want %s", i, time.Since(begun), err, want)
			}
		}
		p.later()
		if err := p.wait(t.Context()); err != nil || time.Since(begun) != 5200*time.Millisecond {
			t.Errorf("turn after %s (%v), want 5.2s", time.Since(begun), err)
		}
	})
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := turns(2)
		one, two := turn(t.Context()), turn(t.Context())
		var third func()
		go func() { third = turn(t.Context()) }()
		synctest.Wait()
		if third != nil {
			t.Fatal("three actions run where two may")
		}
		one()
		synctest.Wait()
		if third == nil {
			t.Fatal("a place that was given back is not taken")
		}
		two()
		third()
	})
}
