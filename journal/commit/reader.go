package commit

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/bugle-fleet/bugle/journal"
)

// Read implements [journal.Journal].
func (j *Journal) Read(_ context.Context, from uint64) (journal.Reader, error) {
	return j.reader(from, false)
}

// Follow implements [journal.Journal].
func (j *Journal) Follow(_ context.Context, from uint64) (journal.Reader, error) {
	return j.reader(from, true)
}

func (j *Journal) reader(from uint64, follow bool) (*reader, error) {
	before, end, err := j.tail.find(max(from, 1))
	if err != nil {
		return nil, fmt.Errorf("read journal from event %d: %w", from, err)
	}
	r := &reader{j: j, at: before, last: end.Pages, begins: before.Pages > 0 && before.Hash == [32]byte{}}
	if follow {
		r.last = math.MaxUint64
	}
	return r, nil
}

// Page returns the page that holds an event, and reads that one only. For event
// 0, and behind the last event, the error wraps [journal.ErrAhead].
func (j *Journal) Page(ctx context.Context, event uint64) (*journal.Page, error) {
	page, err := j.page(ctx, event)
	if err != nil {
		return nil, fmt.Errorf("read event %d: %w", event, err)
	}
	return page, nil
}

func (j *Journal) page(ctx context.Context, event uint64) (*journal.Page, error) {
	before, end, err := j.tail.find(max(event, 1))
	if err == nil && (event == 0 || event > end.Event) {
		err = journal.ErrAhead
	}
	if err != nil {
		return nil, err
	}
	n := before.Pages + 1
	if v := j.tail.look(n); v.page != nil {
		return v.page.Page(), nil
	}
	raws, err := j.store.Load(ctx, n, n)
	if err != nil {
		return nil, missing(err, before)
	}
	// What is before the page is not read: it takes its own word for that.
	before.Hash, _ = journal.PreviousHash(raws[0])
	page, err := journal.ParsePage(raws[0], before)
	if err == nil && n == end.Pages && before.Next(page) != end {
		err = otherEnd(page, end.Pages)
	}
	return page, err
}

func otherEnd(page *journal.Page, n uint64) error {
	return &journal.DamageError{Event: page.First, Page: n, Reason: "the journal ends with another page on disk than in memory"}
}

// A reader hands out the pages behind at, up to number last.
type reader struct {
	j      *Journal
	at     journal.Head
	last   uint64
	begins bool // the hash of at is not known: the first page is taken at its word

	loaded *chunk        // pages behind at that came from the store, or nil
	chunks int           // that were loaded
	ahead  <-chan *chunk // brings those behind them, or nil
	cancel func()        // ends what brings them
}

func (r *reader) Next(ctx context.Context) (*journal.Page, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.at.Pages >= r.last {
			return nil, io.EOF
		}
		v := r.j.tail.look(r.at.Pages + 1)
		switch {
		case v.err != nil:
			return nil, v.err
		case r.loaded.next() != nil:
			return r.parse(v.head)
		case v.page != nil:
			r.stop() // it would bring this page again
			return r.take(v.page)
		case v.head.Pages > r.at.Pages:
			if err := r.load(ctx, v.head.Pages); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
		}
	}
}

// begin is told what the next page says that it follows. Nothing before it is
// read: what does not hold shows in the pages behind it.
func (r *reader) begin(previous [32]byte) {
	if r.begins {
		r.at.Hash, r.begins = previous, false
	}
}

// take hands out a page that is in memory.
func (r *reader) take(s *journal.Sealed) (*journal.Page, error) {
	r.begin(s.Before.Hash)
	if s.Before != r.at {
		return nil, &journal.DamageError{Event: r.at.Event + 1, Page: r.at.Pages + 1, Reason: "the pages on disk do not lead to those in memory"}
	}
	r.at = s.Head
	return s.Page(), nil
}

// parse hands out the next page that was loaded. The last one of the journal has
// no page behind it that holds its hash: it must be what end says.
func (r *reader) parse(end journal.Head) (*journal.Page, error) {
	raw := r.loaded.next()
	if previous, ok := journal.PreviousHash(raw); ok {
		r.begin(previous)
	}
	page, err := journal.ParseHashed(raw, r.loaded.hash(), r.at)
	if err != nil {
		return nil, err
	}
	if at := r.at.Next(page); at.Pages == end.Pages && at != end {
		return nil, otherEnd(page, at.Pages)
	}
	r.loaded.pass()
	r.at = r.at.Next(page)
	return page, nil
}

// load gets the pages behind at; the journal ends with page end now. Whoever
// comes for a second time reads on: then what is behind is brought, and hashed,
// while the caller is busy with what it has.
func (r *reader) load(ctx context.Context, end uint64) error {
	c, err := r.next(ctx, min(end, r.last))
	if err == nil {
		err = c.err
	}
	if err == nil {
		r.loaded, r.chunks = c, r.chunks+1
		r.readAhead(r.at.Pages+uint64(len(c.raws)), end)
		return nil
	}
	if v := r.j.tail.look(0); v.err != nil {
		return v.err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("read journal behind event %d: %w", r.at.Event, missing(err, r.at))
}

// next returns the chunk behind at: the one that is on its way, or a new one.
func (r *reader) next(ctx context.Context, last uint64) (*chunk, error) {
	if r.ahead != nil {
		select {
		case c, ok := <-r.ahead:
			if ok {
				return c, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.stop()
	return newChunk(r.j.store.Load(ctx, r.at.Pages+1, last)), nil
}

// readAhead begins to get the pages behind number n up to the journal's end as it
// is now, unless that is under way or they are in memory.
func (r *reader) readAhead(n, end uint64) {
	last := min(end, r.last)
	if r.ahead != nil || r.chunks < 2 || n >= last || r.j.tail.look(n+1).page != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	to := make(chan *chunk, 1)
	r.ahead, r.cancel = to, cancel
	go r.j.bring(ctx, n+1, last, to)
}

// bring loads page n and all behind it up to last, a chunk at a time. One waits for
// whoever reads while the next is loaded. With each it helps before it waits itself,
// and with the one before only when that is loaded: whoever reads is never without.
func (j *Journal) bring(ctx context.Context, n, last uint64, to chan<- *chunk) {
	defer close(to)
	var before *chunk
	for n <= last {
		c := newChunk(j.store.Load(ctx, n, last))
		if before != nil {
			before.help()
		}
		select {
		case to <- c:
		case <-ctx.Done():
			return
		}
		if c.err != nil || len(c.raws) == 0 {
			return
		}
		n += uint64(len(c.raws))
		before = c
	}
	if before != nil {
		before.help()
	}
}

// stop ends what reads ahead.
func (r *reader) stop() {
	if r.ahead == nil {
		return
	}
	r.cancel()
	for range r.ahead { // until it has ended: nothing is read any more then
	}
	r.ahead = nil
}

func (r *reader) Close() error {
	r.stop()
	r.loaded = nil
	return nil
}
