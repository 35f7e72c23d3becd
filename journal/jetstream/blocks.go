package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
)

// loadBytes is how much of a file one Load reads, unless one page is more.
const loadBytes = 1 << 20

// recordSum is the size of the checksum that ends a record in a file.
const recordSum = 8

// A span is where a page is in its file.
type span struct{ offset, size uint32 }

// A blk is one file of pages of a generation in the live store. The last one of
// the open generation grows.
type blk struct {
	file   block.File
	base   uint64                         // pages before the generation
	wrote  int64                          // when JetStream wrote the last page, Unix nanoseconds, or a bit later
	before block.Position                 // before its first page
	end    atomic.Pointer[block.Position] // behind its last page; nil while it grows

	mu      sync.Mutex
	checked bool   // what is on disk was read, or written, by this process, and holds
	damage  error  // a [*journal.DamageError], for ever
	spans   []span // of its pages, from the first on; those that were looked up
}

func (b *blk) size() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.file.Size
}

func (b *blk) first() uint64 { return b.before.Head.Pages + 1 }

// last is the last page that can be read: the file's, or that of the journal if
// the file grows.
func (b *blk) last(end journal.Head) uint64 {
	if p := b.end.Load(); p != nil {
		return p.Head.Pages
	}
	return end.Pages
}

// verify makes sure that the file holds the pages that it must; end is the
// journal's end. It returns the damage that it finds, then and for ever; any other
// error may be gone the next time.
func (b *blk) verify(ctx context.Context, end journal.Head) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.damage != nil || b.checked {
		return b.damage
	}
	return b.found(b.check(ctx, b.file, end))
}

// verifyAgain is verify for a file that was read before. Whoever writes to it or
// reads from it is not kept waiting.
func (b *blk) verifyAgain(ctx context.Context, end journal.Head) error {
	b.mu.Lock()
	file := b.file
	b.mu.Unlock()
	spans, err := b.check(ctx, file, end)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.damage != nil {
		return b.damage
	}
	if b.end.Load() == nil {
		spans = b.spans // more may have been written
	}
	return b.found(spans, err)
}

// found keeps what a check has found.
func (b *blk) found(spans []span, err error) error {
	switch {
	case err == nil:
		b.checked, b.spans = true, spans
	case errors.Is(err, journal.ErrDamaged):
		b.damage, b.spans = err, nil
	}
	return err
}

var errEnough = errors.New("enough was read")

// check reads the pages of the file, up to the journal's end if it grows, and
// returns where they are.
func (b *blk) check(ctx context.Context, file block.File, end journal.Head) ([]span, error) {
	position := b.end.Load()
	if position != nil {
		end = position.Head
	}
	if end.Pages < b.first() {
		return nil, nil // there is no page yet
	}
	spans := make([]span, 0, end.Pages-b.before.Head.Pages)
	at := b.before.Head
	_, err := block.Check(ctx, []block.File{file}, b.base, b.before, func(p *journal.Page, r block.Record) error {
		spans = append(spans, spanOf(r))
		if at = at.Next(p); position == nil && at.Pages == end.Pages {
			return errEnough // what follows is being written
		}
		return nil
	})
	var bad *block.DamageError
	switch {
	case err == errEnough:
	case errors.As(err, &bad):
		return nil, bad.Unwrap()
	case errors.Is(err, os.ErrNotExist):
		return nil, b.damageAt(b.before.Head, 0, "the file is gone")
	case err != nil:
		return nil, err
	}
	if at != end {
		return nil, b.damageAt(at, file.Size, fmt.Sprintf("the file ends with event %d, page %d; it ended with event %d, page %d", at.Event, at.Pages, end.Event, end.Pages))
	}
	return spans, nil
}

func (b *blk) damageAt(head journal.Head, offset int64, reason string) error {
	return &journal.DamageError{Event: head.Event + 1, Page: head.Pages + 1, File: b.file.Path, Offset: offset, Reason: reason}
}

