package wql_test

import (
	"math"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
	"pgregory.net/rapid"
)

const allParts = wql.Millisecond

// ms is the instant of a date.
func ms(t testing.TB, date string) int64 {
	t.Helper()
	n, err := schema.ParseDate(date)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDiffCountsBoundaries(t *testing.T) {
	for _, c := range []struct {
		part wql.Part
		a, b string
		want int64
	}{
		{wql.Day, "2026-11-28 23:59:59.999", "2026-11-29", 1},
		{wql.Day, "2026-11-28", "2026-11-28 23:59:59.999", 0},
		{wql.Day, "2026-11-29", "2026-11-28 23:59:59", -1},
		{wql.Weekday, "2026-11-28 23:00", "2026-11-30", 2},
		{wql.DayOfYear, "2025-12-31 23:00", "2026-01-01", 1},
		{wql.Year, "2025-12-31 23:59:59", "2026-01-01", 1},
		{wql.Year, "2026-01-01", "2026-12-31 23:59:59", 0},
		{wql.Quarter, "2025-12-31", "2026-04-01", 2},
		{wql.Month, "2026-01-31", "2026-02-01", 1},
		{wql.Month, "2026-03-01", "2024-12-31", -15},
		{wql.Week, "2026-11-28", "2026-11-29", 1}, // Saturday to Sunday
		{wql.Week, "2026-11-29", "2026-12-05 23:59", 0},
		{wql.Week, "1969-12-27", "1969-12-28", 1},
		{wql.Hour, "2026-11-28 12:59:59", "2026-11-28 13:00", 1},
		{wql.Minute, "2026-11-28 12:59:59", "2026-11-28 13:00", 1},
		{wql.Second, "1969-12-31 23:59:59.999", "1970-01-01", 1},
		{wql.Millisecond, "2026-11-28 12:00:00.001", "2026-11-28 12:00:00.250", 249},
		{wql.Year, "0001-01-01", "9999-12-31", 9998},
	} {
		if got := c.part.Diff(ms(t, c.a), ms(t, c.b)); got != c.want {
			t.Errorf("%s from %s to %s: %d, want %d", c.part, c.a, c.b, got, c.want)
		}
	}
}

func TestAdd(t *testing.T) {
	for _, c := range []struct {
		part wql.Part
		n    int64
		date string
		want string
	}{
		{wql.Month, 1, "2026-01-31 13:00:00.5", "2026-02-28 13:00:00.5"},
		{wql.Month, 1, "2024-01-31", "2024-02-29"},
		{wql.Month, -11, "2026-01-30", "2025-02-28"},
		{wql.Month, 11, "2026-01-31", "2026-12-31"},
		{wql.Quarter, -1, "2026-01-31", "2025-10-31"},
		{wql.Year, 1, "2024-02-29", "2025-02-28"},
		{wql.Year, -4, "2024-02-29 23:59", "2020-02-29 23:59"},
		{wql.Week, 2, "2026-11-28", "2026-12-12"},
		{wql.Day, -14, "2026-11-28 13:00", "2026-11-14 13:00"},
		{wql.DayOfYear, 1, "2026-12-31", "2027-01-01"},
		{wql.Weekday, 1, "2026-12-31", "2027-01-01"},
		{wql.Hour, -25, "2026-11-28", "2026-11-26 23:00"},
		{wql.Minute, 90, "2026-11-28", "2026-11-28 01:30"},
		{wql.Second, -1, "1970-01-01", "1969-12-31 23:59:59"},
		{wql.Millisecond, 1, "2026-11-28", "2026-11-28 00:00:00.001"},
		{wql.Year, 9000, "2026-11-28", "9999-12-31 23:59:59.999"},
		{wql.Year, -9000, "2026-11-28", "0001-01-01"},
		{wql.Day, math.MaxInt64, "2026-11-28", "9999-12-31 23:59:59.999"},
		{wql.Millisecond, math.MinInt64, "2026-11-28", "0001-01-01"},
		{wql.Month, math.MinInt64, "2026-11-28", "0001-01-01"},
	} {
		if got := schema.FormatDate(c.part.Add(c.n, ms(t, c.date))); got != schema.FormatDate(ms(t, c.want)) {
			t.Errorf("%d %ss from %s: %s, want %s", c.n, c.part, c.date, got, c.want)
		}
	}
}

func TestDateArithmeticIsThatOfTime(t *testing.T) {
	date := rapid.Int64Range(schema.MinDate, schema.MaxDate)
	rapid.Check(t, func(t *rapid.T) {
		a, b := date.Draw(t, "a"), date.Draw(t, "b")
		x, y := time.UnixMilli(a).UTC(), time.UnixMilli(b).UTC()
		_, week := firstSunday(x)
		for part, want := range map[wql.Part]int{
			wql.Year: x.Year(), wql.Quarter: (int(x.Month())-1)/3 + 1, wql.Month: int(x.Month()), wql.DayOfYear: x.YearDay(),
			wql.Day: x.Day(), wql.Week: week, wql.Weekday: int(x.Weekday()) + 1, wql.Hour: x.Hour(),
			wql.Minute: x.Minute(), wql.Second: x.Second(), wql.Millisecond: x.Nanosecond() / 1e6,
		} {
			if got := part.Of(a); got != int64(want) {
				t.Fatalf("%s of %s is %d, want %d", part, x, got, want)
			}
		}
		if got, want := wql.Month.Diff(a, b), int64(y.Year()*12+int(y.Month())-x.Year()*12-int(x.Month())); got != want {
			t.Fatalf("months from %s to %s: %d, want %d", x, y, got, want)
		}
		if got, want := wql.Day.Diff(a, b), (midnight(y).Unix()-midnight(x).Unix())/86400; got != want {
			t.Fatalf("days from %s to %s: %d, want %d", x, y, got, want)
		}
		n := rapid.IntRange(-1500, 1500).Draw(t, "n")
		want := time.Date(x.Year(), x.Month()+time.Month(n), 1, x.Hour(), x.Minute(), x.Second(), x.Nanosecond(), time.UTC)
		last := time.Date(want.Year(), want.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
		want = want.AddDate(0, 0, min(x.Day(), last)-1)
		if got := wql.Month.Add(int64(n), a); want.Year() >= 1 && want.Year() <= 9999 && got != want.UnixMilli() {
			t.Fatalf("%d months from %s: %s, want %s", n, x, time.UnixMilli(got).UTC(), want)
		}
	})
}

func TestEveryDayOf800Years(t *testing.T) {
	d := time.Date(1599, 12, 31, 0, 0, 0, 0, time.UTC)
	for d.Year() <= 2400 {
		at := d.UnixMilli()
		if y, m, n := wql.Year.Of(at), wql.Month.Of(at), wql.Day.Of(at); y != int64(d.Year()) || m != int64(d.Month()) || n != int64(d.Day()) {
			t.Fatalf("%s is %d-%d-%d", d, y, m, n)
		}
		if got := wql.DayOfYear.Of(at); got != int64(d.YearDay()) {
			t.Fatalf("%s is day %d", d, got)
		}
		d = d.AddDate(0, 0, 1)
	}
}

func midnight(d time.Time) time.Time {
	return time.Date(d.Year(), d.Month(), d.Day(), 0, 0, 0, 0, time.UTC)
}

// firstSunday counts the weeks of a year the slow way.
func firstSunday(d time.Time) (time.Time, int) {
	day, week := time.Date(d.Year(), 1, 1, 0, 0, 0, 0, time.UTC), 1
	for day.YearDay() < d.YearDay() {
		if day = day.AddDate(0, 0, 1); day.Weekday() == time.Sunday {
			week++
		}
	}
	return day, week
}

func TestTurnIsTheFirstInstantOfADiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := wql.Part(rapid.IntRange(1, int(allParts)).Draw(t, "part"))
		a := rapid.Int64Range(schema.MinDate, schema.MaxDate).Draw(t, "a")
		n := rapid.Int64Range(-2000, 2000).Draw(t, "n")
		at := part.Turn(a, n)
		if at == schema.MinDate || at == schema.MaxDate {
			return
		}
		if got := part.Diff(a, at); got != n {
			t.Fatalf("%s: %d %ss lead to %s, which is %d", schema.FormatDate(a), n, part, schema.FormatDate(at), got)
		}
		if got := part.Diff(a, at-1); got != n-1 {
			t.Fatalf("%s: %d %ss lead to %s, before which it is %d", schema.FormatDate(a), n, part, schema.FormatDate(at), got)
		}
	})
	for part := wql.Year; part <= allParts; part++ {
		if got := part.Turn(0, math.MaxInt64); got != schema.MaxDate {
			t.Errorf("the last %s turns at %d", part, got)
		}
		if got := part.Turn(0, math.MinInt64); got != schema.MinDate {
			t.Errorf("the first %s turns at %d", part, got)
		}
	}
}

