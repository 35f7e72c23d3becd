package presence_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// recorded is a journal in a file, for histories that are too long for memory.
type recorded struct {
	file *os.File

	mu    sync.Mutex
	pages []stretch
	head  journal.Head
	more  chan struct{} // closed when a page is added
}

type stretch struct {
	at     int64
	size   int
	before journal.Head
}

func newRecorded(tb testing.TB) *recorded {
	f, err := os.Create(filepath.Join(tb.TempDir(), "journal"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return &recorded{file: f, more: make(chan struct{})}
}

// add appends the events in one page, accepted a minute apart from the one before.
func (r *recorded) add(tb testing.TB, events ...*event.Event) uint64 {
	var b journal.PageBuilder
	for _, e := range events {
		body, err := e.Append(nil)
		if err != nil {
			tb.Fatal(err)
		}
		b.Add(body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	accepted := projectorstest.Epoch.Add(time.Duration(r.head.Pages) * time.Minute)
	s := b.Seal(r.head, accepted.UnixNano())
	var at int64
	if n := len(r.pages); n > 0 {
		at = r.pages[n-1].at + int64(r.pages[n-1].size)
	}
	if _, err := r.file.WriteAt(s.Bytes(), at); err != nil {
		tb.Fatal(err)
	}
	r.pages = append(r.pages, stretch{at, len(s.Bytes()), r.head})
	r.head = s.Head
	close(r.more)
	r.more = make(chan struct{})
	return r.head.Event
}

func (r *recorded) Head() journal.Head {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}

func (r *recorded) Read(_ context.Context, from uint64) (journal.Reader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := 0
	for i < len(r.pages)-1 && r.pages[i+1].before.Event < from {
		i++
	}
	return &recordedReader{journal: r, next: i, end: len(r.pages)}, nil
}

func (r *recorded) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	reader, err := r.Read(ctx, from)
	f := reader.(*recordedReader)
	f.end = -1
	if from > r.Head().Event {
		f.next = int(r.Head().Pages)
	}
	return f, err
}

type recordedReader struct {
	journal   *recorded
	next, end int
}

func (r *recordedReader) Next(ctx context.Context) (*journal.Page, error) {
	j := r.journal
	for {
		j.mu.Lock()
		n, more := len(j.pages), j.more
		var p stretch
		if r.next < n {
			p = j.pages[r.next]
		}
		j.mu.Unlock()
		if r.next == r.end {
			return nil, io.EOF
		}
		if r.next < n {
			r.next++
			raw := make([]byte, p.size)
			if _, err := j.file.ReadAt(raw, p.at); err != nil {
				return nil, err
			}
			return journal.ParsePage(raw, p.before)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *recordedReader) Close() error { return nil }
