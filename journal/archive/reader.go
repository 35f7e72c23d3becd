package archive

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/bugle-fleet/bugle/journal"
)

// A Reader reads an archive in a file, from any page on. It is safe for
// concurrent use.
type Reader struct {
	name   string
	f      io.ReaderAt
	close  func() error
	info   Info
	frames []frame
}

// Open opens an archive. It reads what stands around the pages, not the pages:
// those are checked when they are read, and all of them by [Reader.Verify]. The
// error wraps [ErrForeign] or [ErrVersion], is a [*DamageError], or one of the
// file system.
func Open(name string) (*Reader, error) {
	s, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	if !s.Mode().IsRegular() {
		return nil, fmt.Errorf("open archive %s: %w: it is no file", name, ErrForeign)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	r := &Reader{name: name, f: f, close: f.Close}
	if s, err = f.Stat(); err == nil {
		err = r.open(s.Size())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open archive %s: %w", name, err), f.Close())
	}
	return r, nil
}

// open reads header, footer, end and index.
func (r *Reader) open(size int64) error {
	s, err := newStream(io.NewSectionReader(r.f, 0, size), r.name)
	if err != nil {
		return err
	}
	r.info = s.info
	first := s.at
	if size < first+indexSize(0)+int64(endFixed)+32+int64(footerSize) {
		return s.bad(first, errFooter)
	}
	at := size - int64(footerSize)
	b, err := r.bytes(at, footerSize)
	if err != nil {
		return err
	}
	f, err := parseFooter(b)
	if err != nil {
		return s.damage(at, err)
	}
	// In this order no sum or difference of what the footer says is too large.
	if f.end < first || f.end > at-int64(endFixed)-32 || f.index < first || f.index > f.end-indexSize(0) || f.end-f.index > indexSize(MaxFrames) {
		return s.damage(at, errFooter)
	}
	if b, err = r.bytes(f.end, int(min(at-f.end, 1<<16))); err != nil {
		return err
	}
	if n, err := endSize(b); err != nil || f.end+int64(n) != at {
		return s.damage(f.end, errEnd)
	}
	if err := r.info.parseEnd(b); err != nil {
		return s.damage(f.end, err)
	}
	if b, err = r.bytes(f.index, int(f.end-f.index)); err != nil {
		return err
	}
	if r.frames, err = parseIndex(b, first, r.info.Before); err != nil {
		return s.damage(f.index, err)
	}
	end, behind := r.info.Before, first
	if n := len(r.frames); n > 0 {
		last := &r.frames[n-1]
		end, behind = last.end, last.offset+last.length()
	}
	if end != r.info.End || behind != f.index {
		return s.damage(f.index, errIndex)
	}
	r.info.Frames, r.info.Size = len(r.frames), size
	return nil
}

func (r *Reader) bytes(at int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := r.f.ReadAt(b, at); err != nil && err != io.EOF {
		return nil, err
	} else if err == io.EOF {
		return nil, &DamageError{File: r.name, Offset: at, Reason: "the file was cut short while it was read"}
	}
	return b, nil
}

// Info is all that the archive says of itself; its Digest is zero.
func (r *Reader) Info() Info { return r.info.clone() }

// Load returns page n, by its number in the journal, and as many pages behind it
// up to number last as are in the same frame, at most [MaxFrame] bytes in all.
// Whoever takes them checks that they follow one another, as the pages of a
// journal's store: see [Reader.Read]. The error wraps [ErrNoPage] if page n is
// not in this archive. The bytes are the caller's.
func (r *Reader) Load(ctx context.Context, n, last uint64) ([][]byte, error) {
	if n <= r.info.Before.Pages || n > r.info.End.Pages {
		return nil, fmt.Errorf("load page %d from archive %s: %w: it holds %d to %d", n, r.name, ErrNoPage, r.info.Before.Pages+1, r.info.End.Pages)
	}
	i := r.frameOf(n)
	pages, err := r.load(ctx, i)
	if err != nil {
		return nil, fmt.Errorf("load page %d from archive: %w", n, err)
	}
	from := n - r.frames[i].start.Pages - 1
	to := min(max(last, n)-r.frames[i].start.Pages, uint64(len(pages)))
	return pages[from:to:to], nil
}

// FrameEnd is the number of the last page that is in the same frame as page n,
// which must be in this archive: if that frame is damaged, reading can go on
// behind it.
func (r *Reader) FrameEnd(n uint64) uint64 { return r.frames[r.frameOf(n)].end.Pages }

// frameOf is which frame has page n.
func (r *Reader) frameOf(n uint64) int {
	return sort.Search(len(r.frames), func(i int) bool { return r.frames[i].end.Pages >= n })
}

// load returns all pages of frame i.
func (r *Reader) load(ctx context.Context, i int) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f := &r.frames[i]
	bad := func(reason string) error {
		return &DamageError{r.name, f.offset, f.start.Event + 1, f.start.Pages + 1, reason}
	}
	b, err := r.bytes(f.offset, int(f.length()))
	if err != nil {
		return nil, err
	}
	if string(b[:frameHeader]) != string(f.encode()) {
		return nil, bad("the frame does not begin as the index says")
	}
	pages, err := f.open(b)
	if err != nil {
		return nil, bad(err.Error())
	}
	return pages, nil
}

