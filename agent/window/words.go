package window

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// everyForms are what [ParseEvery] takes.
const everyForms = "once, day, 2 days, week on sat,sun, 2 weeks, month on second tue, month on second tue +2, month on day 15, month on last day, 3 months on …"

// ParseEvery reads a recurrence as people write it:
//
//	once
//	[N] days
//	[N] weeks [on sat,sun]             without days: on the weekday of start
//	[N] months on second tue [+2]      first to fourth or last, and days later
//	[N] months on day 31
//	[N] months on last day
//
// N is 1 if it is left out, also in the singular and behind "every". What it
// returns is valid.
func ParseEvery(text string, start time.Time) (Every, error) {
	if len(text) > MaxName {
		return Every{}, fmt.Errorf("every: %d bytes, at most %d are taken", len(text), MaxName)
	}
	words := strings.Fields(strings.ToLower(text))
	if len(words) > 1 && words[0] == "every" {
		words = words[1:]
	}
	e, ok := readEvery(words, start)
	if !ok {
		return Every{}, fmt.Errorf("every %q: it is one of %s", shorten(text), everyForms)
	}
	return e, e.check()
}

func readEvery(words []string, start time.Time) (e Every, ok bool) {
	if len(words) == 1 && words[0] == "once" {
		return e, true
	}
	e.N = 1
	if len(words) > 1 && words[0][0] >= '0' && words[0][0] <= '9' {
		n, err := strconv.Atoi(words[0])
		if err != nil {
			return e, false
		}
		e.N, words = n, words[1:]
	}
	if len(words) == 0 {
		return e, false
	}
	unit, rest := strings.TrimSuffix(words[0], "s"), words[1:]
	if len(rest) > 0 {
		if rest[0] != "on" || len(rest) == 1 {
			return e, false
		}
		rest = rest[1:]
	}
	switch unit {
	case "day":
		e.Unit = Day
		return e, len(rest) == 0
	case "week":
		e.Unit = Week
		return e, e.readWeek(rest, start)
	case "month":
		return e, e.readMonth(rest)
	}
	return e, false
}

func (e *Every) readWeek(words []string, start time.Time) bool {
	if len(words) == 0 {
		e.On[start.Weekday()] = true
	}
	for _, name := range strings.FieldsFunc(strings.Join(words, ","), func(r rune) bool { return r == ',' }) {
		day, err := weekday(name)
		if err != nil {
			return false
		}
		e.On[day] = true
	}
	return true
}

func (e *Every) readMonth(words []string) bool {
	switch {
	case len(words) == 2 && words[0] == "last" && words[1] == "day":
		e.Unit = Last
		return true
	case len(words) == 2 && words[0] == "day":
		n, err := strconv.Atoi(words[1])
		e.Unit, e.MonthDay = Date, n
		return err == nil
	case len(words) < 2 || len(words) > 4:
		return false
	}
	e.Unit = Nth
	if e.Nth = slices.Index(ordinals, words[0]); e.Nth < 1 {
		return false
	}
	var err error
	if e.Weekday, err = weekday(words[1]); err != nil || len(words) == 2 {
		return err == nil
	}
	if len(words) == 4 && words[3] != "day" && words[3] != "days" || words[2][0] != '+' {
		return false
	}
	e.Offset, err = strconv.Atoi(words[2][1:])
	return err == nil
}

// String writes a recurrence such that [ParseEvery] reads the same one.
func (e Every) String() string {
	times := func(unit string) string {
		if e.N == 1 {
			return unit
		}
		return fmt.Sprintf("%d %ss", e.N, unit)
	}
	switch e.Unit {
	case Once:
		return "once"
	case Day:
		return times("day")
	case Week:
		return times("week") + " on " + strings.Join(e.document().On, ",")
	case Nth:
		text := fmt.Sprintf("%s on %s %s", times("month"), ordinals[e.Nth], weekdays[e.Weekday])
		if e.Offset > 0 {
			text += fmt.Sprintf(" +%d", e.Offset)
		}
		return text
	case Date:
		return fmt.Sprintf("%s on day %d", times("month"), e.MonthDay)
	}
	return times("month") + " on last day"
}
