package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
)

// turns says whose turn it is to run. Whoever may run joins the queue; places are
// given in its order, and each class has its rule: one of Alone and Intrusive at
// a time; a Barrier when all in front of it have ended, and nothing behind it
// before it has.
type turns struct {
	mu       sync.Mutex
	free     int // places
	running  int
	alone    bool
	barrier  bool    // one runs
	queue    []*turn // in the order in which places are given
	expected []*turn // that will join at a time of their own
}

// A turn is one task's place. It belongs to the goroutine of its job, except for
// what mu guards.
type turn struct {
	class   action.Class
	due     time.Time     // guarded by turns.mu
	place   place         // guarded by turns.mu
	granted chan struct{} // closed when the task may run; made anew for each time in the queue
}

// place is where a turn is.
type place uint8

const (
	nowhere place = iota
	expected
	inQueue
	atWork
)

func newTurns(places int) *turns { return &turns{free: places} }

// expect says that a turn will join at due, by the site's time. It gives up the
// place that it has.
func (t *turns) expect(x *turn, due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(x)
	x.due, x.place = due, expected
	t.expected = append(t.expected, x)
	t.dispatch()
}

// join puts a turn into the queue. It returns nil if it may run, else the channel
// that is closed when it may. Who is in the queue, or runs, stays there. What was expected by now is in front of a barrier: a restart
// that is due with an update comes behind it.
func (t *turns) join(x *turn, now time.Time) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.place != inQueue && x.place != atWork {
		t.remove(x)
		if x.class == action.Barrier {
			for _, other := range slices.Clone(t.expected) {
				if other.class != action.Barrier && !other.due.After(now) {
					t.remove(other)
					t.enqueue(other)
				}
			}
		}
		t.enqueue(x)
		t.dispatch()
	}
	if x.place == atWork {
		return nil
	}
	return x.granted
}

func (t *turns) enqueue(x *turn) {
	x.place, x.granted = inQueue, make(chan struct{})
	t.queue = append(t.queue, x)
}

// leave gives a place back, or gives up waiting for one.
func (t *turns) leave(x *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(x)
	t.dispatch()
}

func (t *turns) remove(x *turn) {
	switch x.place {
	case expected:
		t.expected = without(t.expected, x)
	case inQueue:
		t.queue = without(t.queue, x)
	case atWork:
		t.running--
		t.free++
		switch x.class {
		case action.Alone, action.Intrusive:
			t.alone = false
		case action.Barrier:
			t.barrier = false
		}
	}
	x.place = nowhere
}

func without(list []*turn, x *turn) []*turn {
	i := slices.Index(list, x)
	return slices.Delete(list, i, i+1)
}

// dispatch gives places to those whose turn it is.
func (t *turns) dispatch() {
	for i := 0; i < len(t.queue) && t.free > 0 && !t.barrier; {
		switch x := t.queue[i]; {
		case x.class == action.Barrier && (i > 0 || t.running > 0):
			return // nothing behind it starts
		case t.alone && (x.class == action.Alone || x.class == action.Intrusive):
			i++
		default:
			t.queue = slices.Delete(t.queue, i, i+1)
			t.grant(x)
		}
	}
}

func (t *turns) grant(x *turn) {
	x.place = atWork
	t.running++
	t.free--
	switch x.class {
	case action.Alone, action.Intrusive:
		t.alone = true
	case action.Barrier:
		t.barrier = true
	}
	close(x.granted)
}
