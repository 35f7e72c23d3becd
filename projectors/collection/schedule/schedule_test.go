package schedule_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/schedule"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if x, err := time.Parse(layout, text); err == nil {
			return x
		}
	}
	t.Fatalf("%q is no time", text)
	return time.Time{}
}

func parse(t testing.TB, text string) schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// expect checks the instants that follow one another.
func expect(t *testing.T, s schedule.Schedule, after string, want ...string) {
	t.Helper()
	now := at(t, after)
	for _, w := range want {
		next, ok := s.Next(now)
		if w == "" {
			if ok {
				t.Errorf("%q: after %s comes %s, want nothing", s.Text(), now, next)
			}
			return
		}
		if !ok || !next.Equal(at(t, w)) {
			t.Errorf("%q: after %s comes %s (%t), want %s", s.Text(), now, next, ok, w)
			return
		}
		now = next
	}
}

func TestFiveFields(t *testing.T) {
	for _, c := range []struct {
		text, words, after string
		want               []string
	}{
		{"0 4 * * *", "at 04:00 every day, UTC", "2026-11-29 04:00", []string{"2026-11-30 04:00", "2026-12-01 04:00"}},
		{"*/20 * * * *", "at minute 0, 20, 40 of every hour every day, UTC", "2026-11-29 03:59:59", []string{"2026-11-29 04:00", "2026-11-29 04:20", "2026-11-29 04:40", "2026-11-29 05:00"}},
		{"* * * * *", "every minute every day, UTC", "2026-12-31 23:59:30", []string{"2027-01-01 00:00", "2027-01-01 00:01"}},
		{"30 6,18 * * mon-fri", "at 06:30, 18:30 on Monday to Friday, UTC", "2026-11-27 18:30", []string{"2026-11-30 06:30", "2026-11-30 18:30"}},
		{"0 0 * * 7", "at 00:00 on Sunday, UTC", "2026-11-29 00:00", []string{"2026-12-06 00:00"}},
		{"0 0 * * 0", "at 00:00 on Sunday, UTC", "2026-11-29 00:00", []string{"2026-12-06 00:00"}},
		{"0 0 * * FRI-SUN", "at 00:00 on Sunday, Friday, Saturday, UTC", "2026-11-27 00:00", []string{"2026-11-28 00:00", "2026-11-29 00:00", "2026-12-04 00:00"}},
		{"0 0 * * 5-7", "at 00:00 on Sunday, Friday, Saturday, UTC", "2026-11-27 00:00", []string{"2026-11-28 00:00", "2026-11-29 00:00", "2026-12-04 00:00"}},
		{"15 10-14/2 1 jan,JUL *", "at 10:15, 12:15, 14:15 on day 1 of the month in January, July, UTC", "2026-11-29 00:00", []string{"2027-01-01 10:15", "2027-01-01 12:15", "2027-01-01 14:15", "2027-07-01 10:15"}},
		{"0 0 29 2 *", "at 00:00 on day 29 of the month in February, UTC", "2026-11-29 00:00", []string{"2028-02-29 00:00", "2032-02-29 00:00"}},
		{"0 0 29 2 *", "at 00:00 on day 29 of the month in February, UTC", "2096-02-29 00:00", []string{"2104-02-29 00:00"}},
		// One of day and weekday is enough, unless one of them begins with a star.
		{"0 4 1 * mon", "at 04:00 on day 1 of the month and on Monday, UTC", "2026-11-29 00:00", []string{"2026-11-30 04:00", "2026-12-01 04:00", "2026-12-07 04:00"}},
		{"0 4 */2 * mon", "at 04:00 on day 1 to 31 by 2 of the month if it is Monday, UTC", "2026-11-29 00:00", []string{"2026-12-07 04:00", "2026-12-21 04:00", "2027-01-11 04:00"}},
		{"0 0 31 * *", "at 00:00 on day 31 of the month, UTC", "2026-11-29 00:00", []string{"2026-12-31 00:00", "2027-01-31 00:00", "2027-03-31 00:00"}},
		{"0 0 31 2 mon", "at 00:00 on day 31 of the month and on Monday in February, UTC", "2026-11-29 00:00", []string{"2027-02-01 00:00", "2027-02-08 00:00"}},
		{"  0   4 * * *  ", "at 04:00 every day, UTC", "2026-11-29 04:00", []string{"2026-11-30 04:00"}},
	} {
		s := parse(t, c.text)
		if got := s.String(); got != c.words {
			t.Errorf("%q is %q, want %q", c.text, got, c.words)
		}
		expect(t, s, c.after, c.want...)
	}
}

