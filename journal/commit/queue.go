package commit

import (
	"context"
	"runtime"
	"sync"

	"github.com/bugle-fleet/bugle/journal"
)

// A group is the batches that become one page.
type group struct {
	pages journal.PageBuilder
	guard *guarded // or nil; then the events are in pages already

	// Written by the appender before it closes done.
	done     chan struct{}
	first    uint64 // number of the first event
	accepted int64  // of the first event; each further one is 1 ns later
	err      error
}

// wait returns nil once the appender is through with the group, or the error of
// ctx. One channel is waited for more cheaply than two, and most callers have a
// context that does not end.
func (g *group) wait(ctx context.Context) error {
	if ctx.Done() == nil {
		<-g.done
		return nil
	}
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A queue holds the groups that wait for the appender.
type queue struct {
	work chan struct{} // holds a token when there may be something new

	mu      sync.Mutex
	waiting []*group      // oldest first
	refuse  error         // why no batch is taken any more, or nil
	closed  bool          // refuse is final: the appender ends behind the last group
	room    chan struct{} // closed, and made anew, when a group was taken
	size    int           // bytes of the group taken last: a guess for the next
}

func newQueue() *queue {
	return &queue{work: make(chan struct{}, 1), room: make(chan struct{})}
}

// join adds a batch to the last group, or to a new one if it does not fit or is
// guarded, and returns the group and the batch's place in it.
func (q *queue) join(ctx context.Context, b batch) (*group, int, error) {
	for {
		g, at, room, err := q.try(b)
		if g != nil {
			q.wake()
			return g, at, nil
		}
		if err != nil {
			return nil, 0, err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

func (q *queue) try(b batch) (g *group, at int, room <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse != nil {
		return nil, 0, nil, q.refuse
	}
	if g = q.last(); g == nil || b.guard != nil || g.guard != nil || !g.pages.Room(b.count(), b.size) {
		if len(q.waiting) == MaxWaiting {
			return nil, 0, q.room, nil
		}
		g = &group{guard: b.guard, done: make(chan struct{})}
		if b.guard == nil {
			g.pages.Grow(max(b.size, q.size))
		}
		q.waiting = append(q.waiting, g)
	}
	at = g.pages.Count()
	b.addTo(&g.pages)
	return g, at, nil, nil
}

func (q *queue) last() *group {
	if len(q.waiting) == 0 {
		return nil
	}
	return q.waiting[len(q.waiting)-1]
}

func (q *queue) wake() {
	select {
	case q.work <- struct{}{}:
	default:
	}
}

// take returns the oldest group, or nil once the queue is closed and empty.
func (q *queue) take() *group {
	for {
		q.settle()
		g, closed := q.first()
		if g != nil || closed {
			return g
		}
		<-q.work
	}
}

// settle lets others run for as long as they add to what waits. Callers that
// were just answered come back at once; without this the first of them would
// get a page for itself and the others would wait for it.
func (q *queue) settle() {
	for before := 0; ; {
		q.mu.Lock()
		n := 0
		if len(q.waiting) == 1 && q.waiting[0].guard == nil {
			n = q.waiting[0].pages.Count()
		}
		q.mu.Unlock()
		if n <= before {
			return
		}
		before = n
		runtime.Gosched()
	}
}

func (q *queue) first() (g *group, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, q.closed
	}
	g = q.waiting[0]
	q.waiting = append(q.waiting[:0], q.waiting[1:]...)
	q.size = g.pages.Size() + g.pages.Size()/4
	close(q.room)
	q.room = make(chan struct{})
	return g, false
}

// stop refuses every batch from now on with err. With final set, the appender
// ends behind what waits already; what is final stays.
func (q *queue) stop(err error, final bool) {
	q.mu.Lock()
	if !q.closed {
		q.refuse, q.closed = err, final
	}
	q.mu.Unlock()
	q.wake()
}

func (q *queue) refusal() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.refuse
}
