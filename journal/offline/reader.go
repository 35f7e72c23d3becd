package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sort"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// Read returns a reader that begins with the page that holds event from and ends
// with io.EOF behind the last page. It reads the generations that the live store
// holds from there and the others from their archives. What does not hold is a
// [*journal.DamageError] with file and offset: also if the journal is shorter
// than the file history says, or a generation does not end as the list says. A
// reader from event 1 checks the whole chain; from elsewhere on, that of what it
// reads. From the event behind the last one there is nothing to read; from
// beyond that the error wraps [journal.ErrAhead].
func (j *Journal) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	r, err := j.reader(ctx, max(from, 1))
	if err != nil {
		return nil, fmt.Errorf("read journal %s from event %d: %w", j.dir, from, err)
	}
	return r, nil
}

func (j *Journal) reader(ctx context.Context, from uint64) (*reader, error) {
	if from > j.head.Event+1 && from > j.mark.Head.Event+1 {
		return nil, journal.ErrAhead
	}
	r := &reader{j: j, from: from}
	for i := range j.list {
		if g := &j.list[i]; from > g.Before.Event {
			r.generation = i
		}
	}
	r.at = block.Position{Head: j.list[r.generation].Before}
	return r, r.enter(ctx)
}

// A reader hands out the pages behind at.
type reader struct {
	j          *Journal
	from       uint64 // no page that ends before it is handed out
	at         block.Position
	generation int // in the list
	ended      error

	files   []block.File // of the generation, still to be read
	next    chan loaded  // the first one of them, if somebody reads it already
	ready   []*journal.Page
	offsets []int64 // of ready
	file    string  // that ready is of
	after   error   // what follows ready
	archive journal.Reader
	close   func() error // of the archive
	within  bool         // reading begins somewhere in the archive

	uncounted bool // at has no number of pages
}

// loaded is one file that was read.
type loaded struct {
	pages   []*journal.Page
	offsets []int64
	at      block.Position
	err     error
}

// enter begins with the present generation.
func (r *reader) enter(ctx context.Context) error {
	g := &r.j.list[r.generation]
	if !g.Removed {
		r.files = r.j.live[g.Number]
		return r.skip(g)
	}
	a, err := r.j.openArchive(g)
	if err != nil {
		return err
	}
	if r.archive, err = a.Read(ctx, max(r.from, g.Before.Event+1)); err != nil {
		return errors.Join(err, a.Close())
	}
	r.close, r.file, r.within = a.Close, r.j.archiveName(g), r.from > g.Before.Event+1
	return nil
}

func (j *Journal) archiveName(g *generation.Generation) string {
	return filepath.Join(generation.ArchiveFolder(j.dir), g.Archive)
}

// openArchive opens the archive of a generation; if it is not what the list says
// that is a [*journal.DamageError].
func (j *Journal) openArchive(g *generation.Generation) (*archive.Reader, error) {
	name := j.archiveName(g)
	damage := func(reason string) error {
		return &journal.DamageError{Event: g.Before.Event + 1, Page: g.Before.Pages + 1, File: name, Reason: reason}
	}
	a, err := archive.Open(name)
	if bad, ok := errors.AsType[*archive.DamageError](err); ok {
		return nil, &journal.DamageError{Event: g.Before.Event + 1, Page: g.Before.Pages + 1, File: name, Offset: bad.Offset, Reason: bad.Reason}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, archive.ErrForeign) {
		return nil, damage(err.Error())
	}
	if err != nil {
		return nil, err
	}
	i, reason := a.Info(), ""
	switch {
	case i.History != j.mark.History:
		reason = "the archive is of another journal"
	case i.Generation != g.Number || i.Before != g.Before || i.End != g.End:
		reason = "the archive is not of this generation"
	case uint64(i.Size) != g.Size:
		reason = fmt.Sprintf("the archive has %d bytes, and had %d", i.Size, g.Size)
	default:
		return a, nil
	}
	return nil, errors.Join(damage(reason), a.Close())
}

