package engine

import (
	"cmp"
	"slices"
)

// An order holds the values of a dictionary of numbers sorted, once somebody asked
// for it. Values that come later are kept apart until they are many.
type order struct {
	kept   bool
	sorted []placed
	late   []placed
	gone   int
}

type placed struct {
	value int64
	code  uint32
}

func (o *order) add(code uint32, value int64) {
	if o.kept {
		o.late = append(o.late, placed{value, code})
	}
}

func (o *order) remove() { o.gone++ }

func byValue(a, b placed) int {
	return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.code, b.code))
}

// settle makes the order ready for a dictionary's values: little is late.
func (o *order) settle(d *dictionary) {
	limit := len(o.sorted)/16 + 64
	if o.kept && len(o.late) <= limit && o.gone <= 8*limit {
		return
	}
	o.sorted = o.sorted[:0]
	for c := 1; c < d.size(); c++ {
		if d.refs[c] > 0 {
			o.sorted = append(o.sorted, placed{d.numbers[c], uint32(c)})
		}
	}
	slices.SortFunc(o.sorted, byValue)
	o.kept, o.late, o.gone = true, nil, 0
}

// first returns the least value that is in use and at least from.
func (o *order) first(d *dictionary, from int64) (least int64, ok bool) {
	o.settle(d)
	i, _ := slices.BinarySearchFunc(o.sorted, from, func(p placed, v int64) int { return cmp.Compare(p.value, v) })
	for ; i < len(o.sorted); i++ {
		if p := o.sorted[i]; o.holds(d, p) {
			least, ok = p.value, true
			break
		}
	}
	for _, p := range o.late {
		if p.value >= from && o.holds(d, p) && (!ok || p.value < least) {
			least, ok = p.value, true
		}
	}
	return least, ok
}

// within yields the codes of the values from lo to hi.
func (o *order) within(d *dictionary, lo, hi int64, yield func(code uint32)) {
	o.settle(d)
	i, _ := slices.BinarySearchFunc(o.sorted, lo, func(p placed, v int64) int { return cmp.Compare(p.value, v) })
	for ; i < len(o.sorted) && o.sorted[i].value <= hi; i++ {
		if o.holds(d, o.sorted[i]) {
			yield(o.sorted[i].code)
		}
	}
	for _, p := range o.late {
		if lo <= p.value && p.value <= hi && o.holds(d, p) {
			yield(p.code)
		}
	}
}

// holds tells whether the code still stands for the value.
func (o *order) holds(d *dictionary, p placed) bool {
	return d.refs[p.code] > 0 && d.numbers[p.code] == p.value
}

func (o *order) heap() int { return 16 * (cap(o.sorted) + cap(o.late)) }