func TestDatesBeyondTheYearsStayBounded(t *testing.T) {
	for part := wql.Year; part <= allParts; part++ {
		for _, d := range []int64{math.MinInt64, math.MaxInt64} {
			part.Of(d)
			part.Add(1, d)
			if got := part.Diff(d, d); got != 0 {
				t.Errorf("%s from %d to itself: %d", part, d, got)
			}
		}
		if got := part.Diff(math.MinInt64, math.MaxInt64); got != part.Diff(schema.MinDate, schema.MaxDate) {
			t.Errorf("%s of all time: %d", part, got)
		}
	}
}

func TestSubstringOf(t *testing.T) {
	for _, c := range []struct {
		from, length int64
		want         string
	}{
		{1, 2, "gr"}, {3, 2, "ün"}, {4, 100, "n€"}, {5, 1, "€"}, {6, 1, ""}, {0, 2, "g"}, {-1, 2, ""}, {-1, 4, "gr"},
		{1, 0, ""}, {1, -1, ""}, {math.MinInt64, math.MaxInt64, ""}, {math.MaxInt64, math.MaxInt64, ""}, {1, math.MaxInt64, "grün€"},
		{-5, math.MaxInt64, "grün€"},
	} {
		if got := wql.SubstringOf("grün€", c.from, c.length); got != c.want {
			t.Errorf("from %d, %d: %q, want %q", c.from, c.length, got, c.want)
		}
	}
}
