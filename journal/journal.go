// Package journal is the contract of bugle's one history: an append-only list of
// events ([event.Event]), numbered from 1 without a hole, in pages that are
// chained by hash.
//
// The unit of durability is a [Page]: the events that were committed together.
// Whoever appends is answered once the page is on disk, and many who append at
// the same time share one page and so one fsync. The page is also what readers
// get, what the chain covers, and what an archive holds.
//
// journal/jetstream keeps the pages in an embedded NATS JetStream;
// journal/journaltest has the suite that every implementation passes, and a twin
// in memory that fails on demand.
package journal

import (
	"context"
	"errors"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// Bounds of a page.
const (
	MaxPageEvents = 1000
	MaxPageBytes  = 512 << 10 // of encoded events; one larger batch is refused
)

// A Journal is safe for concurrent use.
type Journal interface {
	// Append makes the events durable, all in one page and in their order, and
	// returns once they are. It sets each event's Number and Accepted. The
	// events must not be changed until it returns.
	//
	// The error wraps [ErrRefused] if the events cannot be taken as they are
	// (nothing was stored; trying again is useless), [ErrUnavailable] if they
	// were not stored and may be tried again, [ErrUnknown] if it cannot be told:
	// the journal is then closed to writers until it was opened anew. If ctx ends
	// first, its error is returned and the events may or may not be stored.
	Append(ctx context.Context, events ...*event.Event) error

	// AppendIf is Append behind a guard. The guard runs when every earlier event
	// is durable and was handed to the folds of [Options], and before any later
	// one is: so it may read what a fold knows without a lock, decide, and fill
	// in what depends on it, such as the next free number. An error of the guard
	// is returned as it is, and nothing is stored.
	AppendIf(ctx context.Context, guard func() error, events ...*event.Event) error

	// Read returns a reader that begins with the page that holds event from (1 is
	// the first) and ends with io.EOF behind what is the last page now. From the
	// event behind the last one there is nothing to read; from beyond that the
	// error wraps [ErrAhead].
	Read(ctx context.Context, from uint64) (Reader, error)

	// Follow is Read that does not end: Next waits for the next page. After Close
	// it returns [ErrClosed], also if there are pages that it has not read.
	Follow(ctx context.Context, from uint64) (Reader, error)

	// Head is the end of the journal: the last durable page's.
	Head() Head

	// Close refuses new events, waits for those under way, and ends followers
	// with [ErrClosed].
	Close() error
}

// A Reader hands out pages in order. It checks that numbers are contiguous and
// that the chain of hashes holds; what does not hold is a [*DamageError]. It is
// for one goroutine.
type Reader interface {
	// Next returns the next page. It is shared: nobody changes it.
	Next(ctx context.Context) (*Page, error)
	// Close frees the reader. Next must not be under way.
	Close() error
}

// Head names the end of a journal, or of a prefix of it.
type Head struct {
	Event uint64   // number of the last event, 0 if there is none
	Pages uint64   // how many pages there are
	Hash  [32]byte // of the last page, zero if there is none
}

// A Fold is told of every durable event in order, on the appender's goroutine:
// of all there are when the journal is opened, of each new one before the
// caller of Append is answered. It must be quick and must not append.
type Fold interface {
	Apply(e *event.Event)
}

// A SelectiveFold is a fold that wants only some kinds. To leave out the others
// spares the appender decoding them: a journal whose folds want little appends
// faster.
type SelectiveFold interface {
	Fold
	// Wants tells whether Apply is to be called for events of kind k. The answer
	// must not change.
	Wants(k event.Kind) bool
}

// A SavingFold is a fold whose knowledge can be kept: a journal that has kept
// that of all its folds need not tell them everything anew when it is opened.
// What was kept is a cache: without it, everything is told.
type SavingFold interface {
	Fold
	// Saves names the fold and the version of what Save returns, such as
	// "ledger/1". What was kept under another name is not restored.
	Saves() string
	// Save returns what the fold knows. It is called on the appender's goroutine,
	// between two events; the same knowledge always gives the same bytes.
	Save() ([]byte, error)
	// Restore makes the fold know what Save returned, and nothing else. It is
	// called before the first Apply. After an error the fold knows nothing, as if
	// it were new, and is told everything.
	Restore(saved []byte) error
}

// Options of a journal, whatever keeps it.
type Options struct {
	Folds []Fold
	Now   func() time.Time // nil means time.Now
}

// Errors of a journal. Of Append: see there; ErrClosed after Close; ErrLocked
// when a journal that is open already is opened again; ErrAhead when a reader is
// asked to begin behind the event that comes next.
var (
	ErrRefused     = errors.New("journal refused the events")
	ErrUnavailable = errors.New("journal is not available")
	ErrUnknown     = errors.New("outcome of an append is unknown")
	ErrClosed      = errors.New("journal is closed")
	ErrLocked      = errors.New("journal is in use by another process")
	ErrAhead       = errors.New("event is beyond the end of the journal")
)
