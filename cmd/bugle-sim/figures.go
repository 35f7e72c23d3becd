package main

import (
	"math"
	"slices"
	"time"
)

// quantiles are how long something took, over the agents that did it. Rank
// nearest: p99 of 100 is the 99th. All zero if nobody did.
type quantiles struct {
	P50 float64 `json:"p50Ms"`
	P99 float64 `json:"p99Ms"`
	Max float64 `json:"maxMs"`
}

func quantilesOf(took []time.Duration) quantiles {
	if len(took) == 0 {
		return quantiles{}
	}
	s := slices.Sorted(slices.Values(took))
	rank := func(q float64) float64 { return ms(s[max(0, int(math.Ceil(q*float64(len(s))))-1)]) }
	return quantiles{rank(0.5), rank(0.99), rank(1)}
}

// ms is d in milliseconds with three decimals.
func ms(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }

// since returns how long after from each time is; zero times are left out.
func since(from time.Time, at []time.Time) []time.Duration {
	took := make([]time.Duration, 0, len(at))
	for _, t := range at {
		if !t.IsZero() {
			took = append(took, t.Sub(from))
		}
	}
	return took
}

// A span is how one figure differs between pushes.
type span struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"` // of an even number, the lower one
	Max    float64 `json:"max"`
}

func spanOf(values []float64) span {
	if len(values) == 0 {
		return span{}
	}
	s := slices.Sorted(slices.Values(values))
	return span{s[0], s[(len(s)-1)/2], s[len(s)-1]}
}

// A summary is the span of each figure over pushes.
type summary struct {
	P50 span `json:"p50Ms"`
	P99 span `json:"p99Ms"`
	Max span `json:"maxMs"`
}

func summaryOf(all []quantiles) summary {
	pick := func(of func(quantiles) float64) span {
		values := make([]float64, len(all))
		for i, q := range all {
			values[i] = of(q)
		}
		return spanOf(values)
	}
	return summary{
		pick(func(q quantiles) float64 { return q.P50 }),
		pick(func(q quantiles) float64 { return q.P99 }),
		pick(func(q quantiles) float64 { return q.Max }),
	}
}
