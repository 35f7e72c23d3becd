package window

import (
	"fmt"
	"time"
)

// A Kind says what may be done in a window.
type Kind string

// The kinds.
const (
	General       Kind = "general"
	Updates       Kind = "updates"
	TaskSequences Kind = "task-sequences"
)

// Bounds of a window.
const (
	MaxName    = 128             // bytes
	MinLength  = 5 * time.Minute // whole minutes
	MaxLength  = 31 * 24 * time.Hour
	MaxWindows = 256 // in a list
)

const (
	// Restart is how long a machine is given to start again after work in a window.
	Restart = 5 * time.Minute
	// DefaultRun is the longest run time of work that does not say.
	DefaultRun = time.Hour
)

// Need is how much of a window must be left for work whose longest run time is
// run; 0 stands for [DefaultRun].
func Need(run time.Duration) time.Duration {
	if run <= 0 {
		run = DefaultRun
	}
	return run + Restart
}

// A Window is one window as somebody defined it. Its JSON is that of the package's
// documentation; what [Parse] and UnmarshalJSON return is valid.
type Window struct {
	Name    string
	Enabled bool
	Kind    Kind
	UTC     bool
	Start   time.Time // a wall time, kept as UTC: see UTC for where its clock hangs
	Length  time.Duration
	Every   Every
}

// A Unit is what a recurrence counts.
type Unit uint8

// The units.
const (
	Once Unit = iota
	Day       // every N days
	Week      // On in every N-th week
	Nth       // the Nth Weekday of every N-th month, and Offset days later
	Date      // MonthDay of every N-th month
	Last      // the last day of every N-th month
)

// Every says when a window comes again. Only the fields of its unit count.
type Every struct {
	Unit     Unit
	N        int
	On       [7]bool // by [time.Weekday]
	Nth      int     // 1 to 4, 5 is the last
	Weekday  time.Weekday
	Offset   int
	MonthDay int
}

// lastNth is the Nth that stands for the last one of a month.
const lastNth = 5

// day is a date as a number of days since 1970-01-01.
type day int

func dayOf(wall time.Time) day {
	y, m, d := wall.Date()
	return day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

func (d day) date() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// monday is the first day of d's week.
func (d day) monday() day { return d - day((int(d.date().Weekday())+6)%7) }

// month counts months.
func month(t time.Time) int { return 12*t.Year() + int(t.Month()) }

func daysIn(t time.Time) int {
	return time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// opens tells whether the window opens on d.
func (w *Window) opens(d day) bool {
	first := dayOf(w.Start)
	if d < first {
		return false
	}
	e := &w.Every
	switch e.Unit {
	case Once:
		return d == first
	case Day:
		return int(d-first)%e.N == 0
	case Week:
		return e.On[d.date().Weekday()] && int(d.monday()-first.monday())/7%e.N == 0
	case Nth:
		return e.nth((d - day(e.Offset)).date(), w.Start)
	}
	t := d.date()
	if (month(t)-month(w.Start))%e.N != 0 {
		return false
	}
	if e.Unit == Last {
		return t.Day() == daysIn(t)
	}
	return t.Day() == e.MonthDay
}

// nth tells whether t is the weekday that the offset is counted from.
func (e *Every) nth(t, start time.Time) bool {
	months := month(t) - month(start)
	if t.Weekday() != e.Weekday || months%e.N != 0 {
		return false
	}
	if e.Nth == lastNth {
		return t.Day() > daysIn(t)-7
	}
	return (t.Day()-1)/7 == e.Nth-1
}

// never tells whether there is no day on which the window opens.
func (w *Window) never() bool {
	if w.Every.Unit != Date || w.Every.MonthDay <= 28 {
		return false
	}
	_, ok := w.openAfter(dayOf(w.Start))
	return !ok
}

// horizon is how far ahead a day is looked for: the 29th of February, in steps of
// a year, is 8 years away at most.
const horizon = 9 * 366

// openAfter returns the first day from d on on which the window opens.
func (w *Window) openAfter(d day) (day, bool) {
	d = max(d, dayOf(w.Start))
	if w.Every.Unit == Once {
		return d, d == dayOf(w.Start)
	}
	for end := d + horizon; d < end; d++ {
		if w.opens(d) {
			return d, true
		}
	}
	return 0, false
}

// span is the window that opens on d, in a zone.
func (w *Window) span(d day, loc *time.Location) Span {
	wall := d.date().Add(time.Duration(w.Start.Hour())*time.Hour + time.Duration(w.Start.Minute())*time.Minute)
	if w.UTC {
		loc = time.UTC
	}
	open := instant(wall, loc)
	return Span{Open: open, Close: open.Add(w.Length)}
}

// maxOffset is more than any zone has been away from UTC.
const maxOffset = 26 * time.Hour

// instant is when the clocks of loc show wall (kept as UTC): the first time, or,
// if they skip it, the moment at which they do.
func instant(wall time.Time, loc *time.Location) time.Time {
	for at := wall.Add(-maxOffset).In(loc); ; {
		_, offset := at.Zone()
		begins, ends := zoneBounds(at)
		shows := wall.Add(-time.Duration(offset) * time.Second)
		switch {
		case !begins.IsZero() && shows.Before(begins):
			return begins.UTC()
		case ends.IsZero() || shows.Before(ends):
			return shows
		}
		at = ends
	}
}

// zoneBounds is [time.Time.ZoneBounds] with an end that lies behind at. Go's own
// lies before it on 31 December of a leap year for which the zone's data has a rule
// and no table (golang/go#81583); no zone's clocks change the day after.
func zoneBounds(at time.Time) (begins, ends time.Time) {
	begins, ends = at.ZoneBounds()
	if !ends.IsZero() && !ends.After(at) {
		ends = at.Add(24 * time.Hour)
	}
	return begins, ends
}

// after returns the first span of this window that closes after now.
func (w *Window) after(now time.Time, loc *time.Location) (Span, bool) {
	if w.UTC {
		loc = time.UTC
	}
	// A day more on each side: the clocks may be put by hours.
	d := dayOf(now.Add(-w.Length).In(loc)) - 2
	for {
		next, ok := w.openAfter(d)
		if !ok {
			return Span{}, false
		}
		if s := w.span(next, loc); s.Close.After(now) {
			return s, true
		}
		d = next + 1
	}
}

func (w *Window) String() string { return fmt.Sprintf("%q", w.Name) }