func spanOf(r block.Record) span {
	return span{uint32(r.Offset + r.Size - recordSum - int64(len(r.Data))), uint32(len(r.Data))}
}

// load returns page n and some behind it, up to page last, which the file must
// hold; end is the journal's end.
func (b *blk) load(ctx context.Context, n, last uint64, end journal.Head) ([][]byte, error) {
	if err := b.verify(ctx, end); err != nil {
		return nil, err
	}
	spans, err := b.find(ctx, n, last, end)
	if err != nil {
		return nil, err
	}
	from, to := spans[0].offset, spans[len(spans)-1]
	buf := make([]byte, to.offset+to.size-from)
	if err := readAt(b.file.Path, buf, int64(from)); err != nil {
		return nil, fmt.Errorf("load page %d: %w", n, err)
	}
	pages := make([][]byte, len(spans))
	for i, s := range spans {
		at := s.offset - from
		pages[i] = buf[at : at+s.size : at+s.size]
	}
	return pages, nil
}

func readAt(name string, buf []byte, offset int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(buf, offset)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s has become shorter", name)
	}
	return err
}

// find returns where page n is, and those behind it that fit into one Load.
func (b *blk) find(ctx context.Context, n, last uint64, end journal.Head) ([]span, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.before.Head.Pages+uint64(len(b.spans)) < n {
		if err := b.look(ctx, end); err != nil {
			return nil, err
		}
	}
	spans := b.spans[n-b.first():]
	if most := last - n + 1; uint64(len(spans)) > most {
		spans = spans[:most]
	}
	i := 1
	for i < len(spans) && spans[i].offset+spans[i].size-spans[0].offset <= loadBytes {
		i++
	}
	return slices.Clone(spans[:i]), nil
}

// look finds out where the pages are.
func (b *blk) look(ctx context.Context, end journal.Head) error {
	pages := b.last(end) - b.before.Head.Pages
	spans := make([]span, 0, pages)
	err := block.Walk(b.file, func(r block.Record) error {
		if spans = append(spans, spanOf(r)); uint64(len(spans)) == pages {
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		b.spans = spans
		return nil
	}
	// It was well before. What is wrong now, the check tells more exactly.
	if err := b.found(b.check(ctx, b.file, end)); err != nil {
		return err
	}
	return fmt.Errorf("look for pages in %s: %w", b.file.Path, errors.Join(err, errShort))
}

var errShort = errors.New("they are not all there")

// put notes where page n is that was just written, if those before it are known.
func (b *blk) put(n uint64, s span) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first()+uint64(len(b.spans)) == n {
		b.spans = append(b.spans, s)
	}
}

// forget frees what look has found.
func (b *blk) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spans = nil
}

// A live is a generation in the live store.
type live struct {
	number uint32
	before block.Position
	msgs   string // the folder of its files

	mu     sync.RWMutex
	blocks []*blk
}

// of returns the file that holds page n, or nil.
func (l *live) of(n uint64) *blk {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := sort.Search(len(l.blocks), func(i int) bool { return l.blocks[i].first() > n })
	if i == 0 {
		return nil
	}
	return l.blocks[i-1]
}

// all returns the files as they are now.
func (l *live) all() []*blk {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.blocks)
}

// newest returns the file that was begun last, or nil.
func (l *live) newest() *blk {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.blocks) == 0 {
		return nil
	}
	return l.blocks[len(l.blocks)-1]
}

// follow takes up the files that were begun since. They begin behind the position
// at, and there those before them end. It returns the number of the newest.
func (l *live) follow(files []block.File, at block.Position) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range files {
		if n := len(l.blocks); i == n {
			if n > 0 {
				l.blocks[n-1].finish(files[i-1], at)
			}
			l.blocks = append(l.blocks, &blk{file: f, base: l.before.Head.Pages, before: at, checked: true})
		}
	}
	return uint32(len(files))
}

// finish is for a file that takes no more pages.
func (b *blk) finish(file block.File, at block.Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.file, b.wrote = file, time.Now().UnixNano()
	b.end.Store(&at)
}
