package pacing_test

import (
	"crypto/ed25519"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

func publicKey() ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func TestParseWaves(t *testing.T) {
	for _, c := range []struct {
		words []string
		count uint32
		want  []uint32
		ok    bool
	}{
		{nil, 100, nil, true},
		{[]string{"5%", "25%"}, 1000, []uint32{50, 250}, true},
		{[]string{"5%", "25%"}, 3, []uint32{1, 1}, true},
		{[]string{"5%", "25%"}, 1, []uint32{1}, true},
		{[]string{"0.1%"}, 100_000, []uint32{100}, true},
		{[]string{"10", "50%"}, 100, []uint32{10, 50}, true},
		{[]string{"70%", "70%", "1"}, 10, []uint32{7, 3}, true},
		{[]string{"100%"}, 7, []uint32{7}, true},
		{[]string{"0"}, 7, nil, false},
		{[]string{"0%"}, 7, nil, false},
		{[]string{"101%"}, 7, nil, false},
		{[]string{"-1"}, 7, nil, false},
		{[]string{"NaN%"}, 7, nil, false},
		{[]string{"five"}, 7, nil, false},
		{[]string{""}, 7, nil, false},
		{slices.Repeat([]string{"1"}, 65), 700, nil, false},
	} {
		got, err := pacing.ParseWaves(c.words, c.count)
		if (err == nil) != c.ok || !slices.Equal(got, c.want) {
			t.Errorf("%q of %d: %v, %v", c.words, c.count, got, err)
		}
	}
}

func TestPlan(t *testing.T) {
	p := pacing.PlanOf(&event.Pacing{Waves: []uint32{50, 250}, Spread: time.Minute, Rate: 2}, 1000, time.Hour)
	want := pacing.Plan{
		Waves: []pacing.Step{
			{50, time.Minute, 0, 0},
			{250, 125 * time.Second, time.Minute, 66 * time.Minute},
			{700, 350 * time.Second, 185 * time.Second, 66*time.Minute + 125*time.Second + 65*time.Minute},
		},
		Soonest: 535 * time.Second,
	}
	want.Latest = want.Waves[2].Latest + 350*time.Second
	if fmt.Sprint(p) != fmt.Sprint(want) {
		t.Errorf("plan is\n%v, want\n%v", p, want)
	}
	forever := pacing.PlanOf(&event.Pacing{Waves: []uint32{1}, Spread: math.MaxInt64}, 3, time.Hour)
	if forever.Soonest != math.MaxInt64 || forever.Latest != math.MaxInt64 {
		t.Errorf("plan is %v", forever)
	}
}

func TestSizesSum(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := event.Pacing{Waves: rapid.SliceOfN(rapid.Uint32(), 0, 64).Draw(rt, "waves"), Rate: rapid.Uint32().Draw(rt, "rate")}
		count := rapid.Uint32().Draw(rt, "count")
		var sum uint64
		for _, n := range pacing.Sizes(&p, count) {
			if n == 0 || pacing.SpreadOf(&p, n) < 0 {
				rt.Fatalf("wave of %d, spread over %s", n, pacing.SpreadOf(&p, n))
			}
			sum += uint64(n)
		}
		if sum != uint64(count) {
			rt.Fatalf("sizes sum to %d, not %d", sum, count)
		}
	})
}

// Left and plan say the same of an operation that has not begun, and the time
// left shrinks as it goes.
func TestLeft(t *testing.T) {
	o := operation.Operation{Count: 1000, NotBefore: start.Add(time.Hour), DeliverBy: start.Add(100 * time.Hour), RunTimeout: time.Hour,
		Pacing: event.Pacing{Waves: []uint32{50, 250}, Spread: time.Minute}}
	o.States[task.Waiting] = 1000
	plan := pacing.PlanOf(&o.Pacing, o.Count, o.RunTimeout)
	if got := pacing.LeftOf(&o, start); got != (pacing.Left{time.Hour + plan.Soonest, time.Hour + plan.Soonest, time.Hour + plan.Latest}) {
		t.Errorf("before it begins %+v are left", got)
	}
	o.Waves = []operation.Wave{{Number: 1, At: start.Add(time.Hour), Spread: time.Minute, Count: 50}}
	o.Released = 50
	if got := pacing.LeftOf(&o, start.Add(time.Hour)); got != (pacing.Left{plan.Soonest, plan.Soonest, plan.Latest}) {
		t.Errorf("as it begins %+v are left", got)
	}
	o.Waves = append(o.Waves, operation.Wave{Number: 2, At: start.Add(time.Hour + 20*time.Minute), Spread: time.Minute, Count: 250})
	o.Released = 300
	if got := pacing.LeftOf(&o, start.Add(time.Hour+25*time.Minute)); got != (pacing.Left{time.Minute, 16 * time.Minute, 62 * time.Minute}) {
		t.Errorf("in the second wave %+v are left", got)
	}
	o.Waves = append(o.Waves, operation.Wave{Number: 3, At: start.Add(2 * time.Hour), Spread: time.Minute, Count: 700, Last: true})
	o.Released = 1000
	if got := pacing.LeftOf(&o, start.Add(2*time.Hour+15*time.Second)); got != (pacing.Left{45 * time.Second, 45 * time.Second, 45 * time.Second}) {
		t.Errorf("in the last wave %+v are left", got)
	}
	o.Stopped = true
	if got := pacing.LeftOf(&o, start); got != (pacing.Left{}) {
		t.Errorf("of a stopped operation %+v are left", got)
	}
}

func TestPick(t *testing.T) {
	left, online := roaring.New(), roaring.New()
	left.AddRange(1, 1001)
	online.AddRange(901, 2000)
	a, b := task.ID{1}, task.ID{2}
	first := pacing.Pick(a, left, online, 50)
	if first.GetCardinality() != 50 || first.Minimum() < 901 {
		t.Errorf("not of those that are online: %v", first)
	}
	if again := pacing.Pick(a, left, online, 50); !again.Equals(first) {
		t.Error("the same question got another answer")
	}
	if other := pacing.Pick(b, left, online, 50); other.Equals(first) || other.AndCardinality(first) > 40 {
		t.Error("two operations begin with the same devices")
	}
	if few := pacing.Pick(a, left, online, 10); few.AndCardinality(first) != 10 {
		t.Error("a smaller wave is not the beginning of a larger one")
	}
	mixed := pacing.Pick(a, left, online, 300)
	if mixed.GetCardinality() != 300 || mixed.AndCardinality(online) != 100 {
		t.Errorf("%d devices, %d of them online", mixed.GetCardinality(), mixed.AndCardinality(online))
	}
	all := pacing.Pick(a, left, online, 5000)
	if !all.Equals(left) {
		t.Error("not all that are left")
	}
	all.Add(5)
	all.Remove(6)
	if !left.Contains(6) {
		t.Error("the set that was given has changed")
	}
}

// Whoever is picked first is not who is first in every listener's spread.
func TestPickIsFair(t *testing.T) {
	left := roaring.New()
	left.AddRange(1, 201)
	picked := map[uint32]int{}
	for n := range 400 {
		for d := range roaring.Values(pacing.Pick(task.ID{0: byte(n), 1: byte(n >> 8)}, left, roaring.New(), 20)) {
			picked[d]++
		}
	}
	for d := range uint32(200) { // 40 of 400 each, six standard deviations
		if n := picked[d+1]; n < 4 || n > 76 {
			t.Errorf("device %d was in %d of 400 first waves", d+1, n)
		}
	}
}
