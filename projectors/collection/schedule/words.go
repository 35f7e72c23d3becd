package schedule

import (
	"fmt"
	"strings"
	"time"
)

// maxTimes is how many times of day are named one by one.
const maxTimes = 6

func (c *cron) words() string {
	w := c.times() + " " + c.days()
	if c.month.size() < 12 {
		w += " in " + list(c.month, func(n int) string { return time.Month(n).String() })
	}
	return w
}

func (c *cron) times() string {
	hours, minutes := c.hour.size(), c.minute.size()
	plain := func(n int) string { return fmt.Sprint(n) }
	switch {
	case hours == 24 && minutes == 60:
		return "every minute"
	case hours == 24:
		return "at minute " + list(c.minute, plain) + " of every hour"
	case hours*minutes <= maxTimes:
		var all []string
		for _, h := range c.hour.each() {
			for _, m := range c.minute.each() {
				all = append(all, fmt.Sprintf("%02d:%02d", h, m))
			}
		}
		return "at " + strings.Join(all, ", ")
	case minutes == 60:
		return "every minute of hour " + list(c.hour, plain)
	}
	return "at minute " + list(c.minute, plain) + " of hour " + list(c.hour, plain)
}

func (c *cron) days() string {
	day := "on day " + list(c.day, func(n int) string { return fmt.Sprint(n) }) + " of the month"
	weekday := list(c.weekday, func(n int) string { return time.Weekday(n).String() })
	every := c.day.size() == 31
	switch {
	case every && c.weekday.size() == 7:
		return "every day"
	case c.either:
		return day + " and on " + weekday
	case every:
		return "on " + weekday
	case c.weekday.size() == 7:
		return day
	}
	return day + " if it is " + weekday
}

// list names the numbers of a set, rows of them by their ends: "1 to 5, 9", and
// regular distances: "0 to 45 by 15".
func list(s set, name func(int) string) string {
	all := s.each()
	if len(all) > 3 {
		step := all[1] - all[0]
		if last := all[len(all)-1]; step > 1 && s == through(all[0], last, step) {
			return fmt.Sprintf("%s to %s by %d", name(all[0]), name(last), step)
		}
	}
	var parts []string
	for i := 0; i < len(all); {
		j := i
		for j+1 < len(all) && all[j+1] == all[j]+1 {
			j++
		}
		if j < i+2 { // a pair is named, not spanned
			j = i
			parts = append(parts, name(all[i]))
		} else {
			parts = append(parts, name(all[i])+" to "+name(all[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

const (
	dateLayout = "2006-01-02"
	timeLayout = "15:04"
)

func (r *interval) words() string {
	from := r.first.Format(dateLayout + " " + timeLayout)
	switch {
	case r.every == 0:
		return "once, at " + from
	case r.weekday && r.every == 7*day:
		return fmt.Sprintf("every %s at %s from %s on", r.first.Weekday(), r.first.Format(timeLayout), r.first.Format(dateLayout))
	case r.weekday:
		return fmt.Sprintf("every %d weeks on %s at %s from %s on", r.every/(7*day), r.first.Weekday(), r.first.Format(timeLayout), r.first.Format(dateLayout))
	}
	unit, n := "minute", int(r.every/time.Minute)
	if r.every%day == 0 {
		unit, n = "day", int(r.every/day)
	} else if r.every%time.Hour == 0 {
		unit, n = "hour", int(r.every/time.Hour)
	}
	return "every " + counted(n, unit) + " from " + from + " on"
}

// counted is "hour" or "3 hours".
func counted(n int, unit string) string {
	if n == 1 {
		return unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func (m *monthly) words() string {
	which := fmt.Sprintf("day %d", m.day)
	switch {
	case !m.date:
		which = fmt.Sprintf("the %s %s", [...]string{"last", "first", "second", "third", "fourth"}[m.order], m.weekday)
	case m.day == 0:
		which = "the last day"
	}
	return fmt.Sprintf("on %s of every %s at %s from %s on", which, counted(m.months, "month"), m.start.Format(timeLayout), m.start.Format(dateLayout))
}