// Read returns a reader that begins with the page that holds event from and ends
// with io.EOF behind the last page. What does not hold is a [*DamageError]. From
// the event behind the last one there is nothing to read; if the archive does
// not hold the event the error wraps [ErrNoPage], or [journal.ErrAhead].
func (r *Reader) Read(_ context.Context, from uint64) (journal.Reader, error) {
	switch {
	case from > r.info.End.Event+1:
		return nil, fmt.Errorf("read archive %s from event %d: %w", r.name, from, journal.ErrAhead)
	case from <= r.info.Before.Event:
		return nil, fmt.Errorf("read archive %s from event %d: %w: it begins with event %d", r.name, from, ErrNoPage, r.info.Before.Event+1)
	}
	i := sort.Search(len(r.frames), func(i int) bool { return r.frames[i].end.Event >= from })
	return &pageReader{r: r, frame: i, from: from}, nil
}

// A pageReader reads frame after frame.
type pageReader struct {
	r     *Reader
	from  uint64 // no page that ends before it is handed out
	frame int    // the one behind that of pages
	head  journal.Head
	pages [][]byte
}

func (p *pageReader) Next(ctx context.Context) (*journal.Page, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		page, err := p.next(ctx)
		if err != nil || page.Last() >= p.from {
			return page, err
		}
	}
}

func (p *pageReader) next(ctx context.Context) (page *journal.Page, err error) {
	if len(p.pages) == 0 {
		if p.frame >= len(p.r.frames) {
			return nil, io.EOF
		}
		if p.pages, err = p.r.load(ctx, p.frame); err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
		p.head = p.r.frames[p.frame].start
		p.frame++
	}
	f := &p.r.frames[p.frame-1]
	damage := func(event, page uint64, reason string) error {
		return fmt.Errorf("read archive: %w", &DamageError{p.r.name, f.offset, event, page, reason})
	}
	page, err = journal.ParsePage(p.pages[0], p.head)
	if d, ok := errors.AsType[*journal.DamageError](err); ok {
		return nil, damage(d.Event, d.Page, d.Reason)
	}
	head := p.head.Next(page)
	if len(p.pages) == 1 && head != f.end {
		return nil, damage(page.First, head.Pages, "the frame ends with another page than the index says")
	}
	p.pages[0] = nil
	p.pages, p.head = p.pages[1:], head
	return page, nil
}

func (p *pageReader) Close() error {
	p.pages, p.frame = nil, len(p.r.frames)
	return nil
}

// Verify reads the whole file and checks every byte of it, as [Stream.Verify]
// does.
func (r *Reader) Verify(ctx context.Context, key ed25519.PublicKey, progress func(Report)) (Report, error) {
	s, err := newStream(io.NewSectionReader(r.f, 0, r.info.Size+1), r.name)
	if err != nil {
		return Report{}, fmt.Errorf("verify archive: %w", err)
	}
	return s.Verify(ctx, key, progress)
}

// Close closes the file.
func (r *Reader) Close() error { return r.close() }
