package commit

import (
	"context"
	"errors"

	"github.com/bugle-fleet/bugle/journal"
)

// A Store keeps the bytes of pages, numbered from 1 without a hole. One journal
// uses it, which puts one page at a time and loads many at once.
type Store interface {
	// Len is how many pages there are. It is asked once, while opening.
	Len(ctx context.Context) (uint64, error)

	// Put makes a page durable as number page.Head.Pages, which is one more than
	// there are. An error that wraps [journal.ErrUnavailable] means that the page
	// is not there and will not appear later; one that wraps
	// [journal.ErrUnknown], that nobody can tell. After any other the journal
	// loads the page to see. Put must return in bounded time, and keeps no part
	// of page.
	Put(page *journal.Sealed) error

	// Load returns page n and, as far as that is convenient, pages behind it up
	// to number last, in order. If page n is not there the error wraps
	// [ErrNoPage]. The bytes are the caller's.
	Load(ctx context.Context, n, last uint64) ([][]byte, error)

	// Close frees what the store holds. No Put is under way; a Load that is fails.
	Close() error
}

// ErrNoPage is wrapped by the error of [Store.Load] for a page that is surely
// not there.
var ErrNoPage = errors.New("no such page")

// Bounds of what a journal keeps in memory.
const (
	MaxWaiting = 16       // groups, each up to one page
	RingPages  = 64       // newest pages
	RingBytes  = 16 << 20 // of newest pages; one is kept however large
)
