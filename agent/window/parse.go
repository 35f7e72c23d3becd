package window

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Parse reads a JSON array of windows. It takes no field that it does not know:
// a definition with a slip in it must not become another window. (UnmarshalJSON,
// for whoever reads what a later version may have written, skips such fields.)
func Parse(b []byte) (List, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("windows: not an array of windows: %w", err)
	}
	if len(raw) > MaxWindows {
		return nil, fmt.Errorf("windows: %d of them, at most %d are taken", len(raw), MaxWindows)
	}
	l := make(List, len(raw))
	for i, r := range raw {
		if err := l[i].read(r, true); err != nil {
			return nil, fmt.Errorf("window %d: %w", i+1, err)
		}
	}
	return l, nil
}

// document is a window as JSON.
type document struct {
	Name    string `json:"name"`
	Enabled *bool  `json:"enabled,omitempty"`
	Kind    Kind   `json:"kind,omitempty"`
	UTC     bool   `json:"utc,omitempty"`
	Start   string `json:"start"`
	Minutes int64  `json:"minutes"`
	Every   *every `json:"every,omitempty"`
}

type every struct {
	Unit    string   `json:"unit"`
	N       *int     `json:"n,omitempty"`
	On      []string `json:"on,omitempty"`
	Nth     string   `json:"nth,omitempty"`
	Weekday string   `json:"weekday,omitempty"`
	Offset  int      `json:"offset,omitempty"`
	Day     any      `json:"day,omitempty"`
}

const startLayout = "2006-01-02T15:04"

var (
	weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	ordinals = []string{"", "first", "second", "third", "fourth", "last"}
	maxStep  = map[Unit]int{Day: 366, Week: 52, Nth: 12, Date: 12, Last: 12}
)

// maxDays is the longest offset in days: with it, a window is still of the month
// that it is counted in.
const maxDays = 27

// UnmarshalJSON reads a window and checks it. Fields that it does not know are
// skipped.
func (w *Window) UnmarshalJSON(b []byte) error { return w.read(b, false) }

