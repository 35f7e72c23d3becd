package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxText is the length of a schedule in bytes.
const MaxText = 256

// MaxTokens is how many tokens may stand one behind the other.
const MaxTokens = 15

// A Schedule is a set of instants. The zero value has none. It is not changed, and
// safe for concurrent use.
type Schedule struct {
	text  string
	rules []rule
}

// A rule is one token, or the five fields.
type rule interface {
	next(after time.Time) (time.Time, bool)
	words() string
}

// errNever is what is wrong with a schedule without instants.
var errNever = errors.New("it never comes")

// Parse reads a schedule.
func Parse(text string) (Schedule, error) {
	s := Schedule{text: text}
	if len(text) > MaxText {
		return Schedule{}, fmt.Errorf("read schedule: %d bytes, at most %d are taken", len(text), MaxText)
	}
	var err error
	trimmed := strings.TrimSpace(text)
	if fields := strings.Fields(trimmed); len(fields) == 1 {
		s.rules, err = parseTokens(trimmed)
	} else {
		s.rules, err = parseCron(fields)
	}
	if err != nil {
		return Schedule{}, fmt.Errorf("read schedule %q: %w", text, err)
	}
	return s, nil
}

// lastYear is the last one that has instants.
const lastYear = 9999

// Next returns the first instant after another one; ok is false if there is none.
func (s Schedule) Next(after time.Time) (next time.Time, ok bool) {
	if after.Year() > lastYear {
		return next, false
	}
	for _, r := range s.rules {
		if t, is := r.next(after); is && (!ok || t.Before(next)) {
			next, ok = t, true
		}
	}
	return next, ok
}

// Text is the schedule as it was written.
func (s Schedule) Text() string { return s.text }

// IsZero tells whether there is no schedule.
func (s Schedule) IsZero() bool { return len(s.rules) == 0 }

// String says in words when it is: "at 04:00 from Monday to Friday, UTC".
func (s Schedule) String() string {
	if s.IsZero() {
		return "never"
	}
	all := make([]string, len(s.rules))
	for i, r := range s.rules {
		all[i] = r.words()
	}
	return strings.Join(all, "; ") + ", UTC"
}