// skip leaves out files that end before event from. Their first pages tell; what
// they say is checked by nobody.
func (r *reader) skip(g *generation.Generation) error {
	if r.from <= g.Before.Event+1 {
		return nil
	}
	var failed error
	n := sort.Search(len(r.files), func(i int) bool {
		first, _, err := firstPage(r.files[i])
		failed = errors.Join(failed, err)
		return err != nil || first == nil || first.First > r.from
	})
	if n <= 1 || failed != nil {
		return failed
	}
	first, sequence, err := firstPage(r.files[n-1])
	if err != nil || first == nil {
		return err
	}
	r.files = r.files[n-1:]
	r.at = block.Position{Head: journal.Head{Event: first.First - 1, Pages: g.Before.Pages + sequence - 1, Hash: first.Previous}}
	return nil
}

var errFound = errors.New("found")

// firstPage reads the first page of a file; it is nil if there is none.
func firstPage(f block.File) (p *journal.Page, sequence uint64, err error) {
	err = block.Walk(f, func(r block.Record) error {
		p, _ = loose(r.Data)
		sequence = r.Sequence
		return errFound
	})
	if errors.Is(err, errFound) || errors.Is(err, journal.ErrDamaged) {
		err = nil
	}
	return p, sequence, err
}

func (r *reader) Next(ctx context.Context) (*journal.Page, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.ended != nil {
			return nil, r.ended
		}
		p, err := r.step(ctx)
		if err != nil && ctx.Err() == nil {
			r.ended = err
		}
		if err != nil || p != nil && p.Last() >= r.from {
			return p, err
		}
	}
}

// step returns the next page, or nil if it has come nearer to one.
func (r *reader) step(ctx context.Context) (*journal.Page, error) {
	switch {
	case r.archive != nil:
		p, err := r.archive.Next(ctx)
		if err == io.EOF {
			return nil, r.leave(ctx)
		}
		if err != nil {
			return nil, located(err)
		}
		return r.take(p, 0)
	case len(r.ready) > 0:
		p, offset := r.ready[0], r.offsets[0]
		r.ready[0] = nil
		r.ready, r.offsets = r.ready[1:], r.offsets[1:]
		return r.take(p, offset)
	case r.after != nil:
		if bad, ok := errors.AsType[*block.DamageError](r.after); ok && r.j.torn != nil && bad.File == r.j.torn.File && bad.Offset == r.j.torn.Offset {
			return nil, r.leave(ctx)
		}
		return nil, located(r.after)
	case len(r.files) > 0:
		r.load(ctx)
		return nil, nil
	}
	return nil, r.leave(ctx)
}

// take moves on behind page p, which must be the next one and, where the file
// history speaks of one, that one.
func (r *reader) take(p *journal.Page, offset int64) (*journal.Page, error) {
	if r.within {
		r.at = block.Position{Head: journal.Head{Event: p.First - 1, Hash: p.Previous}}
		r.within, r.uncounted = false, true
	}
	damage := func(reason string) (*journal.Page, error) {
		return nil, &journal.DamageError{Event: r.at.Head.Event + 1, Page: r.page(), File: r.file, Offset: offset, Reason: reason}
	}
	if p.First != r.at.Head.Event+1 || p.Previous != r.at.Head.Hash {
		return damage("page does not follow the one before it: the chain of hashes is broken")
	}
	at := block.Position{Head: r.at.Head.Next(p), Accepted: r.at.Accepted}
	for i := range p.Records {
		if p.Records[i].Accepted <= at.Accepted {
			return damage(fmt.Sprintf("event %d was accepted before the one before it", p.Records[i].Number))
		}
		at.Accepted = p.Records[i].Accepted
	}
	if m := r.j.mark.Head; !r.uncounted && at.Head.Pages == m.Pages && at.Head != m {
		return damage("this is another history than it was")
	}
	r.at = at
	return p, nil
}