func (w *Window) read(b []byte, strict bool) error {
	var d document
	dec := json.NewDecoder(bytes.NewReader(b))
	if strict {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(&d); err != nil {
		return fmt.Errorf("not a window: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("not a window: something follows it")
	}
	got, err := d.window()
	if err != nil {
		return fmt.Errorf("%q: %w", shorten(d.Name), err)
	}
	*w = got
	return nil
}

func shorten(s string) string {
	if len(s) > MaxName {
		s = s[:MaxName]
	}
	return strings.ToValidUTF8(s, "?")
}

func (d *document) window() (Window, error) {
	w := Window{Name: d.Name, Enabled: d.Enabled == nil || *d.Enabled, Kind: d.Kind, UTC: d.UTC}
	if w.Kind == "" {
		w.Kind = General
	}
	var err error
	if w.Start, err = time.Parse(startLayout, d.Start); err != nil {
		return w, fmt.Errorf("start %q: it is a date and a time such as 2026-11-28T01:00, with no zone", shorten(d.Start))
	}
	if d.Minutes < int64(MinLength/time.Minute) || d.Minutes > int64(MaxLength/time.Minute) {
		return w, fmt.Errorf("minutes %d: %d to %d are taken", d.Minutes, MinLength/time.Minute, MaxLength/time.Minute)
	}
	w.Length = time.Duration(d.Minutes) * time.Minute
	if d.Every != nil {
		if w.Every, err = d.Every.parse(w.Start); err != nil {
			return w, err
		}
	}
	return w, w.Check()
}

// Check tells what is wrong with a window, nil if nothing is.
func (w *Window) Check() error {
	switch {
	case w.Name == "" || len(w.Name) > MaxName || !utf8.ValidString(w.Name):
		return fmt.Errorf("name of %d bytes: 1 to %d of UTF-8 are taken", len(w.Name), MaxName)
	case !slices.Contains([]Kind{General, Updates, TaskSequences}, w.Kind):
		return fmt.Errorf("kind %q: it is general, updates or task-sequences", shorten(string(w.Kind)))
	case w.Start.Year() < 1970 || w.Start.Year() > 9000:
		return fmt.Errorf("start in the year %d: 1970 to 9000 are taken", w.Start.Year())
	case w.Start.Location() != time.UTC || w.Start.Truncate(time.Minute) != w.Start:
		return errors.New("start: a whole minute, kept as UTC")
	case w.Length < MinLength || w.Length > MaxLength || w.Length%time.Minute != 0:
		return fmt.Errorf("length %s: whole minutes from %s to %s are taken", w.Length, MinLength, MaxLength)
	}
	if err := w.Every.check(); err != nil {
		return err
	}
	if w.never() {
		return fmt.Errorf("day %d: none of its months has one; \"last\" is for the end of a month", w.Every.MonthDay)
	}
	return nil
}

func (e *Every) check() error {
	if e.Unit > Last {
		return fmt.Errorf("unit %d is none", e.Unit)
	}
	if e.Unit != Once && (e.N < 1 || e.N > maxStep[e.Unit]) {
		return fmt.Errorf("n %d: 1 to %d are taken", e.N, maxStep[e.Unit])
	}
	switch {
	case e.Unit == Week && e.On == [7]bool{}:
		return errors.New("on: no weekday")
	case e.Unit == Nth && (e.Nth < 1 || e.Nth > lastNth):
		return errors.New("nth: it is first, second, third, fourth or last")
	case e.Unit == Nth && (e.Weekday < time.Sunday || e.Weekday > time.Saturday):
		return errors.New("weekday: it is none")
	case e.Unit == Nth && (e.Offset < 0 || e.Offset > maxDays):
		return fmt.Errorf("offset %d: 0 to %d days are taken", e.Offset, maxDays)
	case e.Unit == Date && (e.MonthDay < 1 || e.MonthDay > 31):
		return fmt.Errorf("day %d: 1 to 31 are taken, or \"last\"", e.MonthDay)
	}
	return nil
}

func (d *every) parse(start time.Time) (e Every, err error) {
	e.N = 1
	if d.N != nil {
		e.N = *d.N
	}
	switch d.Unit {
	case "once":
		e = Every{}
	case "day":
		e.Unit = Day
	case "week":
		e.Unit = Week
		err = d.week(&e, start)
	case "month":
		err = d.month(&e)
	default:
		return e, fmt.Errorf("unit %q: it is once, day, week or month", shorten(d.Unit))
	}
	if err == nil {
		err = d.surplus(e.Unit)
	}
	return e, err
}

func (d *every) week(e *Every, start time.Time) error {
	if len(d.On) == 0 {
		e.On[start.Weekday()] = true
	}
	for _, name := range d.On {
		day, err := weekday(name)
		if err != nil {
			return err
		}
		e.On[day] = true
	}
	return nil
}

func (d *every) month(e *Every) (err error) {
	switch v := d.Day.(type) {
	case nil:
		e.Unit, e.Nth, e.Offset = Nth, max(0, slices.Index(ordinals, d.Nth)), d.Offset
		if e.Nth == 0 {
			return fmt.Errorf("nth %q: it is first, second, third, fourth or last; or give a day", shorten(d.Nth))
		}
		e.Weekday, err = weekday(d.Weekday)
		return err
	case float64:
		e.Unit, e.MonthDay = Date, int(v)
		if v != float64(int(v)) {
			return fmt.Errorf("day %v: it is a number of 1 to 31, or \"last\"", v)
		}
		return nil
	case string:
		if e.Unit = Last; v == "last" {
			return nil
		}
	}
	return errors.New("day: it is a number of 1 to 31, or \"last\"")
}

// surplus refuses fields of another form: they would be read as if they counted.
func (d *every) surplus(u Unit) error {
	switch {
	case u == Once && d.N != nil:
		return errors.New("n: once has none")
	case u != Week && len(d.On) > 0:
		return errors.New("on: only weeks have it")
	case u != Nth && (d.Nth != "" || d.Weekday != "" || d.Offset != 0):
		return errors.New("nth, weekday, offset: only months by weekday have them")
	case u != Date && u != Last && d.Day != nil:
		return errors.New("day: only months by date have it")
	}
	return nil
}

func weekday(name string) (time.Weekday, error) {
	if i := slices.Index(weekdays, name); i >= 0 {
		return time.Weekday(i), nil
	}
	return 0, fmt.Errorf("weekday %q: it is one of mon tue wed thu fri sat sun", shorten(name))
}

// MarshalJSON writes what UnmarshalJSON and [Parse] read.
func (w Window) MarshalJSON() ([]byte, error) {
	if err := w.Check(); err != nil {
		return nil, fmt.Errorf("window %q: %w", shorten(w.Name), err)
	}
	enabled := w.Enabled
	d := document{Name: w.Name, Enabled: &enabled, Kind: w.Kind, UTC: w.UTC,
		Start: w.Start.Format(startLayout), Minutes: int64(w.Length / time.Minute)}
	if w.Every.Unit != Once {
		d.Every = w.Every.document()
	}
	return json.Marshal(&d)
}

func (e *Every) document() *every {
	n := e.N
	d := &every{N: &n}
	switch e.Unit {
	case Day:
		d.Unit = "day"
	case Week:
		d.Unit = "week"
		for _, day := range []int{1, 2, 3, 4, 5, 6, 0} {
			if e.On[day] {
				d.On = append(d.On, weekdays[day])
			}
		}
	case Nth:
		d.Unit, d.Nth, d.Weekday, d.Offset = "month", ordinals[e.Nth], weekdays[e.Weekday], e.Offset
	case Date:
		d.Unit, d.Day = "month", e.MonthDay
	case Last:
		d.Unit, d.Day = "month", "last"
	}
	return d
}
