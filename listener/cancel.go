package listener

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// maxCancels bounds the cancels that are kept for agents that are away; those
// that matter for the shortest time go first.
const maxCancels = 10_000

// A cancel is the site's word that an operation is not to be begun any more.
type cancel struct {
	id    task.ID
	frame []byte
	until time.Time
	place int // in the heap
}

// cancels are the words to hand out, by operation. The table's lock owns them.
type cancels struct {
	of   map[task.ID]*cancel
	heap byUntil
}

// get returns the frame to hand out at now, nil if there is none.
func (c *cancels) get(id task.ID, now time.Time) []byte {
	if k := c.of[id]; k != nil && now.Before(k.until) {
		return k.frame
	}
	return nil
}

// keep adds a word; what is over or too much is dropped.
func (c *cancels) keep(k *cancel, now time.Time) {
	if c.of == nil {
		c.of = make(map[task.ID]*cancel)
	}
	if old := c.of[k.id]; old != nil {
		heap.Remove(&c.heap, old.place)
	}
	c.of[k.id] = k
	heap.Push(&c.heap, k)
	for len(c.heap) > 0 && (len(c.heap) > maxCancels || !now.Before(c.heap[0].until)) {
		delete(c.of, heap.Pop(&c.heap).(*cancel).id)
	}
}

type byUntil []*cancel

func (h byUntil) Len() int           { return len(h) }
func (h byUntil) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h byUntil) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *byUntil) Push(k any) {
	k.(*cancel).place = len(*h)
	*h = append(*h, k.(*cancel))
}

func (h *byUntil) Pop() any {
	last := len(*h) - 1
	k := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return k
}

// end forgets an operation. A cancel of it is kept until it is over, and is
// returned with the sessions that are to get it now: those that may have the task
// and have not answered finally. A session that signs in from now on gets it if
// it lists the operation.
func (t *table) end(u EndOperation, frame []byte, now time.Time) (to []receiver) {
	t.mu.Lock()
	defer t.mu.Unlock()
	op := t.ops[u.ID]
	if op != nil {
		t.forget(op) // before it is asked who was sent it: see sendTask
	}
	if frame == nil || !now.Before(u.Until) {
		return nil
	}
	t.cancels.keep(&cancel{id: u.ID, frame: frame, until: u.Until}, now)
	if op == nil {
		return nil
	}
	for device, s := range t.sessions {
		if op.mayRun(device) {
			to = append(to, s)
		}
	}
	return to
}

// listed notes that an agent knows the operations that its sign-in lists, and
// returns the cancels of them. The caller holds the lock.
func (t *table) listed(device uint32, open []task.ID, now time.Time) (frames [][]byte) {
	for _, id := range open {
		if f := t.cancels.get(id, now); f != nil {
			frames = append(frames, f)
		} else if op := t.ops[id]; op != nil && op.targets.Has(device) {
			op.setSent(device)
		}
	}
	return frames
}

// endOperation applies the end of an operation.
func (l *Listener) endOperation(u EndOperation, now time.Time) {
	var frame []byte
	if len(u.Cancel) > 0 {
		var err error
		if frame, err = wire.Append(nil, &wire.Cancel{Signed: u.Cancel}); err != nil {
			l.notServed(fmt.Errorf("cancel operation %s: %w", u.ID, err))
		}
	}
	for _, s := range l.table.end(u, frame, now) {
		s.frame(frame)
		l.count.cancels.Add(1)
	}
}
