package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// tokenDigits is the length of a token.
const tokenDigits = 16

func parseTokens(text string) ([]rule, error) {
	if len(text)%tokenDigits != 0 || len(text) > MaxTokens*tokenDigits {
		return nil, fmt.Errorf("it is neither five fields (minute hour day month weekday) nor up to %d times %d hexadecimal digits", MaxTokens, tokenDigits)
	}
	var rules []rule
	for i := 0; i < len(text); i += tokenDigits {
		r, err := parseToken(text[i : i+tokenDigits])
		if err != nil {
			return nil, fmt.Errorf("token %s: %w", text[i:i+tokenDigits], err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// token is the bits; cut takes some of them.
type token uint64

func (t token) cut(high, low int) int { return int(t >> low & (1<<(high-low+1) - 1)) }

func parseToken(text string) (rule, error) {
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return nil, errors.New("not all of it are hexadecimal digits")
	}
	t := token(n)
	start, err := t.start()
	if err != nil {
		return nil, err
	}
	switch how := t.cut(21, 19); how {
	case 1:
		return &interval{first: start}, nil
	case 2:
		return t.interval(start)
	case 3:
		return t.weekly(start)
	case 4, 5:
		m, err := t.monthly(start, how == 5)
		if err != nil {
			return nil, err
		}
		if _, ok := m.next(start.Add(-time.Minute)); !ok {
			return nil, errNever
		}
		return m, nil
	default:
		return nil, fmt.Errorf("recurrence %d is not known", how)
	}
}

func (t token) start() (time.Time, error) {
	year, month, day := 1970+t.cut(43, 38), time.Month(t.cut(47, 44)), t.cut(52, 48)
	hour, minute := t.cut(57, 53), t.cut(63, 58)
	at := time.Date(year, month, day, hour, minute, 0, 0, time.UTC)
	if at.Month() != month || at.Day() != day || at.Hour() != hour || at.Minute() != minute {
		return at, fmt.Errorf("its start, %d-%02d-%02d %02d:%02d, is no time", year, month, day, hour, minute)
	}
	return at, nil
}

// unused refuses bits that must be 0.
func (t token) unused(high, low int) error {
	if t.cut(high, low) != 0 {
		return fmt.Errorf("bits %d to %d are not 0: it says more than is known here", high, low)
	}
	return nil
}

func between(what string, n, low, high int) error {
	if n < low || n > high {
		return fmt.Errorf("%s %d is not between %d and %d", what, n, low, high)
	}
	return nil
}

const day = 24 * time.Hour

// interval comes every so often from the first instant on; only once if every is 0.
type interval struct {
	first   time.Time
	every   time.Duration
	weekday bool // it was written as weeks
}

func (t token) interval(start time.Time) (rule, error) {
	if err := t.unused(2, 1); err != nil {
		return nil, err
	}
	r := &interval{first: start}
	for _, unit := range []struct {
		n      int
		is     time.Duration
		most   int
		plural string
	}{{t.cut(18, 13), time.Minute, 59, "minutes"}, {t.cut(12, 8), time.Hour, 23, "hours"}, {t.cut(7, 3), day, 31, "days"}} {
		if unit.n == 0 {
			continue
		}
		if r.every != 0 {
			return nil, errors.New("its interval has more than one unit")
		}
		if err := between(unit.plural, unit.n, 1, unit.most); err != nil {
			return nil, err
		}
		r.every = time.Duration(unit.n) * unit.is
	}
	if r.every == 0 {
		return nil, errors.New("its interval is 0")
	}
	return r, nil
}

func (t token) weekly(start time.Time) (rule, error) {
	weekday, weeks := t.cut(18, 16), t.cut(15, 13)
	err := errors.Join(between("weekday", weekday, 1, 7), between("number of weeks", weeks, 1, 4), t.unused(12, 1))
	if err != nil {
		return nil, err
	}
	ahead := (weekday - 1 - int(start.Weekday()) + 7) % 7
	return &interval{start.Add(time.Duration(ahead) * day), time.Duration(weeks) * 7 * day, true}, nil
}

func (r *interval) next(after time.Time) (time.Time, bool) {
	if after.Before(r.first) {
		return r.first, true
	}
	if r.every == 0 {
		return time.Time{}, false
	}
	// A difference of times is at most 292 years.
	for first := r.first; ; {
		gone := after.Sub(first)
		next := first.Add(gone - gone%r.every)
		if next.After(after) {
			return next, true
		}
		if next = next.Add(r.every); next.After(after) {
			return next, true
		}
		first = next
	}
}

// monthly comes in every nth month from that of the start.
type monthly struct {
	start  time.Time
	months int
	date   bool
	day    int // of the month, 0 for the last; of a date
	// Of a weekday: which one it is, 1 first to 4 fourth, 0 last.
	weekday time.Weekday
	order   int
}

func (t token) monthly(start time.Time, date bool) (*monthly, error) {
	m := &monthly{start: start, date: date}
	if date {
		m.day, m.months = t.cut(18, 14), t.cut(13, 10)
		return m, errors.Join(between("number of months", m.months, 1, 12), t.unused(9, 1))
	}
	weekday := t.cut(18, 16)
	m.weekday, m.months, m.order = time.Weekday(weekday-1), t.cut(15, 12), t.cut(11, 9)
	return m, errors.Join(between("weekday", weekday, 1, 7), between("number of months", m.months, 1, 12),
		between("week", m.order, 0, 4), t.unused(8, 1))
}

// searchMonths is how many of its months are looked at: for a 29 February in every
// twelfth one it takes 8.
const searchMonths = 64

func (m *monthly) next(after time.Time) (time.Time, bool) {
	after = after.UTC()
	gone := 12*(after.Year()-m.start.Year()) + int(after.Month()-m.start.Month())
	first := max(0, gone/m.months)
	for i := first; i < first+searchMonths; i++ {
		at, ok := m.in(i * m.months)
		if ok && at.After(after) && !at.Before(m.start) {
			return at, true
		}
	}
	return time.Time{}, false
}

// in returns the instant in the month so many months behind that of the start; ok is
// false if there is none.
func (m *monthly) in(months int) (time.Time, bool) {
	first := time.Date(m.start.Year(), m.start.Month()+time.Month(months), 1, m.start.Hour(), m.start.Minute(), 0, 0, time.UTC)
	days := first.AddDate(0, 1, -1).Day()
	n := m.day
	switch {
	case !m.date:
		n = 1 + (int(m.weekday-first.Weekday())+7)%7
		if m.order == 0 {
			n += (days - n) / 7 * 7
		} else {
			n += 7 * (m.order - 1)
		}
	case n == 0:
		n = days
	}
	return first.AddDate(0, 0, n-1), n <= days
}
