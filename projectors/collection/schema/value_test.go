package schema_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

func TestParseDate(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-28":                "2026-11-28T00:00:00Z",
		" 2026-11-28 ":              "2026-11-28T00:00:00Z",
		"2026-11-28 13:00:00":       "2026-11-28T13:00:00Z",
		"2026-11-28 13:00:00.25":    "2026-11-28T13:00:00.25Z",
		"2026-11-28 13:00":          "2026-11-28T13:00:00Z",
		"2026-11-28T13:00":          "2026-11-28T13:00:00Z",
		"2026-11-28T13:00:00":       "2026-11-28T13:00:00Z",
		"2026-11-28T13:00:00Z":      "2026-11-28T13:00:00Z",
		"2026-11-28T13:00:00.1239Z": "2026-11-28T13:00:00.123Z",
		"2026-11-28T13:00:00+01:00": "2026-11-28T12:00:00Z",
		"2026-11-28 13:00:00-05:30": "2026-11-28T18:30:00Z",
		"11/28/2026":                "2026-11-28T00:00:00Z",
		"1/2/2026":                  "2026-01-02T00:00:00Z",
		"11/28/2026 13:00:00":       "2026-11-28T13:00:00Z",
		"11/28/2026 1:00:00 PM":     "2026-11-28T13:00:00Z",
		"11/28/2026 1:00 AM":        "2026-11-28T01:00:00Z",
		"20261128130000.000000+000": "2026-11-28T13:00:00Z",
		"20261128130000.123000+060": "2026-11-28T12:00:00.123Z",
		"20261128130000.000000-330": "2026-11-28T18:30:00Z",
		"0001-01-01":                "0001-01-01T00:00:00Z",
		"9999-12-31T23:59:59.9999Z": "9999-12-31T23:59:59.999Z",
		"1969-12-31T23:59:59.9999Z": "1969-12-31T23:59:59.999Z",
		"2024-02-29":                "2024-02-29T00:00:00Z",
	} {
		got, err := schema.ParseDate(text)
		if err != nil || schema.FormatDate(got) != want {
			t.Errorf("%q: %s, %v, want %s", text, schema.FormatDate(got), err, want)
			continue
		}
		if again, err := schema.ParseDate(want); err != nil || again != got {
			t.Errorf("%q: %d, then %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{
		"", "abc", "2026", "2026-13-01", "2025-02-29", "28/11/2026", "28.11.2026", "2026-11-28 25:00", "0000-01-01", "10000-01-01",
		"0001-01-01T00:00:00+01:00", "20261128", "20261128130000.000000", "20261128130000.******+000", "20261128130000.000000+-60", "20261328130000.000000+000",
		strings.Repeat("2026-11-28", 1000),
	} {
		if got, err := schema.ParseDate(text); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.40q is taken as %s, %.300v", text, schema.FormatDate(got), err)
		}
	}
	if schema.MinDate != time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() || schema.MaxDate != time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()-1 {
		t.Error("bounds of dates")
	}
}

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, " 8 ": 8, "+8": 8, "-8": -8, "007": 7, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64} {
		if got, err := schema.ParseNumber(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "abc", "8.5", "8.0", "0x10", "1_000", "1e3", "9223372036854775808", "- 8"} {
		if got, err := schema.ParseNumber(text); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

func TestParseBool(t *testing.T) {
	for text, want := range map[string]bool{"True": true, "FALSE": false, "true": true, "1": true, " 0 ": false} {
		if got, err := schema.ParseBool(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "yes", "2", "t", "01"} {
		if got, err := schema.ParseBool(text); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}

func TestParseValue(t *testing.T) {
	for _, c := range []struct {
		property    schema.Property
		text, again string
		err         string
	}{
		{schema.Property{Name: "P", Type: schema.Text}, " as it is ", " as it is ", ""},
		{schema.Property{Name: "P", Type: schema.Text, List: true}, "one, two", "one, two", ""},
		{schema.Property{Name: "P", Type: schema.Number}, "+7", "7", ""},
		{schema.Property{Name: "P", Type: schema.Bool}, "1", "True", ""},
		{schema.Property{Name: "P", Type: schema.Bool}, "false", "False", ""},
		{schema.Property{Name: "P", Type: schema.Date}, "11/28/2026", "2026-11-28T00:00:00Z", ""},
		{schema.Property{Name: "P", Type: schema.Number}, "x", "", `"x" is not a whole number of 64 bits`},
		{schema.Property{Name: "P", Type: schema.Bool}, "x", "", `"x" is not True, False, 1 or 0`},
		{schema.Property{Name: "P", Type: schema.Date}, "x", "", `"x" is not a date such as 2026-11-28, 2026-11-28 13:00:00 or 2026-11-28T13:00:00Z`},
		{schema.Property{Name: "P"}, "x", "", `property P: no type`},
	} {
		v, err := schema.ParseValue(&c.property, c.text)
		if c.err != "" {
			if err == nil || err.Error() != c.err || v.Set {
				t.Errorf("%q as %s: %+v, %v", c.text, c.property.Type, v, err)
			}
			continue
		}
		if got := schema.FormatValue(&c.property, v); err != nil || !v.Set || got != c.again {
			t.Errorf("%q as %s: %q, %v", c.text, c.property.Type, got, err)
		}
	}
	if got := schema.FormatValue(&schema.Property{Type: schema.Number}, schema.Value{}); got != "" {
		t.Errorf("no value is %q", got)
	}
}

func TestKey(t *testing.T) {
	c := &schema.Class{Properties: []schema.Property{
		{Name: "A", Type: schema.Text, Key: true}, {Name: "B", Type: schema.Text}, {Name: "C", Type: schema.Number, Key: true},
	}}
	text := func(s string) schema.Value { return schema.Value{Set: true, Text: s} }
	n := schema.Value{Set: true, Number: 7}
	for _, k := range []struct {
		row  schema.Row
		want string
	}{
		{schema.Row{text("Ä"), text("x"), n}, "ä|7"},
		{schema.Row{text("Ä")}, "ä|"},
		{nil, "|"},
		{schema.Row{text(`a|b\`), {}, n}, `a\|b\\|7`},
	} {
		if got := schema.Key(c, k.row); got != k.want {
			t.Errorf("%v: %q, want %q", k.row, got, k.want)
		}
	}
	if got := schema.Key(&schema.Class{Properties: c.Properties[1:2]}, schema.Row{text("x")}); got != "" {
		t.Errorf("without keys: %q", got)
	}
	long := schema.Key(c, schema.Row{text(strings.Repeat("ä", 1000) + "1")})
	other := schema.Key(c, schema.Row{text(strings.Repeat("ä", 1000) + "2")})
	if len(long) > schema.MaxKey || long == other || !strings.HasPrefix(long, "ää") {
		t.Errorf("long keys %q and %q", long, other)
	}
	if same := schema.Key(c, schema.Row{text(strings.Repeat("Ä", 1000) + "1")}); same != long {
		t.Errorf("a long key in another case: %q, want %q", same, long)
	}
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"2026-11-28", "11/28/2026 1:00 PM", "20261128130000.123000+060", "2026-11-28T13:00:00.5+01:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ms, err := schema.ParseDate(text)
		if err != nil {
			return
		}
		if again, err := schema.ParseDate(schema.FormatDate(ms)); err != nil || again != ms {
			t.Errorf("%q is %d, printed and read again %d, %v", text, ms, again, err)
		}
	})
}