// page is the number of the page behind at, or 0.
func (r *reader) page() uint64 {
	if r.uncounted {
		return 0
	}
	return r.at.Head.Pages + 1
}

// load takes the next file, and has the one behind it read meanwhile.
func (r *reader) load(ctx context.Context) {
	if r.next == nil {
		r.next = make(chan loaded, 1)
		r.next <- r.j.read(ctx, r.files[0], r.j.list[r.generation].Before.Pages, r.at)
	}
	l := <-r.next
	r.next = nil
	r.ready, r.offsets, r.after, r.file = l.pages, l.offsets, l.err, r.files[0].Path
	if errors.Is(l.err, context.Canceled) || errors.Is(l.err, context.DeadlineExceeded) {
		r.ready, r.offsets, r.after = nil, nil, nil // the file is read again if anybody asks
		return
	}
	r.files = r.files[1:]
	if l.err == nil && len(r.files) > 0 {
		next, f, before := make(chan loaded, 1), r.files[0], r.j.list[r.generation].Before.Pages
		r.next = next
		go func() { next <- r.j.read(ctx, f, before, l.at) }()
	}
}

// read reads a file of a generation whose pages come behind page before.
func (j *Journal) read(ctx context.Context, f block.File, before uint64, at block.Position) (l loaded) {
	entries, err := block.Check(ctx, []block.File{f}, before, at, func(p *journal.Page, r block.Record) error {
		l.pages, l.offsets = append(l.pages, p), append(l.offsets, r.Offset)
		return nil
	})
	l.at, l.err = entries[0].After, err
	return l
}

// leave goes on to the next generation, or ends.
func (r *reader) leave(ctx context.Context) error {
	g := &r.j.list[r.generation]
	if err := r.free(); err != nil {
		return err
	}
	damage := func(format string, args ...any) error {
		e := &journal.DamageError{Event: r.at.Head.Event + 1, Page: r.page(), Reason: fmt.Sprintf(format, args...)}
		e.File, e.Offset = r.j.behind(g)
		return e
	}
	if g.Sealed() {
		if r.uncounted && r.at.Head.Event == g.End.Event {
			r.at.Head.Pages, r.uncounted = g.End.Pages, false
		}
		if r.at.Head.Event < g.End.Event {
			return damage("generation %d ends here, but it had events up to %d", g.Number, g.End.Event)
		}
		if r.at.Head != g.End {
			return damage("generation %d does not end as it was sealed", g.Number)
		}
		r.generation++
		return r.enter(ctx)
	}
	if m := r.j.mark.Head; r.at.Head.Pages < m.Pages {
		return damage("the journal ends here, but it had events up to %d", m.Event)
	}
	return io.EOF
}

// behind is where the page behind the last one of a generation would be.
func (j *Journal) behind(g *generation.Generation) (file string, offset int64) {
	if g.Removed {
		return j.archiveName(g), 0
	}
	files := j.live[g.Number]
	if len(files) == 0 {
		return filepath.Join(generation.LiveFolder(j.dir, g.Number), "1.blk"), 0
	}
	last := files[len(files)-1]
	return last.Path, last.Size
}

// located is a damage with all that is known of where it is.
func located(err error) error {
	if bad, ok := errors.AsType[*archive.DamageError](err); ok {
		return &journal.DamageError{Event: bad.Event, Page: bad.Page, File: bad.File, Offset: bad.Offset, Reason: bad.Reason}
	}
	return err
}

// free closes what the reader has open.
func (r *reader) free() error {
	if r.next != nil {
		<-r.next
		r.next = nil
	}
	r.ready, r.offsets, r.files, r.after, r.archive = nil, nil, nil, nil, nil
	if r.close == nil {
		return nil
	}
	err := r.close()
	r.close = nil
	return err
}

func (r *reader) Close() error {
	if r.ended == nil {
		r.ended = journal.ErrClosed
	}
	return r.free()
}
