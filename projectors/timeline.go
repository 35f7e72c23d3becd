package projectors

import (
	"context"
	"fmt"
	"io"
	"sort"
	"time"

	"github.com/bugle-fleet/bugle/journal"
)

// A Timeline is what can be looked up by time: a [journal.Journal], or one that
// is read while nobody writes it.
type Timeline interface {
	Read(ctx context.Context, from uint64) (journal.Reader, error)
	Head() journal.Head
}

// EventAt returns the number of the last event that was accepted at or before t,
// 0 if the first one came later. It reads one page for each halving of the
// journal: 24 for ten million events.
func EventAt(ctx context.Context, j Timeline, t time.Time) (uint64, error) {
	before, after := uint64(0), j.Head().Event+1 // accepted by then, and not
	for after-before > 1 {
		p, err := pageOf(ctx, j, before+(after-before)/2)
		if err != nil {
			return 0, fmt.Errorf("find event at %s: %w", t.UTC().Format(time.RFC3339Nano), err)
		}
		n := sort.Search(len(p.Records), func(i int) bool { return p.Records[i].Accepted > t.UnixNano() })
		if n > 0 {
			before = p.First + uint64(n) - 1
		}
		if n < len(p.Records) {
			after = min(after, p.First+uint64(n))
		}
	}
	return before, nil
}

// TimeOf returns when an event was accepted. The error wraps [*RangeError] if
// there is no such event.
func TimeOf(ctx context.Context, j Timeline, number uint64) (time.Time, error) {
	if last := j.Head().Event; number == 0 || number > last {
		return time.Time{}, fmt.Errorf("find time of event: %w", &RangeError{number, last})
	}
	p, err := pageOf(ctx, j, number)
	if err != nil {
		return time.Time{}, fmt.Errorf("find time of event %d: %w", number, err)
	}
	return time.Unix(0, p.Records[number-p.First].Accepted).UTC(), nil
}

// pageOf reads the page that holds an event.
func pageOf(ctx context.Context, j Timeline, number uint64) (*journal.Page, error) {
	r, err := j.Read(ctx, number)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p, err := r.Next(ctx)
	if err == io.EOF || err == nil && (number < p.First || number > p.Last()) {
		err = fmt.Errorf("event %d is not where the journal has it", number)
	}
	return p, err
}
