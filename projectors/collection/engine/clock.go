package engine

import (
	"math"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A clock is the part of a condition that time goes by for. Of most the truth is one
// of order: side(v, now) is below, at or above 0, rises with the value and falls as
// time goes by. Then every value turns at one instant or two, which a search finds,
// and at a given time the values of one truth lie between thresholds.
type clock struct {
	op     wql.Op
	side   func(v int64, now int64) int
	column bool // it asks for a value besides the time
	sorted bool // side rises with the value; else each value is looked at alone
	daily  bool // side falls with time within a day (UTC) only: months are of different length
	// Of what is not of order: truths turn only at boundaries of this part. Else 0.
	part wql.Part

	flip bool // the condition's test is the negation

	// Of sorted, set by prepare: side is not below 0 from below on (none: of no
	// value), and above 0 from above on (never: of no value).
	below, above int64
	none, never  bool
}

// newClock looks at a condition that asks for the time. A column, if there is one, is
// in one place.
func newClock(e wql.Expr) *clock {
	c := &clock{}
	columnsOf(e, func(wql.Column) { c.column = true })
	cmp, ok := e.(*wql.Compare)
	if !ok || cmp.Left.Type() == schema.Text {
		c.part = smallest(e)
		return c
	}
	l, r := slope(cmp.Left), slope(cmp.Right)
	d := trend{value: l.value - r.value, now: l.now - r.now, daily: l.daily || r.daily}
	known := l.known && r.known && (l.value == 0 || r.value == 0) && (l.now == 0 || r.now == 0)
	left, _ := compileOperand(cmp.Left)
	right, _ := compileOperand(cmp.Right)
	sign := 1
	if d.now > 0 {
		sign = -1
	}
	if !known || l.odd || r.odd {
		// Without knowing where values go, time must be known.
		if l.part != 0 || r.part != 0 || l.now*r.now != 0 {
			c.part = smallest(e)
			return c
		}
	} else {
		c.sorted = d.value*sign >= 0 && !l.odd && !r.odd
	}
	c.daily = d.daily
	c.op = cmp.Op
	if sign < 0 {
		c.op = mirrored(c.op)
	}
	c.side = func(v, now int64) int {
		a, ok1 := left(scalar{number: v}, now)
		b, ok2 := right(scalar{number: v}, now)
		if !ok1 || !ok2 {
			return 0
		}
		return sign * order3(a, b, false)
	}
	if constantNull(cmp.Left) || constantNull(cmp.Right) { // unknown for ever
		c.sorted, c.side = false, func(int64, int64) int { return 0 }
	}
	return c
}

func constantNull(o wql.Operand) bool {
	switch o := o.(type) {
	case wql.Constant:
		return o.Null
	case *wql.Call:
		for _, a := range o.Args {
			if constantNull(a) {
				return true
			}
		}
	}
	return false
}

// A trend says how an operand goes with the column's value and with time: 1 up, -1
// down, 0 not at all.
type trend struct {
	value, now int
	known      bool
	daily      bool     // with time, that holds within a day only
	odd        bool     // with the value it goes up and down
	part       wql.Part // with time it goes up and down, at boundaries of this part; else 0
}

func slope(o wql.Operand) trend {
	switch o := o.(type) {
	case wql.Column:
		return trend{value: 1, known: true}
	case wql.Constant:
		return trend{known: true}
	case wql.Now:
		return trend{now: 1, known: true}
	case *wql.Call:
		return slopeOfCall(o)
	}
	return trend{part: wql.Millisecond}
}

func slopeOfCall(o *wql.Call) trend {
	if !asksTime(o) {
		odd := trend{known: true, odd: hasColumn(o)}
		switch {
		case o.Function == wql.DateAdd && len(o.Args) == 2 && even(o.Part) && !hasColumn(o.Args[0]):
			return slope(o.Args[1])
		case o.Function == wql.DateDiff && len(o.Args) == 2:
			a, b := slope(o.Args[0]), slope(o.Args[1])
			if a.odd || b.odd || a.value*b.value != 0 {
				return odd
			}
			return trend{value: b.value - a.value, known: true}
		}
		return odd
	}
	switch {
	case o.Function == wql.DateAdd && len(o.Args) == 2 && !hasColumn(o.Args[0]) && !asksTime(o.Args[0]):
		t := slope(o.Args[1])
		if !even(o.Part) {
			t.daily = true
			t.odd = t.odd || t.value != 0
		}
		return t
	case o.Function == wql.DateDiff && len(o.Args) == 2:
		a, b := slope(o.Args[0]), slope(o.Args[1])
		if !a.known || !b.known || a.now*b.now != 0 || a.value*b.value != 0 {
			break
		}
		return trend{value: b.value - a.value, now: b.now - a.now, known: true, daily: a.daily || b.daily, odd: a.odd || b.odd}
	}
	return trend{part: smallest(o)}
}

// even tells whether adding a part moves all instants by the same.
func even(p wql.Part) bool { return p != wql.Year && p != wql.Quarter && p != wql.Month }

func hasColumn(o wql.Operand) (has bool) {
	columnsOf(o, func(wql.Column) { has = true })
	return has
}

// parts orders the parts by how long they are.
var parts = []wql.Part{wql.Millisecond, wql.Second, wql.Minute, wql.Hour, wql.Weekday, wql.DayOfYear, wql.Day, wql.Week, wql.Month, wql.Quarter, wql.Year}

// smallest returns the smallest part that functions of the time use. An instant that
// is compared as it is counts as a second.
func smallest(x any) wql.Part {
	least := len(parts) - 1
	var walk func(x any, inside bool)
	use := func(p wql.Part) {
		for i, q := range parts {
			if q == p && i < least {
				least = i
			}
		}
	}
	walk = func(x any, inside bool) {
		switch x := x.(type) {
		case wql.Now:
			if !inside {
				use(wql.Second)
			}
		case *wql.Call:
			if x.Part != 0 {
				use(x.Part)
			}
			for _, a := range x.Args {
				walk(a, inside || x.Function == wql.DatePart || x.Function == wql.DateDiff)
			}
		case *wql.Compare:
			walk(x.Left, false)
			walk(x.Right, false)
		case *wql.In:
			walk(x.Operand, false)
		case *wql.InQuery:
			walk(x.Operand, false)
		case *wql.IsNull:
			walk(x.Operand, true)
		case *wql.Like:
			walk(x.Operand, true)
		}
	}
	walk(x, false)
	return parts[least]
}

// firstValue is the least value for which is holds, which goes on holding above it.
func firstValue(is func(v int64) bool) (int64, bool) {
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	if !is(hi) {
		return 0, false
	}
	for lo < hi {
		mid := int64((uint64(hi)-uint64(lo))/2 + uint64(lo))
		if is(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, true
}

// near is firstValue with a guess: what is near is found soon.
func near(guess int64, is func(v int64) bool) (int64, bool) {
	lo, hi := guess, guess // is holds at hi, and not at lo
	step := int64(1)
	if is(guess) {
		for is(lo) {
			if hi = lo; step > 1<<60 || lo < math.MinInt64+step {
				return firstValue(is)
			}
			lo -= step
			step *= 4
		}
	} else {
		for !is(hi) {
			if lo = hi; step > 1<<60 || hi > math.MaxInt64-step {
				return firstValue(is)
			}
			hi += step
			step *= 4
		}
	}
	for lo+1 < hi {
		if mid := lo + (hi-lo)/2; is(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, true
}

// thresholds returns from which value on side is not below 0, and from which on it is
// above; MaxInt64 and false if from none.
func (c *clock) thresholds(now int64) (below int64, none bool, above int64, never bool) {
	below, ok := near(c.below, func(v int64) bool { return c.side(v, now) >= 0 })
	if !ok {
		return math.MaxInt64, true, math.MaxInt64, true
	}
	above, ok = near(c.above, func(v int64) bool { return c.side(v, now) > 0 })
	if !ok {
		return below, false, math.MaxInt64, true
	}
	return below, false, above, false
}

// eventful says which of the two crossings turn the truth: from not below 0 to below,
// and from above to not above.
func (c *clock) eventful() (toBelow, toNotAbove bool) {
	switch c.op {
	case wql.Less, wql.GreaterEqual:
		return true, false
	case wql.Greater, wql.LessEqual:
		return false, true
	}
	return true, true
}

// lastInstant is the end of time.
const lastInstant = schema.MaxDate

// when returns the first instant after after, and not after until, at which is holds;
// it goes on holding.
func when(after, until int64, is func(now int64) bool) (int64, bool) {
	if until <= after || !is(until) {
		return 0, false
	}
	lo, hi := after+1, until
	for lo < hi {
		mid := lo + (hi-lo)/2
		if is(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, true
}

// next returns the next instant at which the truth turns for one of the values of d,
// or can turn. d is nil if there is no column.
func (c *clock) next(d *dictionary, after int64) (int64, bool) {
	if c.part != 0 {
		t := c.part.Turn(after, 1)
		return t, t > after
	}
	until, midnight := int64(lastInstant), int64(0)
	if c.daily {
		midnight = wql.Day.Turn(after, 1)
		until = midnight - 1
	}
	least, found := int64(0), false
	take := func(t int64, ok bool) {
		if ok && (!found || t < least) {
			least, found = t, true
			until = t - 1
		}
	}
	toBelow, toNotAbove := c.eventful()
	turn := func(v int64) {
		s := c.side(v, after)
		if toNotAbove && s > 0 {
			take(when(after, until, func(now int64) bool { return c.side(v, now) <= 0 }))
		}
		if toBelow && s >= 0 {
			take(when(after, until, func(now int64) bool { return c.side(v, now) < 0 }))
		}
	}
	switch {
	case !c.column:
		turn(0)
	case c.sorted:
		below, none, above, never := c.thresholds(after)
		if v, ok := d.order.first(d, below); ok && !none && toBelow {
			turn(v)
		}
		if v, ok := d.order.first(d, above); ok && !never && toNotAbove {
			turn(v)
		}
	default:
		for code := 1; code < d.size(); code++ {
			if d.refs[code] > 0 {
				turn(d.numbers[code])
			}
		}
	}
	if c.daily {
		if !found && midnight > after {
			return midnight, true
		}
	}
	return least, found
}

// turning yields the codes of the values whose truth turns after from and until to,
// or can turn; all tells that it can for any, or for all devices if there is no
// column.
func (c *clock) turning(d *dictionary, from, to int64, yield func(code uint32)) (all bool) {
	if to <= from {
		return false
	}
	if c.part != 0 {
		return c.part.Diff(from, to) != 0
	}
	if c.daily && wql.Day.Diff(from, to) != 0 {
		return true
	}
	toBelow, toNotAbove := c.eventful()
	turns := func(v int64) bool {
		a, b := c.side(v, from), c.side(v, to)
		return toBelow && a >= 0 && b < 0 || toNotAbove && a > 0 && b <= 0
	}
	switch {
	case !c.column:
		return turns(0)
	case !c.sorted:
		for code := 1; code < d.size(); code++ {
			if d.refs[code] > 0 && turns(d.numbers[code]) {
				yield(uint32(code))
			}
		}
		return false
	}
	below, none, above, never := c.thresholds(from)
	end := func(guess int64, is func(v int64) bool) int64 { // the last value for which is does not hold yet
		v, ok := near(guess, is)
		if !ok {
			return math.MaxInt64
		}
		if v == math.MinInt64 {
			return v
		}
		return v - 1
	}
	if toBelow && !none {
		last := end(below, func(v int64) bool { return c.side(v, to) >= 0 })
		d.order.within(d, below, last, yield)
	}
	if toNotAbove && !never {
		last := end(above, func(v int64) bool { return c.side(v, to) > 0 })
		d.order.within(d, above, last, yield)
	}
	return false
}

// prepare sets the thresholds for a time.
func (c *clock) prepare(now int64) {
	if c.column && c.sorted {
		c.below, c.none, c.above, c.never = c.thresholds(now)
	}
}

// at tells the truth for a value at the time of prepare. The clock is sorted.
func (c *clock) at(v int64) bool {
	s := 0
	switch {
	case c.none || v < c.below:
		s = -1
	case !c.never && v >= c.above:
		s = 1
	}
	return holds(c.op, s) != c.flip
}
