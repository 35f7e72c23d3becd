package schema

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ParseValue turns a text into a value of a property; of one that holds several, into
// a list of one. The error says what the text should be.
func ParseValue(p *Property, text string) (Value, error) {
	if p.List {
		return Value{Set: true, List: []string{text}}, nil
	}
	v := Value{Set: true}
	var err error
	switch p.Type {
	case Text:
		v.Text = text
	case Number:
		v.Number, err = ParseNumber(text)
	case Date:
		v.Number, err = ParseDate(text)
	case Bool:
		var is bool
		if is, err = ParseBool(text); is {
			v.Number = 1
		}
	default:
		err = fmt.Errorf("property %s: no type", p.Name)
	}
	if err != nil {
		return Value{}, err
	}
	return v, nil
}

// FormatValue prints a value of a property so that [ParseValue] reads it: "" for
// none, a date as RFC 3339 in UTC, a bool as True or False. The values of a list
// are parted by ", ".
func FormatValue(p *Property, v Value) string {
	switch {
	case !v.Set:
		return ""
	case p.List:
		return strings.Join(v.List, ", ")
	}
	switch p.Type {
	case Number:
		return strconv.FormatInt(v.Number, 10)
	case Date:
		return FormatDate(v.Number)
	case Bool:
		if v.Number != 0 {
			return "True"
		}
		return "False"
	}
	return v.Text
}

// ParseNumber reads a whole number of 64 bits: digits, with a sign before them or
// not, and spaces around.
func ParseNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number of 64 bits", shorten(text))
	}
	return n, nil
}

// ParseBool reads True or False in any case, 1 or 0.
func ParseBool(text string) (bool, error) {
	switch t := strings.TrimSpace(text); {
	case t == "1", strings.EqualFold(t, "true"):
		return true, nil
	case t == "0", strings.EqualFold(t, "false"):
		return false, nil
	}
	return false, fmt.Errorf("%q is not True, False, 1 or 0", shorten(text))
}

// The bounds of a date in Unix milliseconds: the years 1 to 9999.
const (
	MinDate = -62135596800000
	MaxDate = 253402300799999
)

// dateLayouts are the forms of a date, besides CIM's; those without a zone are UTC.
// A fraction of a second may follow the seconds in all of them.
var dateLayouts = []string{
	time.RFC3339,
	"2006-01-02",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04",
	"2006-01-02T15:04",
	"2006-01-02 15:04:05Z07:00",
	"1/2/2006",
	"1/2/2006 15:04:05",
	"1/2/2006 15:04",
	"1/2/2006 3:04:05 PM",
	"1/2/2006 3:04 PM",
}

// ParseDate reads an instant and returns it in Unix milliseconds; what is finer is
// cut. It takes RFC 3339, "2026-11-28", "2026-11-28 13:00:00", "11/28/2026" (month
// first) with or without a time of day, and CIM's "20261128130000.000000+060" (the
// last three digits are minutes from UTC). What names no zone is UTC.
func ParseDate(text string) (int64, error) {
	t := strings.TrimSpace(text)
	for _, layout := range dateLayouts {
		if d, err := time.Parse(layout, t); err == nil {
			return checkDate(text, d)
		}
	}
	if d, ok := parseCIM(t); ok {
		return checkDate(text, d)
	}
	return 0, fmt.Errorf("%q is not a date such as 2026-11-28, 2026-11-28 13:00:00 or 2026-11-28T13:00:00Z", shorten(text))
}

func checkDate(text string, d time.Time) (int64, error) {
	ms := d.UnixMilli()
	if ms < MinDate || ms > MaxDate {
		return 0, fmt.Errorf("date %q: the years 1 to 9999 are taken", shorten(text))
	}
	return ms, nil
}

// parseCIM reads yyyymmddHHMMSS.mmmmmm+UUU.
func parseCIM(t string) (time.Time, bool) {
	if len(t) != 25 || t[14] != '.' || t[21] != '+' && t[21] != '-' {
		return time.Time{}, false
	}
	zone, err := strconv.ParseUint(t[22:], 10, 16)
	if err != nil {
		return time.Time{}, false
	}
	d, err := time.Parse("20060102150405.000000", t[:21])
	if err != nil {
		return time.Time{}, false
	}
	if t[21] == '-' {
		return d.Add(time.Duration(zone) * time.Minute), true
	}
	return d.Add(-time.Duration(zone) * time.Minute), true
}

// FormatDate prints an instant as RFC 3339 in UTC, with milliseconds if there are
// any.
func FormatDate(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z07:00")
}

// maxShown is how many bytes of a text an error repeats.
const maxShown = 64

func shorten(s string) string {
	if len(s) <= maxShown {
		return strings.ToValidUTF8(s, "?")
	}
	n := maxShown
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.ToValidUTF8(s[:n], "?") + "…"
}