// The samples are from Microsoft's pages on SMS_ScheduleToken and on tally intervals,
// and from two programs that read tokens, with what these say of them.
func TestTokens(t *testing.T) {
	for _, c := range []struct {
		text, words, after string
		want               []string
	}{
		{"7913788000080000", "once, at 2004-07-19 08:30, UTC", "2004-07-19 08:29", []string{"2004-07-19 08:30", ""}},
		{"55147880001B2000", "every Tuesday at 08:21 from 2004-07-20 on, UTC", "2004-07-01 00:00", []string{"2004-07-20 08:21", "2004-07-27 08:21"}},
		{"55177880001E2000", "every Friday at 08:21 from 2004-07-23 on, UTC", "2026-11-29 00:00", []string{"2026-12-04 08:21"}},
		{"791378800008000055147880001B200055177880001E2000",
			"once, at 2004-07-19 08:30; every Tuesday at 08:21 from 2004-07-20 on; every Friday at 08:21 from 2004-07-23 on, UTC",
			"2004-07-01 00:00", []string{"2004-07-19 08:30", "2004-07-20 08:21", "2004-07-23 08:21", "2004-07-27 08:21"}},
		{"00011280001F2000", "every Saturday at 00:00 from 1980-01-05 on, UTC", "2026-11-29 00:00", []string{"2026-12-05 00:00"}},
		{"000A470000284400", "on day 1 of every month at 00:00 from 1998-04-10 on, UTC", "1998-04-01 00:00", []string{"1998-05-01 00:00", "1998-06-01 00:00"}},
		{"000A4700002BC400", "on day 15 of every month at 00:00 from 1998-04-10 on, UTC", "1998-04-01 00:00", []string{"1998-04-15 00:00", "1998-05-15 00:00"}},
		{"0001128000080008", "once, at 1980-01-01 00:00, UTC", "2026-11-29 00:00", []string{""}},
		{"0001200000100038", "every 7 days from 1970-02-01 00:00 on, UTC", "2026-11-29 00:00", []string{"2026-12-06 00:00"}},
		{"1033BC7B10100010", "every 2 days from 2019-11-19 01:04 on, UTC", "2019-11-19 01:04", []string{"2019-11-21 01:04", "2019-11-23 01:04"}},
		{"A9788980001B4000", "every 2 weeks on Tuesday at 11:42 from 2008-08-26 on, UTC", "2008-08-24 11:42", []string{"2008-08-26 11:42", "2008-09-09 11:42"}},
		{"7D98898000280400", "on the last day of every month at 12:31 from 2008-08-24 on, UTC", "2008-08-24 12:31", []string{"2008-08-31 12:31", "2008-09-30 12:31"}},
		// Made by hand, by the layout.
		{"0001200000100100", "every hour from 1970-02-01 00:00 on, UTC", "2026-11-29 00:00", []string{"2026-11-29 01:00"}},
		{"000120000011e000", "every 15 minutes from 1970-02-01 00:00 on, UTC", "2026-11-29 00:07", []string{"2026-11-29 00:15", "2026-11-29 00:30"}},
		{"0001200000231400", "on the second Tuesday of every month at 00:00 from 1970-02-01 on, UTC", "2026-11-29 00:00", []string{"2026-12-08 00:00", "2027-01-12 00:00"}},
		{"0001200000261001", "on the last Friday of every month at 00:00 from 1970-02-01 on, UTC", "2026-11-27 00:00", []string{"2026-12-25 00:00", "2027-01-29 00:00"}},
		{"0001200000273800", "on the fourth Saturday of every 3 months at 00:00 from 1970-02-01 on, UTC", "2026-11-29 00:00", []string{"2027-02-27 00:00", "2027-05-22 00:00"}},
		{"000120000029F000", "on day 7 of every 12 months at 00:00 from 1970-02-01 on, UTC", "2026-11-29 00:00", []string{"2027-02-07 00:00"}},
		{"00012000002F7000", "on day 29 of every 12 months at 00:00 from 1970-02-01 on, UTC", "2026-11-29 00:00", []string{"2028-02-29 00:00", "2032-02-29 00:00"}},
	} {
		s := parse(t, c.text)
		if got := s.String(); got != c.words {
			t.Errorf("%s is %q, want %q", c.text, got, c.words)
		}
		expect(t, s, c.after, c.want...)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "it has 0 fields",
		"0 4 * *":                              "it has 4 fields",
		"0 4 * * * *":                          "it has 6 fields",
		"60 * * * *":                           "minute: 60 is not between 0 and 59",
		"* 24 * * *":                           "hour: 24 is not between 0 and 23",
		"* * 0 * *":                            "day: 0 is not between 1 and 31",
		"* * * 13 *":                           "month: 13 is not between 1 and 12",
		"* * * * 8":                            "weekday: 8 is not between 0 and 7",
		"* * * foo *":                          `month: "foo" is no month`,
		"mon * * * *":                          `minute: "mon" is no minute`,
		"*/0 * * * *":                          `minute: "0" is no step`,
		"5/15 * * * *":                         `a step needs a range, such as 5-59/15`,
		"20-10 * * * *":                        `"20-10" goes backwards`,
		"1,,2 * * * *":                         `"" is no minute`,
		"-5 * * * *":                           `"" is no minute`,
		"+5 * * * *":                           `"+5" is no minute`,
		"000 * * * *":                          `"000" is no minute`,
		"0 0 31 2 *":                           "it never comes",
		"0 0 31 4,6,9,11 *":                    "it never comes",
		"0 0 30 feb */2":                       "it never comes",
		"daily":                                "neither five fields",
		"00012000001000380":                    "neither five fields",
		"000120000010003g":                     "hexadecimal",
		"+001200000100038":                     "hexadecimal",
		"0000000000080000":                     "is no time",
		"F801200000100038":                     "is no time", // minute 62
		"001E200000100038":                     "is no time", // 30 February
		"0001200000100000":                     "its interval is 0",
		"0001200000100138":                     "more than one unit",
		"0001200000101800":                     "is not between 1 and 23", // 24 hours
		"0001200000100039":                     "",
		"000120000010003A":                     "are not 0",
		"0001200000182000":                     "weekday 0 is not between 1 and 7",
		"000120000019A000":                     "number of weeks 5 is not between 1 and 4",
		"0001200000192002":                     "bits 12 to 1 are not 0",
		"0001200000210A00":                     "week 5 is not between 0 and 4",
		"0001200000210000":                     "number of months 0",
		"0001200000211100":                     "bits 8 to 1 are not 0",
		"0001200000300000":                     "recurrence 6 is not known",
		"0001200000000000":                     "recurrence 0 is not known",
		"00012000002FB000":                     "it never comes", // 30 February, every 12 months
		strings.Repeat("0001200000100038", 16): "up to 15 times",
		"0 4 * * *" + strings.Repeat(" ", 256): "bytes, at most 256",
	} {
		s, err := schedule.Parse(text)
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && err == nil:
			t.Errorf("%q is taken for %q", text, s)
		case want != "" && !strings.Contains(err.Error(), want):
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestZeroValueNeverComes(t *testing.T) {
	var s schedule.Schedule
	if next, ok := s.Next(time.Time{}); ok || !s.IsZero() || s.String() != "never" {
		t.Errorf("%q comes at %s", s, next)
	}
	if _, ok := parse(t, "* * * * *").Next(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)); ok {
		t.Error("there is an instant behind the year 9999")
	}
}

// values draws a field with what it means, expanded one by one.
func values(t *rapid.T, name string, low, high int) (text string, set map[int]bool) {
	set = map[int]bool{}
	var terms []string
	for range rapid.IntRange(1, 3).Draw(t, name+" terms") {
		from, to, step := low, high, 1
		switch rapid.IntRange(0, 3).Draw(t, name+" form") {
		case 0:
			from = rapid.IntRange(low, high).Draw(t, name)
			to = from
			terms = append(terms, fmt.Sprint(from))
		case 1:
			from = rapid.IntRange(low, high).Draw(t, name+" from")
			to = rapid.IntRange(from, high).Draw(t, name+" to")
			terms = append(terms, fmt.Sprintf("%d-%d", from, to))
		case 2:
			from = rapid.IntRange(low, high).Draw(t, name+" from")
			to = rapid.IntRange(from, high).Draw(t, name+" to")
			step = rapid.IntRange(1, 20).Draw(t, name+" step")
			terms = append(terms, fmt.Sprintf("%d-%d/%d", from, to, step))
		case 3:
			step = rapid.IntRange(1, 20).Draw(t, name+" step")
			terms = append(terms, fmt.Sprintf("*/%d", step))
			if name == "weekday" {
				to = 6
			}
		}
		for n := from; n <= to; n += step {
			set[n] = true
		}
	}
	return strings.Join(terms, ","), set
}

// TestSameAsMinuteByMinute looks at each minute of some weeks.
func TestSameAsMinuteByMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minute, minutes := values(t, "minute", 0, 59)
		hour, hours := values(t, "hour", 0, 23)
		day, days := values(t, "day", 1, 31)
		month, months := values(t, "month", 1, 12)
		weekday, weekdays := values(t, "weekday", 0, 7)
		text := strings.Join([]string{minute, hour, day, month, weekday}, " ")
		s, err := schedule.Parse(text)
		if err != nil {
			if strings.Contains(err.Error(), "never comes") {
				return
			}
			t.Fatal(err)
		}
		start := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "begins in")), rapid.IntRange(1, 28).Draw(t, "on"), 22, 59, 30, 0, time.UTC)
		end := start.AddDate(0, 0, 20)
		is := func(x time.Time) bool {
			onDay, onWeekday := days[x.Day()], weekdays[int(x.Weekday())] || x.Weekday() == 0 && weekdays[7]
			on := onDay && onWeekday
			if day[0] != '*' && weekday[0] != '*' {
				on = onDay || onWeekday
			}
			return minutes[x.Minute()] && hours[x.Hour()] && on && months[int(x.Month())]
		}
		next, ok := s.Next(start)
		for x := start.Truncate(time.Minute).Add(time.Minute); x.Before(end); x = x.Add(time.Minute) {
			if !is(x) {
				continue
			}
			if !ok || !next.Equal(x) {
				t.Fatalf("%q comes at %s, but at %s (%t) here", text, x, next, ok)
			}
			next, ok = s.Next(next)
		}
		if ok && next.Before(end) {
			t.Fatalf("%q does not come at %s", text, next)
		}
	})
}

