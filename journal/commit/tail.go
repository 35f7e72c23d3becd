package commit

import (
	"sync"

	"github.com/bugle-fleet/bugle/journal"
)

// A tail is what readers see of the journal: where it ends, its newest pages,
// and in which page each event is.
type tail struct {
	mu      sync.Mutex
	head    journal.Head
	newest  []*journal.Sealed // the last ones, oldest first
	size    int               // bytes in newest
	pages   index             // all of them
	changed chan struct{}     // closed, and made anew, when something changed
	closed  bool
}

// begin notes a page that was there when the journal was opened.
func (t *tail) begin(head journal.Head, events int) {
	t.head = head
	t.pages.add(events)
}

// counts is how many events each page has; nobody changes it.
func (t *tail) counts() []uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pages.counts
}

// add shows a new page to readers.
func (t *tail) add(p *journal.Sealed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head = p.Head
	t.pages.add(int(p.Head.Event - p.Before.Event))
	t.newest = append(t.newest, p)
	t.size += len(p.Bytes())
	drop := 0
	for len(t.newest)-drop > RingPages || t.size > RingBytes && len(t.newest)-drop > 1 {
		t.size -= len(t.newest[drop].Bytes())
		drop++
	}
	if drop > 0 {
		n := copy(t.newest, t.newest[drop:])
		clear(t.newest[n:])
		t.newest = t.newest[:n]
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tail) end() journal.Head {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.head
}

// A view is what the tail says of one page.
type view struct {
	page    *journal.Sealed // or nil if it is not in memory
	head    journal.Head    // the end
	changed <-chan struct{} // closed when that is no longer so
	err     error           // journal.ErrClosed
}

// look tells what is known of page n.
func (t *tail) look(n uint64) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{head: t.head, changed: t.changed}
	if t.closed {
		v.err = journal.ErrClosed
	}
	if len(t.newest) > 0 {
		if oldest := t.newest[0].Head.Pages; n >= oldest && n <= t.head.Pages {
			v.page = t.newest[n-oldest]
		}
	}
	return v
}

// find returns which page holds event from, the head before that page without
// its hash, and the present end. For the event behind the last one that is the
// page to come.
func (t *tail) find(from uint64) (before, end journal.Head, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return before, end, journal.ErrClosed
	}
	if from > t.head.Event+1 {
		return before, end, journal.ErrAhead
	}
	if from == t.head.Event+1 {
		return t.head, t.head, nil
	}
	pages, first := t.pages.find(from)
	return journal.Head{Event: first - 1, Pages: pages}, t.head, nil
}
