package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal"
)

// A moment is a place in the history as somebody names it: an event by its
// number, or a time.
type moment struct {
	number uint64 // 0 means that it is a time
	at     time.Time
}

var errMoment = errors.New("it is neither the number of an event, nor an instant such as 2026-12-24T18:00:00Z, nor a time back from now such as 2h or 7d")

// CheckMoment tells why s names no place in the history: the number of an event,
// an instant by RFC 3339, or how long ago.
func CheckMoment(s string) error {
	_, err := parseMoment(s, time.Time{})
	return err
}

// ParseMoment reads what [CheckMoment] takes: the number of an event, or, if that
// is 0, a time, which was asked for at now.
func ParseMoment(s string, now time.Time) (number uint64, at time.Time, err error) {
	m, err := parseMoment(s, now)
	return m.number, m.at, err
}

func parseMoment(s string, now time.Time) (moment, error) {
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		if n == 0 {
			return moment{}, errors.New("events are numbered from 1")
		}
		return moment{number: n}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return moment{at: t}, nil
	}
	if back, ok := parseBack(s); ok {
		return moment{at: now.Add(-back)}, nil
	}
	return moment{}, errMoment
}

// parseBack reads a duration; days are allowed alone.
func parseBack(s string) (time.Duration, bool) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * day, err == nil && n <= 36_500
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}

func badMoment(name, s string, err error) error {
	return badRequest("There is no such place in the history", "%s: %q cannot be taken: %s.", name, clip(s), err)
}

func noEventYet(name string, number, head uint64) error {
	if head == 0 {
		return badRequest("There is no such event", "%s: there is no event %d; the journal is empty.", name, number)
	}
	return badRequest("There is no such event", "%s: there is no event %d yet; the journal ends with event %d.", name, number, head)
}

// asOf returns the event that "at" names: the last one that had happened then.
func (c *Console) asOf(ctx context.Context, s string) (uint64, error) {
	now, head := c.cfg.Now(), c.cfg.Journal.Head().Event
	m, err := parseMoment(s, now)
	switch {
	case err != nil:
		return 0, badMoment(QueryAt, s, err)
	case m.number > head:
		return 0, noEventYet(QueryAt, m.number, head)
	case m.number > 0:
		return m.number, nil
	case m.at.After(now):
		return 0, badRequest("That has not happened yet", "%s: %s is in the future, it is now %s.", QueryAt, m.at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	number, err := c.instants.upTo(ctx, m.at, head)
	if err == nil && number == 0 {
		err = badRequest("That is before the history", "%s: %s is before the first event.", QueryAt, m.at.UTC().Format(time.RFC3339Nano))
	}
	return number, err
}

// span returns the first and the last event that lie between two moments; empty
// ones mean all. There is none between them if first is the one behind last.
func (c *Console) span(ctx context.Context, from, to string) (first, last uint64, err error) {
	head := c.cfg.Journal.Head().Event
	first, last = 1, head
	if from != "" {
		if first, err = c.firstFrom(ctx, from, head); err != nil {
			return 0, 0, err
		}
	}
	if to != "" {
		m, err := parseMoment(to, c.cfg.Now())
		switch {
		case err != nil:
			return 0, 0, badMoment("to", to, err)
		case m.number > head:
			return 0, 0, noEventYet("to", m.number, head)
		case m.number > 0:
			last = m.number
		default:
			if last, err = c.instants.upTo(ctx, m.at, head); err != nil {
				return 0, 0, err
			}
		}
	}
	if first > last+1 {
		return 0, 0, badRequest("The events end before they begin", "from: %s is behind to: %s.", clip(from), clip(to))
	}
	return first, last, nil
}

// firstFrom returns the first event at or behind a moment, which may be the next
// one that happens.
func (c *Console) firstFrom(ctx context.Context, from string, head uint64) (uint64, error) {
	m, err := parseMoment(from, c.cfg.Now())
	switch {
	case err != nil:
		return 0, badMoment("from", from, err)
	case m.number > head+1:
		return 0, noEventYet("from", m.number, head)
	case m.number > 0:
		return m.number, nil
	}
	last, err := c.instants.upTo(ctx, m.at.Add(-1), head)
	return last + 1, err
}

// maxProbes is how many events of which the time is known are remembered.
const maxProbes = 4096

// A probe is an event and when it was accepted, in Unix nanoseconds. Both rise
// together, and neither ever changes.
type probe struct {
	event    uint64
	accepted int64
}

// An instants finds events by time. It remembers what it has looked at, so that
// asking for about the same time again reads little.
type instants struct {
	journal journal.Journal
	mu      sync.Mutex
	known   []probe // in order
}

// upTo returns the last event up to head that was accepted at t or before, 0 if
// there is none.
func (x *instants) upTo(ctx context.Context, t time.Time, head uint64) (uint64, error) {
	at := nanoseconds(t)
	low, high := x.between(at, head)
	for high-low > 1 {
		p, err := readPage(ctx, x.journal, low+(high-low)/2)
		if err != nil {
			return 0, fmt.Errorf("find event by time: %w", err)
		}
		behind := sort.Search(len(p.Records), func(i int) bool { return p.Records[i].Accepted > at })
		if behind > 0 {
			low = max(low, min(p.First+uint64(behind)-1, head))
		}
		if behind < len(p.Records) {
			high = min(high, p.First+uint64(behind))
		}
		x.remember(p, behind)
	}
	return low, nil
}

// nanoseconds is a time as the journal has it, or the nearest that it can have.
func nanoseconds(t time.Time) int64 {
	switch year := t.UTC().Year(); {
	case year < 1678:
		return math.MinInt64
	case year > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// between returns what is known of the last event at or before a time, and of the
// first one behind it.
func (x *instants) between(at int64, head uint64) (low, high uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, _ := slices.BinarySearchFunc(x.known, at, func(p probe, at int64) int {
		if p.accepted <= at {
			return -1
		}
		return 1
	})
	low, high = 0, head+1
	if i > 0 {
		low = min(x.known[i-1].event, head)
	}
	if i < len(x.known) {
		high = min(x.known[i].event, head+1)
	}
	return low, high
}

// remember keeps the ends of a page, and where in it the time lies.
func (x *instants) remember(p *journal.Page, behind int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.known) > maxProbes-4 {
		x.known = x.known[:0]
	}
	for _, i := range []int{0, behind - 1, behind, len(p.Records) - 1} {
		if i < 0 || i >= len(p.Records) {
			continue
		}
		q := probe{p.Records[i].Number, p.Records[i].Accepted}
		at, found := slices.BinarySearchFunc(x.known, q, func(a, b probe) int { return cmp.Compare(a.event, b.event) })
		if !found {
			x.known = slices.Insert(x.known, at, q)
		}
	}
}

// readPage reads the page that holds an event.
func readPage(ctx context.Context, j journal.Journal, number uint64) (*journal.Page, error) {
	r, err := j.Read(ctx, number)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p, err := r.Next(ctx)
	if err != nil {
		return nil, err
	}
	if number < p.First || number > p.Last() {
		return nil, fmt.Errorf("read event %d: the journal gave events %d to %d", number, p.First, p.Last())
	}
	return p, nil
}
