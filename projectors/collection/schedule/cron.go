package schedule

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// searchYears is how far ahead an instant is looked for. The rarest there is, a 29
// February on a certain weekday, comes within 40 years.
const searchYears = 50

// cron is the five fields, each as a set of its values.
type cron struct {
	minute, hour, day, month, weekday set
	either                            bool // day or weekday is enough
}

// A set holds numbers from 0 to 63.
type set uint64

func (s set) has(n int) bool { return s>>n&1 == 1 }
func (s set) size() int      { return bits.OnesCount64(uint64(s)) }

// each returns the numbers, rising.
func (s set) each() (all []int) {
	for ; s != 0; s &= s - 1 {
		all = append(all, bits.TrailingZeros64(uint64(s)))
	}
	return all
}

// through is the numbers from low to high in steps.
func through(low, high, step int) (s set) {
	for n := low; n <= high; n += step {
		s |= 1 << n
	}
	return s
}

// A field is one of the five.
type field struct {
	name      string
	low, high int
	names     []string // of the values from low on
}

var fields = [5]field{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"weekday", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

func parseCron(texts []string) ([]rule, error) {
	if len(texts) != len(fields) {
		return nil, fmt.Errorf("it has %d fields, and neither 5 (minute hour day month weekday) nor 1 of 16 hexadecimal digits", len(texts))
	}
	var sets [len(fields)]set
	for i, f := range fields {
		var err error
		if sets[i], err = f.parse(texts[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	c := &cron{sets[0], sets[1], sets[2], sets[3], sets[4], !strings.HasPrefix(texts[2], "*") && !strings.HasPrefix(texts[4], "*")}
	if c.weekday.has(7) {
		c.weekday = c.weekday&^(1<<7) | 1
	}
	if !c.ever() {
		return nil, errNever
	}
	return []rule{c}, nil
}

// parse reads the terms of a field.
func (f *field) parse(text string) (all set, err error) {
	for term := range strings.SplitSeq(text, ",") {
		s, err := f.term(term)
		if err != nil {
			return 0, err
		}
		all |= s
	}
	return all, nil
}

func (f *field) term(term string) (set, error) {
	span, stepText, stepped := strings.Cut(term, "/")
	step := 1
	if stepped {
		n, err := number(stepText)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("%q is no step", stepText)
		}
		step = n
	}
	if span == "*" {
		high := f.high
		if f.name == "weekday" {
			high = 6 // 7 is 0 once more
		}
		return through(f.low, high, step), nil
	}
	from, to, ranged := strings.Cut(span, "-")
	low, err := f.value(from)
	if err != nil {
		return 0, err
	}
	if !ranged {
		if stepped {
			return 0, fmt.Errorf("%q: a step needs a range, such as %d-%d/%d", term, low, f.high, step)
		}
		return 1 << low, nil
	}
	high, err := f.value(to)
	if err != nil {
		return 0, err
	}
	if strings.EqualFold(to, "sun") {
		high = 7
	}
	if high < low {
		return 0, fmt.Errorf("%q goes backwards", span)
	}
	return through(low, high, step), nil
}

func (f *field) value(text string) (int, error) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.low + i, nil
		}
	}
	n, err := number(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no %s", text, f.name)
	}
	if n < f.low || n > f.high {
		return 0, fmt.Errorf("%d is not between %d and %d", n, f.low, f.high)
	}
	return n, nil
}

// number reads one or two decimal digits.
func number(text string) (int, error) {
	if len(text) == 0 || len(text) > 2 || text[0] < '0' || text[0] > '9' {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text)
}

// ever tells whether there is an instant. The other fields always have one; and in
// the long run every date falls on every weekday.
func (c *cron) ever() bool {
	if c.either {
		return true
	}
	longest := [...]int{1: 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	for _, m := range c.month.each() {
		if c.day&through(1, longest[m], 1) != 0 {
			return true
		}
	}
	return false
}

func (c *cron) next(after time.Time) (time.Time, bool) {
	t := after.UTC().Truncate(time.Minute).Add(time.Minute)
	for end := t.AddDate(searchYears, 0, 0); t.Before(end); {
		switch {
		case !c.month.has(int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !c.on(t):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
		case !c.hour.has(t.Hour()):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !c.minute.has(t.Minute()):
			t = t.Add(time.Minute)
		default:
			return t, true
		}
	}
	return time.Time{}, false
}

// on tells whether a day is right; its month is.
func (c *cron) on(t time.Time) bool {
	day, weekday := c.day.has(t.Day()), c.weekday.has(int(t.Weekday()))
	if c.either {
		return day || weekday
	}
	return day && weekday
}
