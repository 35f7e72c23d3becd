package window

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// oracle tells, minute by minute, whether windows are open. It knows nothing of
// spans: it walks through all minutes, looks at the wall clock of each, and counts
// down.
func oracle(l List, from, to time.Time, loc *time.Location) (open []bool) {
	open = make([]bool, int(to.Sub(from)/time.Minute))
	for _, w := range l {
		if !w.Enabled {
			continue
		}
		zone := loc
		if w.UTC {
			zone = time.UTC
		}
		before := w.Length + 48*time.Hour
		left := 0 // minutes for which it stays open
		shown := wallOf(from.Add(-before-time.Minute), zone)
		newest := shown // the latest wall time that was ever shown: later ones are shown for the first time
		for at := from.Add(-before); at.Before(to); at = at.Add(time.Minute) {
			shown = wallOf(at, zone)
			// All wall times behind newest up to this one come now: one if the clock
			// goes on, many if it skips, none if it was put back.
			for wall := newest.Add(time.Minute); !wall.After(shown); wall = wall.Add(time.Minute) {
				if wall.Hour() == w.Start.Hour() && wall.Minute() == w.Start.Minute() && onDay(&w, wall) {
					left = max(left, int(w.Length/time.Minute))
				}
				newest = wall
			}
			if left > 0 {
				left--
				if i := int(at.Sub(from) / time.Minute); !at.Before(from) {
					open[i] = true
				}
			}
		}
	}
	return open
}

// wallOf is what the clock of zone shows, kept as UTC.
func wallOf(at time.Time, zone *time.Location) time.Time {
	_, offset := at.In(zone).Zone()
	return at.Add(time.Duration(offset) * time.Second).UTC()
}

// onDay is the recurrence once more, by walking instead of by dividing.
func onDay(w *Window, wall time.Time) bool {
	if wall.Before(w.Start) {
		return false
	}
	midnight := func(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }
	today, first := midnight(wall), midnight(w.Start)
	e := w.Every
	switch e.Unit {
	case Once:
		return today.Equal(first)
	case Day:
		for d := first; !d.After(today); d = d.AddDate(0, 0, e.N) {
			if d.Equal(today) {
				return true
			}
		}
		return false
	case Week:
		for monday := first; ; monday = monday.AddDate(0, 0, -1) {
			if monday.Weekday() == time.Monday {
				for ; !monday.After(today); monday = monday.AddDate(0, 0, 7*e.N) {
					if today.Before(monday.AddDate(0, 0, 7)) {
						return e.On[today.Weekday()]
					}
				}
				return false
			}
		}
	}
	// The months that count, one after the other, from one before: an offset may
	// lead into the month of start.
	for m := time.Date(first.Year(), first.Month(), 1, 0, 0, 0, 0, time.UTC).AddDate(0, -e.N, 0); !m.After(today); m = m.AddDate(0, e.N, 0) {
		for d := m; d.Month() == m.Month(); d = d.AddDate(0, 0, 1) {
			hit := false
			switch e.Unit {
			case Nth:
				n := 0
				for x := m; !x.After(d); x = x.AddDate(0, 0, 1) {
					if x.Weekday() == e.Weekday {
						n++
					}
				}
				hit = d.Weekday() == e.Weekday && (n == e.Nth || e.Nth == 5 && d.AddDate(0, 0, 7).Month() != m.Month())
				if hit && d.AddDate(0, 0, e.Offset).Equal(today) {
					return true
				}
				continue
			case Date:
				hit = d.Day() == e.MonthDay
			case Last:
				hit = d.AddDate(0, 0, 1).Month() != m.Month()
			}
			if hit && d.Equal(today) {
				return true
			}
		}
	}
	return false
}

