package window

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func parse(t testing.TB, text string) List {
	t.Helper()
	l, err := Parse([]byte("[" + text + "]"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// at reads a wall time of loc.
func at(t testing.TB, loc *time.Location, text string) time.Time {
	t.Helper()
	v, err := time.ParseInLocation("2006-01-02 15:04", text, loc)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func show(s Span, loc *time.Location) string {
	return s.Open.In(loc).Format("2006-01-02 15:04") + " " + s.Length().String()
}

func wantNext(t *testing.T, l List, now time.Time, loc *time.Location, want string) {
	t.Helper()
	s, ok := l.Next(now, loc)
	if !ok || show(s, loc) != want {
		t.Errorf("at %s the next window is %s (%t), want %s", now.In(loc), show(s, loc), ok, want)
	}
}

const daily6 = `{"name":"a","utc":true,"start":"2026-11-01T06:00","minutes":60,"every":{"unit":"day"}},
	{"name":"b","utc":true,"start":"2026-11-01T06:30","minutes":60,"every":{"unit":"day"}}`

func TestMW1OverlappingWindowsAreOne(t *testing.T) {
	l := parse(t, daily6)
	for _, now := range []string{"2026-11-28 05:00", "2026-11-28 06:00", "2026-11-28 06:40", "2026-11-28 07:29"} {
		wantNext(t, l, at(t, time.UTC, now), time.UTC, "2026-11-28 06:00 1h30m0s")
	}
	wantNext(t, l, at(t, time.UTC, "2026-11-28 07:30"), time.UTC, "2026-11-29 06:00 1h30m0s")
	if a := l.Fits(at(t, time.UTC, "2026-11-28 06:00"), time.UTC, General, Need(time.Hour)); !a.Run {
		t.Errorf("65 min do not fit into 90: %+v", a)
	}
	// Windows that only touch are one too.
	l = parse(t, strings.Replace(daily6, "T06:30", "T07:00", 1))
	wantNext(t, l, at(t, time.UTC, "2026-11-28 05:00"), time.UTC, "2026-11-28 06:00 2h0m0s")
}

func TestMW2WindowThatIsTooShort(t *testing.T) {
	l := parse(t, `{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"week"}}`)
	now := at(t, time.UTC, "2026-11-27 12:00")
	for run, why := range map[time.Duration]string{
		0:                "opens Sat 01:00 for 60 min; needs 65; no window is long enough",
		time.Hour:        "opens Sat 01:00 for 60 min; needs 65; no window is long enough",
		55 * time.Minute: "opens Sat 01:00 for 60 min; needs more than 60; no window is long enough",
	} {
		if a := l.Fits(now, time.UTC, General, Need(run)); a.Run || !a.Next.IsZero() || a.Why != why {
			t.Errorf("%s: %+v, want %q", run, a, why)
		}
	}
	open := at(t, time.UTC, "2026-11-28 01:00")
	if a := l.Fits(open, time.UTC, General, Need(54*time.Minute)); !a.Run || a.Now.Open != open {
		t.Errorf("59 min do not fit into 60: %+v", a)
	}
	a := l.Fits(open.Add(time.Minute), time.UTC, General, Need(54*time.Minute))
	if want := "open for another 59 min; opens Sat 5 Dec 2026 01:00 for 60 min; needs 59"; a.Run || a.Why != want || a.Next.Open != open.AddDate(0, 0, 7) {
		t.Errorf("what is left is not more than needed: %+v", a)
	}
}

func TestMW3UpdatesKeepToUpdateWindows(t *testing.T) {
	l := parse(t, `{"name":"all","utc":true,"start":"2026-11-28T01:00","minutes":180,"every":{"unit":"day"}},
		{"name":"patch","kind":"updates","utc":true,"start":"2026-11-28T12:00","minutes":120,"every":{"unit":"day"}}`)
	night, noon := at(t, time.UTC, "2026-11-28 01:10"), at(t, time.UTC, "2026-11-28 12:10")
	for _, c := range []struct {
		now  time.Time
		kind Kind
		run  bool
	}{{night, Updates, false}, {noon, Updates, true}, {night, General, true}, {noon, General, false},
		{night, TaskSequences, true}, {noon, TaskSequences, false}} {
		if a := l.Fits(c.now, time.UTC, c.kind, Need(time.Hour)); a.Run != c.run || !a.Run && a.Next.IsZero() {
			t.Errorf("%s at %s: %+v", c.kind, c.now, a)
		}
	}
}

func TestMW4UpdatesUseGeneralWindowsIfThereAreNoOthers(t *testing.T) {
	l := parse(t, `{"name":"all","utc":true,"start":"2026-11-28T01:00","minutes":180,"every":{"unit":"day"}},
		{"name":"off","enabled":false,"kind":"updates","utc":true,"start":"2026-11-28T12:00","minutes":120,"every":{"unit":"day"}}`)
	if a := l.Fits(at(t, time.UTC, "2026-11-28 01:10"), time.UTC, Updates, Need(0)); !a.Run {
		t.Errorf("%+v", a)
	}
	if a := l.Fits(at(t, time.UTC, "2026-11-28 12:10"), time.UTC, Updates, Need(0)); a.Run {
		t.Errorf("%+v", a)
	}
	if a := l[1:].Fits(at(t, time.UTC, "2026-11-28 03:10"), time.UTC, Updates, Need(0)); !a.Run {
		t.Errorf("without a window that counts any time is good: %+v", a)
	}
	over := parse(t, `{"name":"over","utc":true,"start":"2020-01-01T00:00","minutes":60}`)
	if a := over.Fits(at(t, time.UTC, "2026-11-28 12:10"), time.UTC, Updates, Need(0)); a.Run || !a.Next.IsZero() || a.Why != "all windows are over" {
		t.Errorf("a window that is over: %+v", a)
	}
}

func TestMW5DaylightSaving(t *testing.T) {
	berlin := zone(t, "Europe/Berlin") // 29 March 2026 02:00 -> 03:00, 25 October 03:00 -> 02:00
	utc := parse(t, `{"name":"u","utc":true,"start":"2026-01-01T01:00","minutes":120,"every":{"unit":"day"}}`)
	local := parse(t, `{"name":"l","start":"2026-01-01T01:00","minutes":120,"every":{"unit":"day"}}`)
	for _, day := range []string{"2026-01-10", "2026-03-28", "2026-03-29", "2026-03-30", "2026-07-10", "2026-10-24", "2026-10-25", "2026-10-26"} {
		now := at(t, time.UTC, day+" 00:30")
		wantNext(t, utc, now, time.UTC, day+" 01:00 2h0m0s")
		if s, _ := utc.Next(now, berlin); show(s, time.UTC) != day+" 01:00 2h0m0s" {
			t.Errorf("a UTC window in Berlin opens %s", s.Open)
		}
		wantNext(t, local, at(t, berlin, day+" 00:30"), berlin, day+" 01:00 2h0m0s")
	}
	// 02:30 is skipped on 29 March: the window opens when the clocks are put, at
	// 03:00 which is 01:00 UTC. On 25 October it comes twice: the first counts.
	inside := parse(t, `{"name":"i","start":"2026-01-01T02:30","minutes":60,"every":{"unit":"day"}}`)
	for now, want := range map[string]string{"2026-03-28 12:00": "2026-03-29 01:00 1h0m0s",
		"2026-10-24 12:00": "2026-10-25 00:30 1h0m0s", "2026-10-25 01:30": "2026-10-26 01:30 1h0m0s"} {
		if s, ok := inside.Next(at(t, time.UTC, now), berlin); !ok || show(s, time.UTC) != want {
			t.Errorf("at %s the next window is %s, want %s, in UTC", now, show(s, time.UTC), want)
		}
	}

	// Half an hour in Lord Howe; a day that Samoa skipped; the other hemisphere.
	howe := zone(t, "Australia/Lord_Howe")
	wantNext(t, parse(t, `{"name":"h","start":"2026-10-04T02:15","minutes":60}`), at(t, time.UTC, "2026-10-03 00:00"), howe, "2026-10-04 02:30 1h0m0s")
	apia := zone(t, "Pacific/Apia")
	wantNext(t, parse(t, `{"name":"s","start":"2011-12-30T10:00","minutes":60}`), at(t, time.UTC, "2011-12-01 00:00"), apia, "2011-12-31 00:00 1h0m0s")
	santiago := zone(t, "America/Santiago") // clocks go from 24:00 to 01:00: midnight is skipped
	wantNext(t, parse(t, `{"name":"m","start":"2026-09-01T00:00","minutes":60,"every":{"unit":"day"}}`),
		at(t, santiago, "2026-09-05 12:00"), santiago, "2026-09-06 01:00 1h0m0s")
}

func TestMW6OffsetBehindAWeekday(t *testing.T) {
	const every = `"every":{"unit":"month","nth":"second","weekday":"tue","offset":2}}`
	l := parse(t, `{"name":"patch","utc":true,"start":"2026-01-01T01:00","minutes":180,`+every)
	wantNext(t, l, at(t, time.UTC, "2026-11-01 00:00"), time.UTC, "2026-11-12 01:00 3h0m0s")
	wantNext(t, l, at(t, time.UTC, "2026-11-13 00:00"), time.UTC, "2026-12-10 01:00 3h0m0s")
	// The last Monday of November 2026 is the 30th: two days later is December.
	last := strings.NewReplacer("second", "last", "tue", "mon").Replace(every)
	l = parse(t, `{"name":"end","utc":true,"start":"2026-01-01T01:00","minutes":180,`+last)
	wantNext(t, l, at(t, time.UTC, "2026-11-20 00:00"), time.UTC, "2026-12-02 01:00 3h0m0s")
	wantNext(t, l, at(t, time.UTC, "2026-12-03 00:00"), time.UTC, "2026-12-30 01:00 3h0m0s")
	// The second Tuesday of February 2027 is the 9th: 25 days later is March.
	second := strings.NewReplacer("\"offset\":2", "\"offset\":25").Replace(every)
	l = parse(t, `{"name":"far","utc":true,"start":"2026-01-01T01:00","minutes":180,`+second)
	wantNext(t, l, at(t, time.UTC, "2027-02-20 00:00"), time.UTC, "2027-03-06 01:00 3h0m0s")
	wantNext(t, l, at(t, time.UTC, "2027-03-06 05:00"), time.UTC, "2027-04-03 01:00 3h0m0s")
	// One that lands on the last day of a month is there too, in every month of a
	// year there is one.
	l = parse(t, `{"name":"each","utc":true,"start":"2026-01-01T01:00","minutes":60,"every":{"unit":"month","nth":"fourth","weekday":"tue","offset":3}}`)
	if n := len(l.Between(at(t, time.UTC, "2026-01-01 00:00"), at(t, time.UTC, "2028-01-01 00:00"), time.UTC)); n != 24 {
		t.Errorf("%d windows in 24 months", n)
	}
	wantNext(t, l, at(t, time.UTC, "2026-07-20 00:00"), time.UTC, "2026-07-31 01:00 1h0m0s")
	// Every third month is counted by the weekday's month.
	l = parse(t, `{"name":"q","utc":true,"start":"2026-01-31T01:00","minutes":60,"every":{"unit":"month","n":3,"nth":"last","weekday":"sat","offset":27}}`)
	wantNext(t, l, at(t, time.UTC, "2026-02-01 00:00"), time.UTC, "2026-02-27 01:00 1h0m0s")
	wantNext(t, l, at(t, time.UTC, "2026-03-01 00:00"), time.UTC, "2026-05-22 01:00 1h0m0s")
}

func TestMW7OverMidnight(t *testing.T) {
	l := parse(t, `{"name":"night","utc":true,"start":"2026-11-01T23:00","minutes":180,"every":{"unit":"week","on":["fri"]}}`)
	for _, now := range []string{"2026-11-27 22:00", "2026-11-27 23:30", "2026-11-28 01:59"} {
		wantNext(t, l, at(t, time.UTC, now), time.UTC, "2026-11-27 23:00 3h0m0s")
	}
	wantNext(t, l, at(t, time.UTC, "2026-11-28 02:00"), time.UTC, "2026-12-04 23:00 3h0m0s")
}

func TestMW8LastDayOfTheMonth(t *testing.T) {
	l := parse(t, `{"name":"end","utc":true,"start":"2026-01-01T20:00","minutes":60,"every":{"unit":"month","day":"last"}}`)
	wantNext(t, l, at(t, time.UTC, "2027-02-01 00:00"), time.UTC, "2027-02-28 20:00 1h0m0s")
	wantNext(t, l, at(t, time.UTC, "2028-02-01 00:00"), time.UTC, "2028-02-29 20:00 1h0m0s")
	wantNext(t, l, at(t, time.UTC, "2028-03-01 00:00"), time.UTC, "2028-03-31 20:00 1h0m0s")
	// By date: a month without that day has none.
	l = parse(t, `{"name":"31","utc":true,"start":"2026-01-01T20:00","minutes":60,"every":{"unit":"month","day":31}}`)
	wantNext(t, l, at(t, time.UTC, "2027-02-01 00:00"), time.UTC, "2027-03-31 20:00 1h0m0s")
	l = parse(t, `{"name":"29","utc":true,"start":"2096-02-29T20:00","minutes":60,"every":{"unit":"month","n":12,"day":29}}`)
	wantNext(t, l, at(t, time.UTC, "2096-03-01 00:00"), time.UTC, "2104-02-29 20:00 1h0m0s")
}

// In every year of the next centuries a window opens when the clock shows its
// time, also in those for which a zone has a rule and no table.
func TestFarYears(t *testing.T) {
	l := parse(t, `{"name":"eve","start":"2026-12-31T22:00","minutes":240,"every":{"unit":"month","n":12,"day":"last"}},
		{"name":"new","start":"2026-12-01T00:30","minutes":60,"every":{"unit":"month","day":1}}`)
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia"} {
		loc := zone(t, name)
		for year := 2026; year < 2226; year++ {
			for _, now := range []time.Time{
				time.Date(year, 12, 30, 12, 0, 0, 0, time.UTC), time.Date(year, 12, 31, 3, 0, 0, 0, time.UTC)} {
				want := time.Date(year, 12, 31, 22, 0, 0, 0, loc)
				if s, ok := l.Next(now, loc); !ok || !s.Open.Equal(want) || s.Length() != 4*time.Hour {
					t.Fatalf("%s, at %s: %s, want %s", name, now, show(s, loc), want)
				}
			}
		}
	}
}

// A window that never closes is cut, and a calendar of it is one span.
func TestWindowWithoutEnd(t *testing.T) {
	l := parse(t, `{"name":"always","utc":true,"start":"1970-01-01T00:00","minutes":1440,"every":{"unit":"day"}}`)
	now := at(t, time.UTC, "2026-11-28 12:00")
	s, ok := l.Next(now, time.UTC)
	if left := s.Close.Sub(now); !ok || s.Open.After(now) || left < reach || left > reach+48*time.Hour {
		t.Errorf("open from %s to %s", s.Open, s.Close)
	}
	if a := l.Fits(now, time.UTC, General, Need(24*time.Hour)); !a.Run {
		t.Errorf("%+v", a)
	}
	if got := l.Between(now, now.AddDate(0, 6, 0), time.UTC); len(got) != 1 || got[0].Close.Before(now.AddDate(0, 6, 0)) {
		t.Errorf("half a year is %v", got)
	}
}

// The sentence names what opens first, and what is long enough if that is another.
func TestWhy(t *testing.T) {
	l := parse(t, `{"name":"short","utc":true,"start":"2026-11-28T01:00","minutes":60},
		{"name":"long","utc":true,"start":"2026-11-29T02:00","minutes":240}`)
	now := at(t, time.UTC, "2026-11-27 12:00")
	for run, want := range map[time.Duration]string{
		30 * time.Minute: "opens Sat 01:00 for 60 min; needs 35",
		time.Hour:        "opens Sat 01:00 for 60 min; needs 65; the next that is long enough opens Sun 02:00 for 240 min",
	} {
		if a := l.Fits(now, time.UTC, General, Need(run)); a.Run || a.Why != want {
			t.Errorf("%+v, want %q", a, want)
		}
	}
	berlin := zone(t, "Europe/Berlin")
	if a := l.Fits(now, berlin, General, Need(0)); !strings.HasPrefix(a.Why, "opens Sat 02:00 for 60 min") {
		t.Errorf("a person reads the time of the machine: %q", a.Why)
	}
}
