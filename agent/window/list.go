package window

import (
	"fmt"
	"strings"
	"time"
)

// A List is the windows of one machine or of one collection.
type List []Window

// A Span is a time in which something may be done: from Open on, until right
// before Close.
type Span struct{ Open, Close time.Time }

// Length is how long the span is.
func (s Span) Length() time.Duration { return s.Close.Sub(s.Open) }

// IsZero tells whether there is no span.
func (s Span) IsZero() bool { return s.Open.IsZero() && s.Close.IsZero() }

// reach is how far merging goes on behind the moment in question.
const reach = 31 * 24 * time.Hour

// For returns the windows that count for work of a kind; nil means that none
// does, and any time is good.
func (l List) For(k Kind) List {
	if k != General {
		if own := l.of(k); own != nil {
			return own
		}
	}
	return l.of(General)
}

func (l List) of(k Kind) (out List) {
	for i := range l {
		if l[i].Enabled && l[i].Kind == k {
			out = append(out, l[i])
		}
	}
	return out
}

// Next returns the span that is open at now or, if none is, the one that opens
// next, of all enabled windows whatever their kind; false if none ever does. loc
// is the machine's zone. A span that goes on and on is cut somewhere behind 31
// days from its opening, or from now if that is later.
func (l List) Next(now time.Time, loc *time.Location) (Span, bool) {
	var s Span
	for i := range l {
		if n, ok := l.after(i, now, loc); ok && (s.IsZero() || n.Open.Before(s.Open)) {
			s = n
		}
	}
	if s.IsZero() {
		return s, false
	}
	begin, end := s.Open.Add(-reach), s.Open.Add(reach)
	if now.After(s.Open) {
		begin, end = now.Add(-reach), now.Add(reach)
	}
	return l.extend(s, begin, end, loc), true
}

func (l List) after(i int, now time.Time, loc *time.Location) (Span, bool) {
	if !l[i].Enabled {
		return Span{}, false
	}
	return l[i].after(now, loc)
}

// extend makes s longer by the spans that overlap or touch it, until it goes from
// begin to end.
func (l List) extend(s Span, begin, end time.Time, loc *time.Location) Span {
	for again := true; again; {
		again = false
		for i := range l {
			// From the first that closes when s opens or later.
			for at := s.Open.Add(-1); ; {
				n, ok := l.after(i, at, loc)
				if !ok || n.Open.After(s.Close) {
					break
				}
				at = n.Close
				if n.Open.Before(s.Open) && s.Open.After(begin) {
					s.Open, again = n.Open, true
				}
				if n.Close.After(s.Close) && s.Close.Before(end) {
					s.Close, again = n.Close, true
				}
			}
		}
	}
	return s
}

// Between returns all spans that are open at some time from from until to, in
// order. It is a calendar: bounded by the caller's dates.
func (l List) Between(from, to time.Time, loc *time.Location) (spans []Span) {
	for at := from; ; {
		s, ok := l.Next(at, loc)
		if !ok || !s.Open.Before(to) {
			return spans
		}
		if n := len(spans); n > 0 && !s.Open.After(spans[n-1].Close) {
			spans[n-1].Close = s.Close
		} else {
			spans = append(spans, s)
		}
		if !s.Close.Before(to) {
			return spans
		}
		at = s.Close
	}
}

// An Answer says whether work may begin.
type Answer struct {
	Run  bool
	Now  Span   // the window that is open, zero if none is
	Next Span   // if not Run: the next window that is long enough; zero: there is none, ever
	Why  string // if not Run: for people, such as "opens Sat 01:00 for 60 min; needs 65"
}

// tries is how many windows that are too short are looked at for one that is not.
const tries = 64

// Fits decides whether work of a kind that needs that much of a window (see
// [Need]) may begin at now.
func (l List) Fits(now time.Time, loc *time.Location, k Kind, need time.Duration) Answer {
	l = l.For(k)
	if l == nil {
		return Answer{Run: true}
	}
	var a Answer
	var first Span // that opens
	for at, i := now, 0; i < tries; i++ {
		s, ok := l.Next(at, loc)
		if !ok {
			break
		}
		at = s.Close
		switch open := !s.Open.After(now); {
		case open && s.Close.Sub(now) > need:
			return Answer{Run: true, Now: s}
		case open:
			a.Now = s
			continue
		case first.IsZero():
			first = s
		}
		if s.Length() > need {
			a.Next = s
			break
		}
	}
	a.Why = why(now, loc, need, a, first)
	return a
}

func why(now time.Time, loc *time.Location, need time.Duration, a Answer, first Span) string {
	var say []string
	short := first
	if !a.Now.IsZero() {
		say = append(say, fmt.Sprintf("open for another %d min", minutes(a.Now.Close.Sub(now))))
		short = a.Now
	}
	if !first.IsZero() {
		say = append(say, opening(now, loc, first))
	}
	need = need.Round(time.Second)
	switch m := minutes(need); {
	case a.Now.IsZero() && first.IsZero():
		return "all windows are over"
	case short.Length() == need && a.Now.IsZero():
		say = append(say, fmt.Sprintf("needs more than %d", m))
	default:
		say = append(say, fmt.Sprintf("needs %d", m))
	}
	switch {
	case a.Next.IsZero():
		say = append(say, "no window is long enough")
	case a.Next != first:
		say = append(say, "the next that is long enough "+opening(now, loc, a.Next))
	}
	return strings.Join(say, "; ")
}

func opening(now time.Time, loc *time.Location, s Span) string {
	layout := "Mon 15:04"
	if s.Open.Sub(now) > 6*24*time.Hour {
		layout = "Mon 2 Jan 2006 15:04"
	}
	return fmt.Sprintf("opens %s for %d min", s.Open.In(loc).Format(layout), minutes(s.Length()))
}

func minutes(d time.Duration) int { return int(d / time.Minute) }
