package window

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var saturday = time.Date(2026, 11, 28, 1, 0, 0, 0, time.UTC)

func TestParseEvery(t *testing.T) {
	for text, want := range map[string]string{
		"once": "once", "day": "day", "every day": "day", "1 day": "day", "2 days": "2 days", "Every 2 Days": "2 days",
		"week": "week on sat", "2 weeks": "2 weeks on sat", "week on sun,mon": "week on mon,sun", "week on sun, mon": "week on mon,sun",
		"month on second tue": "month on second tue", "month on Second Tue +2": "month on second tue +2", "3 months on last sat +2 days": "3 months on last sat +2",
		"month on second tue +0": "month on second tue",
		"month on day 31":        "month on day 31", "month on last day": "month on last day", "12 months on day 29": "12 months on day 29",
	} {
		e, err := ParseEvery(text, saturday)
		if err != nil || e.String() != want {
			t.Errorf("%q is %q, want %q, %v", text, e, want, err)
		}
	}
	for _, text := range []string{"", "every", "year", "2", "days on mon", "day on", "week mon", "week on", "week on tuesday", "month", "month on tue",
		"month on fifth tue", "month on second", "month on second tue 2", "month on second tue +2 weeks", "month on second tue + 2", "month on day", "month on day last", "month on day x",
		"month on last day +1", "99999999999999999999 days", "-1 days", strings.Repeat("day ", 100)} {
		if e, err := ParseEvery(text, saturday); err == nil || !strings.HasPrefix(err.Error(), "every") {
			t.Errorf("%q is taken as %q, %v", text, e, err)
		}
	}
	for text, want := range map[string]string{"0 days": "n 0", "400 days": "n 400: 1 to 366", "53 weeks": "n 53", "month on day 32": "day 32", "month on second tue +28": "offset 28"} {
		if e, err := ParseEvery(text, saturday); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is taken as %q, %v", text, e, err)
		}
	}
}

// What is written is read as the same.
func TestEveryInWords(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWindow(rt, saturday)
		// Only the fields of its unit are written.
		e := w.Every
		again, err := ParseEvery(e.String(), w.Start)
		if e.check() != nil {
			return
		}
		if err != nil || again.String() != e.String() {
			rt.Fatalf("%q is %q, %v", e, again, err)
		}
		u := w
		u.Every = again
		for i := range 400 {
			if d := dayOf(w.Start) + day(i); w.opens(d) != u.opens(d) {
				rt.Fatalf("%q opens on other days once it was read", e)
			}
		}
	})
}

func FuzzParseEvery(f *testing.F) {
	for _, text := range []string{"once", "2 weeks on sat,sun", "month on last fri +2 days", "3 months on day 31", "month on last day", "every day"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseEvery(text, saturday)
		if err != nil {
			return
		}
		if again, err := ParseEvery(e.String(), saturday); err != nil || again != e {
			t.Errorf("%q is %+v, and %q is %+v, %v", text, e, e.String(), again, err)
		}
	})
}
