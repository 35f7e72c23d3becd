package commit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A batch is the events of one call, encoded, or behind a guard.
type batch struct {
	buf   []byte // the encoded events, one behind the other
	ends  []int  // where each ends in buf
	size  int    // len(buf)
	guard *guarded
}

func (b *batch) count() int { return len(b.ends) }

func (b *batch) addTo(p *journal.PageBuilder) {
	at := 0
	for _, end := range b.ends {
		p.Add(b.buf[at:end])
		at = end
	}
}

// keepBatch is the largest buffer in bytes that goes back to the pool.
const keepBatch = 64 << 10

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) free() {
	if cap(b.buf) <= keepBatch {
		b.buf, b.ends, b.size, b.guard = b.buf[:0], b.ends[:0], 0, nil
		batches.Put(b)
	}
}

// encode fills the batch; its error wraps [journal.ErrRefused].
func (b *batch) encode(events []*event.Event) (err error) {
	if len(events) > journal.MaxPageEvents {
		return refused("%d events at once, at most %d are taken", len(events), journal.MaxPageEvents)
	}
	for i, e := range events {
		if b.buf, err = e.Append(b.buf); err != nil {
			return fmt.Errorf("append event %d of %d: %w: %w", i+1, len(events), journal.ErrRefused, err)
		}
		b.ends = append(b.ends, len(b.buf))
	}
	if b.size = len(b.buf); b.size > journal.MaxPageBytes {
		return refused("%d bytes of events at once, at most %d are taken", b.size, journal.MaxPageBytes)
	}
	return nil
}

func refused(format string, args ...any) error {
	return fmt.Errorf("append events: %w: %s", journal.ErrRefused, fmt.Sprintf(format, args...))
}

// stamp tells the caller's events what became of them.
func stamp(events []*event.Event, first uint64, accepted int64) {
	for i, e := range events {
		e.Number, e.Accepted = first+uint64(i), time.Unix(0, accepted+int64(i)).UTC()
	}
}

// A guarded batch belongs to the appender between begin and encoded, and to the
// caller before and behind. A caller whose context ends takes it back, unless
// the appender was there first.
type guarded struct {
	check   func() error
	events  []*event.Event
	taken   atomic.Bool   // by one of the two
	encoded chan struct{} // closed when the appender is through with events
}

var errGivenUp = errors.New("given up by the caller")

// run calls the guard and encodes the events into p.
func (g *guarded) run(p *journal.PageBuilder) error {
	if !g.taken.CompareAndSwap(false, true) {
		return errGivenUp
	}
	defer close(g.encoded)
	if err := g.check(); err != nil {
		return err
	}
	b := batches.Get().(*batch)
	defer b.free()
	if err := b.encode(g.events); err != nil {
		return err
	}
	b.addTo(p)
	return nil
}

// giveUp makes sure that neither guard nor events are in use any more.
func (g *guarded) giveUp() {
	if !g.taken.CompareAndSwap(false, true) {
		<-g.encoded
	}
}
