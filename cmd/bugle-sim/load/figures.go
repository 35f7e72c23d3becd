package load

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"time"
)

// Better says which of two values of a figure is the better one.
type Better int8

// The values of [Better].
const (
	Neither Better = iota
	Less
	More
	// Fault counts what should not be: less is better, and of several rounds the most
	// is shown, not the median.
	Fault
)

// A Figure is one measured value. The unit is the end of its name.
type Figure struct {
	Name   string
	Value  float64
	Better Better
}

// Figures are what one phase has measured, in the order in which they are shown. In
// JSON they are one object.
type Figures []Figure

// A Line is one phase of one target.
type Line struct {
	Target  string  `json:"target"`
	Agents  int     `json:"agents"`
	Round   int     `json:"round"`
	Phase   string  `json:"phase"`
	Figures Figures `json:"figures"`
}

// Of returns the value of a figure.
func (f Figures) Of(name string) (float64, bool) {
	for _, g := range f {
		if g.Name == name {
			return g.Value, true
		}
	}
	return 0, false
}

// MarshalJSON writes the figures in their order.
func (f Figures) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for i, g := range f {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(g.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(rounded(g.Value))
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// rounded is v with three decimals: more is noise.
func rounded(v float64) float64 { return math.Round(v*1000) / 1000 }

func (f *Figures) less(name string, v float64)  { *f = append(*f, Figure{name, v, Less}) }
func (f *Figures) more(name string, v float64)  { *f = append(*f, Figure{name, v, More}) }
func (f *Figures) fault(name string, v float64) { *f = append(*f, Figure{name, v, Fault}) }
func (f *Figures) says(name string, v float64)  { *f = append(*f, Figure{name, v, Neither}) }

// quantiles adds the quantiles of how long something took: NAMEP50Ms and NAMEP99Ms.
// Rank nearest: p99 of 100 is the 99th.
func (f *Figures) quantiles(name string, took []time.Duration) {
	slices.Sort(took)
	f.less(name+"P50Ms", ms(rank(took, 0.5)))
	f.less(name+"P99Ms", ms(rank(took, 0.99)))
}

// rank returns a quantile of what is sorted, 0 of nothing.
func rank(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
func us(d time.Duration) float64 { return d.Seconds() * 1e6 }

// each is a total by the number of those that it is of, 0 for none.
func each(total float64, n int) float64 {
	if n == 0 {
		return 0
	}
	return total / float64(n)
}

const mib = 1 << 20

// grown is by how much memory is more than it was, in MiB; less than nothing if it
// is less.
func grown(now, before uint64) float64 { return (float64(now) - float64(before)) / mib }

// medians returns what each figure is over several measurements of the same figures.
func medians(all []Figures) Figures {
	if len(all) == 0 {
		return nil
	}
	m := slices.Clone(all[0])
	for i := range m {
		values := make([]float64, 0, len(all))
		for _, f := range all {
			if v, ok := f.Of(m[i].Name); ok {
				values = append(values, v)
			}
		}
		m[i].Value = m[i].Better.over(values)
	}
	return m
}

// over is what a figure is over several measurements.
func (b Better) over(values []float64) float64 {
	if b == Fault && len(values) > 0 {
		return slices.Max(values)
	}
	return median(values)
}

// median of an even number is the mean of the two in the middle.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(n-1)/2] + s[n/2]) / 2
}
