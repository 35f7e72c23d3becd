package pacing

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

const (
	// Patience is how long beyond its run timeout a wave is waited for.
	Patience = 5 * time.Minute
	// MinFinal is from how many ends on the share of failures counts.
	MinFinal = 10
)

// A Step is one wave of a plan. Earliest and Latest are when it is released, from
// not-before on: if every wave before it ended at once, and if none ended.
type Step struct {
	Devices          uint32
	Spread           time.Duration
	Earliest, Latest time.Duration
}

// A Plan is how an operation goes out. Soonest and Latest are when the last wave
// is sent whole, from not-before on.
type Plan struct {
	Waves           []Step
	Soonest, Latest time.Duration
}

// PlanOf returns the plan of an operation with count targets.
func PlanOf(p *event.Pacing, count uint32, runTimeout time.Duration) Plan {
	var plan Plan
	sizes := Sizes(p, count)
	for i, n := range sizes {
		s := Step{n, SpreadOf(p, n), plan.Soonest, plan.Latest}
		plan.Waves = append(plan.Waves, s)
		plan.Soonest = add(plan.Soonest, s.Spread)
		plan.Latest = add(plan.Latest, s.Spread)
		if i < len(sizes)-1 {
			plan.Latest = add(plan.Latest, runTimeout, Patience)
		}
	}
	return plan
}

// Sizes returns how many targets each wave has; they sum to count, and none is 0.
func Sizes(p *event.Pacing, count uint32) (sizes []uint32) {
	for _, n := range p.Waves {
		if n = min(n, count); n > 0 {
			sizes = append(sizes, n)
			count -= n
		}
	}
	if count > 0 {
		sizes = append(sizes, count)
	}
	return sizes
}

// SpreadOf returns over which time a wave of so many devices is sent.
func SpreadOf(p *event.Pacing, devices uint32) time.Duration {
	if p.Rate == 0 {
		return p.Spread
	}
	perRate := time.Duration((uint64(devices)*uint64(time.Second) + uint64(p.Rate) - 1) / uint64(p.Rate))
	return max(p.Spread, perRate)
}

// add is a sum that stays at the longest duration there is.
func add(d time.Duration, more ...time.Duration) time.Duration {
	for _, m := range more {
		if d > math.MaxInt64-m {
			return math.MaxInt64
		}
		d += m
	}
	return d
}

var errWave = errors.New("it is neither a number of devices, such as 500, nor a share of them, such as 5%")

// ParseWaves reads sizes of waves: each a number of devices, or a share of all of
// them in percent, rounded up. Waves for which nobody is left are dropped.
func ParseWaves(words []string, count uint32) (sizes []uint32, err error) {
	if len(words) > event.MaxWaves {
		return nil, fmt.Errorf("%d waves, at most %d are taken", len(words), event.MaxWaves)
	}
	left := count
	for _, w := range words {
		n, err := parseWave(w, count)
		if err != nil {
			return nil, fmt.Errorf("wave %q: %w", w, err)
		}
		if n = min(n, left); n > 0 {
			sizes = append(sizes, n)
			left -= n
		}
	}
	return sizes, nil
}

func parseWave(word string, count uint32) (uint32, error) {
	if share, ok := strings.CutSuffix(word, "%"); ok {
		percent, err := strconv.ParseFloat(share, 64)
		if err != nil || !(percent > 0 && percent <= 100) {
			return 0, errWave
		}
		return uint32(math.Ceil(float64(count) * percent / 100)), nil
	}
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil || n == 0 {
		return 0, errWave
	}
	return uint32(n), nil
}

// Left is how long an operation takes until its last wave is sent whole.
type Left struct {
	Soonest time.Duration // if every wave ends at once
	Likely  time.Duration // if the waves take as long as those before, or at the soonest if there is none
	Latest  time.Duration // if no wave ends before its time
}

// LeftOf returns how long a paced operation takes from now on; nothing once the
// last wave is sent, or if the operation has ended.
func LeftOf(o *operation.Operation, now time.Time) Left {
	if !o.Paced() || !o.Open() {
		return Left{}
	}
	var l Left
	soFar, taken := len(o.Waves), meanWave(o)
	if soFar == 0 {
		wait := max(o.NotBefore.Sub(now), 0)
		l = Left{wait, wait, wait}
	} else {
		w := &o.Waves[soFar-1]
		sent := max(w.At.Add(w.Spread).Sub(now), 0)
		l = Left{sent, sent, sent}
		if !w.Last {
			l.Likely = max(w.At.Add(max(taken, w.Spread)).Sub(now), 0)
			l.Latest = max(add(w.At.Add(w.Spread).Sub(now), o.RunTimeout, Patience), 0)
		}
	}
	if soFar > 0 && o.Waves[soFar-1].Last {
		return l
	}
	sizes := Sizes(&o.Pacing, o.Count)
	for i, n := range sizes[min(soFar, len(sizes)):] {
		spread := SpreadOf(&o.Pacing, n)
		l.Soonest, l.Latest = add(l.Soonest, spread), add(l.Latest, spread)
		if last := soFar+i == len(sizes)-1; last {
			l.Likely = add(l.Likely, spread)
		} else {
			l.Likely, l.Latest = add(l.Likely, max(taken, spread)), add(l.Latest, o.RunTimeout, Patience)
		}
	}
	return l
}

// meanWave is how long the waves took that another one followed, 0 if none did.
func meanWave(o *operation.Operation) time.Duration {
	if n := len(o.Waves); n > 1 {
		return o.Waves[n-1].At.Sub(o.Waves[0].At) / time.Duration(n-1)
	}
	return 0
}