func drawWindow(rt *rapid.T, from time.Time) Window {
	start := from.Add(time.Duration(rapid.IntRange(-60*1440, 10*1440).Draw(rt, "start")) * time.Minute)
	w := Window{Name: "w", Enabled: rapid.IntRange(0, 9).Draw(rt, "enabled") > 0, Kind: General,
		UTC: rapid.Bool().Draw(rt, "utc"), Start: start,
		Length: time.Duration(rapid.OneOf(rapid.IntRange(5, 300), rapid.IntRange(5, 4000)).Draw(rt, "length")) * time.Minute}
	w.Every = Every{Unit: rapid.SampledFrom([]Unit{Once, Day, Week, Nth, Date, Last}).Draw(rt, "unit"), N: rapid.IntRange(1, 3).Draw(rt, "n"),
		Nth: rapid.IntRange(1, 5).Draw(rt, "nth"), Weekday: time.Weekday(rapid.IntRange(0, 6).Draw(rt, "weekday")),
		Offset: rapid.IntRange(0, 27).Draw(rt, "offset"), MonthDay: rapid.IntRange(1, 31).Draw(rt, "day")}
	for range rapid.IntRange(1, 3).Draw(rt, "days") {
		w.Every.On[rapid.IntRange(0, 6).Draw(rt, "on")] = true
	}
	return w
}

// Next and Fits say what the minutes say, at random moments, also around the
// nights in which clocks change.
func TestSameAsMinuteByMinute(t *testing.T) {
	zones := []*time.Location{time.UTC, zone(t, "Europe/Berlin"), zone(t, "America/New_York"),
		zone(t, "Australia/Lord_Howe"), zone(t, "America/Santiago"), zone(t, "Asia/Kathmandu")}
	// Before the nights in which the clocks of these zones change, and the end of a
	// February.
	starts := []string{"2026-03-27 00:00", "2026-10-23 00:00", "2026-03-06 00:00", "2026-10-30 00:00",
		"2026-09-04 00:00", "2026-04-03 00:00", "2026-10-02 00:00", "2027-02-26 00:00"}
	rapid.Check(t, func(rt *rapid.T) {
		loc := rapid.SampledFrom(zones).Draw(rt, "zone")
		from := at(t, time.UTC, rapid.SampledFrom(starts).Draw(rt, "from"))
		to := from.AddDate(0, 0, 16)
		var l List
		for range rapid.IntRange(1, 3).Draw(rt, "windows") {
			if w := drawWindow(rt, from); w.Check() == nil {
				l = append(l, w)
			}
		}
		open := oracle(l, from, to, loc)
		for range 8 {
			i := rapid.IntRange(0, 5*1440).Draw(rt, "minute")
			compare(rt, l, open, from, i, loc)
		}
	})
}

func compare(rt *rapid.T, l List, open []bool, from time.Time, i int, loc *time.Location) {
	now := from.Add(time.Duration(i) * time.Minute)
	s, ok := l.Next(now, loc)
	first := i
	for first < len(open) && !open[first] {
		first++
	}
	end := first
	for end < len(open) && open[end] {
		end++
	}
	if first == len(open) {
		if ok && s.Open.Before(from.Add(time.Duration(len(open))*time.Minute)) {
			rt.Fatalf("at %s: %v, and all minutes are closed", now, s)
		}
		return
	}
	if !ok || s.Open.After(now) != (first > i) || first > i && !s.Open.Equal(from.Add(time.Duration(first)*time.Minute)) {
		rt.Fatalf("at %s: %v (%t), and the first open minute is %s", now, s, ok, from.Add(time.Duration(first)*time.Minute))
	}
	left := time.Duration(end-first) * time.Minute
	if end == len(open) || left >= reach { // cut, or longer than the oracle looks
		if s.Close.Sub(latest(now, s.Open)) < min(left, reach) {
			rt.Fatalf("at %s: %v, and it is open for %s at least", now, s, left)
		}
		return
	}
	if !s.Close.Equal(from.Add(time.Duration(end) * time.Minute)) {
		rt.Fatalf("at %s: %v, and the last open minute is %s", now, s, from.Add(time.Duration(end-1)*time.Minute))
	}
	need := Need(time.Duration(rapid.IntRange(1, 600).Draw(rt, "run")) * time.Minute)
	if a := l.Fits(now, loc, General, need); a.Run != (first == i && left > need) {
		rt.Fatalf("at %s, %s of %s left: %+v", now, need, left, a)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
