package wql

import "github.com/bugle-fleet/bugle/projectors/collection/schema"

// Milliseconds of the parts that are always equally long.
const (
	second = 1000
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
	week   = 7 * day
)

// Diff counts the boundaries of a part that lie between two instants (Unix
// milliseconds, UTC), with a minus if b is the earlier: it is what DateDiff is. From
// 23:59 to 0:01 is one day. Weeks begin on Sunday; a day of the year or of the week
// is a day.
func (p Part) Diff(a, b int64) int64 {
	a, b = bound(a), bound(b)
	switch p {
	case Year, Quarter, Month:
		ya, ma, _ := civil(floor(a, day))
		yb, mb, _ := civil(floor(b, day))
		switch p {
		case Year:
			return yb - ya
		case Quarter:
			return yb*4 + (mb-1)/3 - ya*4 - (ma-1)/3
		}
		return yb*12 + mb - ya*12 - ma
	case Week:
		return floor(b+thursday, week) - floor(a+thursday, week)
	}
	n := p.length()
	return floor(b, n) - floor(a, n)
}

// Turn returns the first instant from which on Diff of an instant a and it is n or
// more.
func (p Part) Turn(a, n int64) int64 {
	a = bound(a)
	switch p {
	case Year, Quarter, Month:
		months := map[Part]int64{Year: 12, Quarter: 3, Month: 1}[p]
		y, m, _ := civil(floor(a, day))
		at := y*12 + m - 1
		at -= mod(at, months)
		if n > maxMonths || n < -maxMonths {
			return limit(n)
		}
		at += n * months
		return bound(days(floor(at, 12), mod(at, 12)+1, 1) * day)
	case Week:
		start := floor(a+thursday, week)
		if n > maxDays || n < -maxDays {
			return limit(n)
		}
		return bound((start+n)*week - thursday)
	}
	length := p.length()
	if n > (schema.MaxDate-schema.MinDate)/length+1 || n < -(schema.MaxDate-schema.MinDate)/length-1 {
		return limit(n)
	}
	return bound((floor(a, length) + n) * length)
}

// thursday is what 1970 began on, counted from the Sunday before.
const thursday = 4 * day

// More months or days than this lead from any date to beyond the last year.
const (
	maxMonths = 10_000 * 12
	maxDays   = 10_000 * 366
)

// length of a part that is always equally long; of the others that of a day.
func (p Part) length() int64 {
	switch p {
	case Hour:
		return hour
	case Minute:
		return minute
	case Second:
		return second
	case Millisecond:
		return 1
	}
	return day
}

// Add moves an instant by n parts: it is what DateAdd is. A day that the month does
// not have becomes its last. What would be beyond the years 1 to 9999 is their first
// or last instant.
func (p Part) Add(n, date int64) int64 {
	date = bound(date)
	switch p {
	case Year:
		return addMonths(date, n, 12)
	case Quarter:
		return addMonths(date, n, 3)
	case Month:
		return addMonths(date, n, 1)
	}
	length := p.length()
	if p == Week {
		length = week
	}
	if most := (schema.MaxDate-schema.MinDate)/length + 1; n > most || n < -most {
		return limit(n)
	}
	return bound(date + n*length)
}

func addMonths(date, n, months int64) int64 {
	if n > maxMonths || n < -maxMonths {
		return limit(n)
	}
	whole := floor(date, day)
	y, m, d := civil(whole)
	at := y*12 + m - 1 + n*months
	y, m = floor(at, 12), mod(at, 12)+1
	d = min(d, days(floor(at+1, 12), mod(at+1, 12)+1, 1)-days(y, m, 1))
	return bound(days(y, m, d)*day + date - whole*day)
}

// Of returns a part of an instant: it is what DatePart is. A week of the year begins
// on Sunday, the first on the first of January; Sunday is day 1 of a week.
func (p Part) Of(date int64) int64 {
	date = bound(date)
	whole := floor(date, day)
	y, m, d := civil(whole)
	switch p {
	case Year:
		return y
	case Quarter:
		return (m-1)/3 + 1
	case Month:
		return m
	case Day:
		return d
	case DayOfYear:
		return whole - days(y, 1, 1) + 1
	case Week:
		return Week.Diff(days(y, 1, 1)*day, date) + 1
	case Weekday:
		return mod(whole+4, 7) + 1
	}
	date -= whole * day
	switch p {
	case Hour:
		return date / hour
	case Minute:
		return date / minute % 60
	case Second:
		return date / second % 60
	}
	return date % second
}

// bound keeps an instant within the years 1 to 9999.
func bound(date int64) int64 { return min(max(date, schema.MinDate), schema.MaxDate) }

// limit is the last instant for what is too far ahead, the first for the other way.
func limit(n int64) int64 {
	if n < 0 {
		return schema.MinDate
	}
	return schema.MaxDate
}

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func mod(a, b int64) int64 { return a - floor(a, b)*b }

// civil returns year, month and day of a day counted from 1970. Years are counted
// from March on, so that the day that some of them lack is their last; 400 of them
// are always 146,097 days.
func civil(n int64) (y, m, d int64) {
	n += 719468 // from the first of March of the year 0
	era := floor(n, 146097)
	n -= era * 146097
	y = (n - n/1460 + n/36524 - n/146096) / 365
	n -= 365*y + y/4 - y/100
	m = (5*n + 2) / 153
	d = n - (153*m+2)/5 + 1
	y += era * 400
	if m < 10 {
		return y, m + 3, d
	}
	return y + 1, m - 9, d
}

// days counts the days from 1970 to a date.
func days(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := floor(y, 400)
	y -= era * 400
	return era*146097 + 365*y + y/4 - y/100 + (153*(m-3)+2)/5 + d - 1 - 719468
}
