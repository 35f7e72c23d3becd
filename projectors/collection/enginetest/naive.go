package enginetest

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// like matches the way one would by hand: it tries every length for a %.
func like(folded, pattern string) bool { return likeRunes([]rune(folded), []rune(pattern)) }

func likeRunes(s, p []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0] == '%' {
		for i := 0; i <= len(s); i++ {
			if likeRunes(s[i:], p[1:]) {
				return true
			}
		}
		return false
	}
	if len(s) == 0 {
		return false
	}
	switch p[0] {
	case '_':
		return likeRunes(s[1:], p[1:])
	case '[':
		n, in := set(p[1:], s[0])
		return in && likeRunes(s[1:], p[1+n:])
	}
	return strings.EqualFold(string(p[0]), string(s[0])) && likeRunes(s[1:], p[1:])
}

// set reads a set behind its opening bracket: how long it is with the closing one, and
// whether it holds c in some case.
func set(p []rune, c rune) (n int, in bool) {
	i := 0
	not := p[0] == '^'
	if not {
		i++
	}
	for ; p[i] != ']'; i++ {
		from, to := p[i], p[i]
		if p[i+1] == '-' && p[i+2] != ']' {
			to = p[i+2]
			i += 2
		}
		for f := c; ; {
			in = in || from <= f && f <= to
			if f = unicode.SimpleFold(f); f == c {
				break
			}
		}
	}
	return i + 1, in != not
}

// start is the beginning of the part of a date in which t lies.
func start(part wql.Part, t time.Time) time.Time {
	y, m, d := t.Date()
	switch part {
	case wql.Year:
		return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC)
	case wql.Quarter:
		return time.Date(y, m-(m-1)%3, 1, 0, 0, 0, 0, time.UTC)
	case wql.Month:
		return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	case wql.Week:
		return time.Date(y, m, d-int(t.Weekday()), 0, 0, 0, 0, time.UTC)
	case wql.Day, wql.DayOfYear, wql.Weekday:
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	case wql.Hour:
		return time.Date(y, m, d, t.Hour(), 0, 0, 0, time.UTC)
	case wql.Minute:
		return time.Date(y, m, d, t.Hour(), t.Minute(), 0, 0, time.UTC)
	case wql.Second:
		return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	case wql.Millisecond:
		return t.Truncate(time.Millisecond)
	}
	panic(fmt.Sprintf("part %d", part))
}

// lengths are those of the parts that are always equally long.
var lengths = map[wql.Part]time.Duration{
	wql.Week: 7 * 24 * time.Hour, wql.Day: 24 * time.Hour, wql.DayOfYear: 24 * time.Hour, wql.Weekday: 24 * time.Hour,
	wql.Hour: time.Hour, wql.Minute: time.Minute, wql.Second: time.Second, wql.Millisecond: time.Millisecond,
}

// months are the lengths of the others.
var months = map[wql.Part]int64{wql.Year: 12, wql.Quarter: 3, wql.Month: 1}

// dateDiff is how many beginnings of a part lie behind a and not behind b.
func dateDiff(part wql.Part, a, b time.Time) int64 {
	a, b = start(part, a), start(part, b)
	if n, ok := months[part]; ok {
		return (12*int64(b.Year()-a.Year()) + int64(b.Month()-a.Month())) / n
	}
	// Instants are far enough apart to overflow a Duration.
	return (b.UnixMilli() - a.UnixMilli()) / lengths[part].Milliseconds()
}

// The first and the last instant of the years 1 to 9999, in which all dates lie.
var (
	firstDate = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastDate  = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Millisecond)
)

// dateAdd goes n parts on. A day that the month does not have becomes its last.
func dateAdd(part wql.Part, n int64, t time.Time) time.Time {
	k, ofMonths := months[part]
	most := 10_000 * 12 / max(k, 1)
	if !ofMonths {
		k = lengths[part].Milliseconds()
		most = 10_000 * 366 * 24 * 3600 * 1000 / k
	}
	switch {
	case n > most:
		return lastDate
	case n < -most:
		return firstDate
	}
	at := instant(t.UnixMilli() + n*k)
	if ofMonths {
		first := start(wql.Month, t).AddDate(0, int(n*k), 0)
		last := first.AddDate(0, 1, -1).Day()
		at = first.AddDate(0, 0, min(t.Day(), last)-1).Add(t.Sub(start(wql.Day, t)))
	}
	switch {
	case at.After(lastDate):
		return lastDate
	case at.Before(firstDate):
		return firstDate
	}
	return at
}

func datePart(part wql.Part, t time.Time) int64 {
	switch part {
	case wql.Year:
		return int64(t.Year())
	case wql.Quarter:
		return int64(t.Month()-1)/3 + 1
	case wql.Month:
		return int64(t.Month())
	case wql.DayOfYear:
		return int64(t.YearDay())
	case wql.Day:
		return int64(t.Day())
	case wql.Week: // the first of January lies in the first week
		return dateDiff(wql.Week, start(wql.Year, t), t) + 1
	case wql.Weekday:
		return int64(t.Weekday()) + 1
	case wql.Hour:
		return int64(t.Hour())
	case wql.Minute:
		return int64(t.Minute())
	case wql.Second:
		return int64(t.Second())
	case wql.Millisecond:
		return int64(t.Nanosecond() / 1e6)
	}
	panic(fmt.Sprintf("part %d", part))
}