// TestTokenSameAsDayByDay looks at each day of some years.
func TestTokenSameAsDayByDay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Date(rapid.IntRange(1970, 2033).Draw(t, "year"), time.Month(rapid.IntRange(1, 12).Draw(t, "month")),
			rapid.IntRange(1, 28).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute"), 0, 0, time.UTC)
		bits := uint64(start.Minute())<<58 | uint64(start.Hour())<<53 | uint64(start.Day())<<48 | uint64(start.Month())<<44 | uint64(start.Year()-1970)<<38
		bits |= rapid.Uint64Range(0, 1<<16-1).Draw(t, "duration")<<22 | rapid.Uint64Range(0, 1).Draw(t, "utc")
		weekday := rapid.IntRange(1, 7).Draw(t, "weekday")
		n := rapid.IntRange(1, 12).Draw(t, "every")
		date := rapid.IntRange(0, 31).Draw(t, "date")
		order := rapid.IntRange(0, 4).Draw(t, "order")
		month := func(x time.Time) bool {
			return (12*x.Year()+int(x.Month())-12*start.Year()-int(start.Month()))%n == 0
		}
		var is func(x time.Time) bool
		switch rapid.IntRange(3, 5).Draw(t, "recurrence") {
		case 3:
			n = (n-1)%4 + 1
			bits |= 3<<19 | uint64(weekday)<<16 | uint64(n)<<13
			first := start
			for int(first.Weekday()) != weekday-1 {
				first = first.AddDate(0, 0, 1)
			}
			is = func(x time.Time) bool { return int(x.Sub(first).Hours()/24)%(7*n) == 0 && !x.Before(first) }
		case 4:
			bits |= 4<<19 | uint64(weekday)<<16 | uint64(n)<<12 | uint64(order)<<9
			is = func(x time.Time) bool {
				right := (x.Day()-1)/7 == order-1
				if order == 0 {
					right = x.AddDate(0, 0, 7).Month() != x.Month()
				}
				return month(x) && int(x.Weekday()) == weekday-1 && right
			}
		case 5:
			bits |= 5<<19 | uint64(date)<<14 | uint64(n)<<10
			is = func(x time.Time) bool {
				return month(x) && (x.Day() == date || date == 0 && x.AddDate(0, 0, 1).Day() == 1)
			}
		}
		s, err := schedule.Parse(fmt.Sprintf("%016X", bits))
		if err != nil {
			if strings.Contains(err.Error(), "never comes") && n == 12 && date > 28 {
				return
			}
			t.Fatal(err)
		}
		now := start.AddDate(0, 0, rapid.IntRange(-40, 4000).Draw(t, "days later"))
		next, ok := s.Next(now)
		for i, x := 0, now.AddDate(0, 0, 1); i < 1500; i, x = i+1, x.AddDate(0, 0, 1) {
			if x.Before(start) || !is(x) {
				continue
			}
			if !ok || !next.Equal(x) {
				t.Fatalf("%s comes at %s, but at %s (%t) here", s, x, next, ok)
			}
			next, ok = s.Next(next)
		}
		if ok && next.Before(now.AddDate(0, 0, 1500)) {
			t.Fatalf("%s does not come at %s", s, next)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"0 4 * * *", "*/15 8-18/2 1,15 jan-mar mon-fri", "0 0 29 2 *", "7913788000080000", "A9788980001B4000",
		"000A470000284400", "791378800008000055147880001B200055177880001E2000", "0001200000100038", "0 0 31 2 *", "0001200000231400"} {
		f.Add(text, int64(1_700_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, now int64) {
		s, err := schedule.Parse(text)
		if err != nil {
			return
		}
		_ = s.String()
		after := time.Unix(now%(1<<38), 0)
		for range 3 {
			next, ok := s.Next(after)
			if !ok {
				break
			}
			if !next.After(after) || next.Second() != 0 || next.Nanosecond() != 0 {
				t.Fatalf("%q: after %s comes %s", text, after, next)
			}
			if again, _ := s.Next(next.Add(-time.Nanosecond)); !again.Equal(next) {
				t.Fatalf("%q: just before %s comes %s", text, next, again)
			}
			after = next
		}
	})
}
