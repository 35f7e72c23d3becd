package load

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// A roll is when each agent did something for the first time. Those that are not
// asked to are not waited for.
type roll struct {
	at   []atomic.Int64 // nanoseconds since the watch began, 0 is not yet
	left atomic.Int64
	all  chan struct{} // closed when nobody is missing
}

func newRoll(agents, asked int) *roll {
	r := &roll{at: make([]atomic.Int64, agents), all: make(chan struct{})}
	r.left.Store(int64(asked))
	return r
}

// mark tells whether it was the first time.
func (r *roll) mark(agent int, at time.Duration) bool {
	if !r.at[agent].CompareAndSwap(0, max(1, int64(at))) {
		return false
	}
	if r.left.Add(-1) == 0 {
		close(r.all)
	}
	return true
}

// since returns how long after begun each did, in any order.
func (r *roll) since(begun time.Duration) []time.Duration {
	var took []time.Duration
	for i := range r.at {
		if at := r.at[i].Load(); at != 0 {
			took = append(took, time.Duration(at)-begun)
		}
	}
	return took
}

// A course is what agents do about one task.
type course struct {
	asked   *asked
	task    *roll
	safe    *roll
	doubled atomic.Int64 // tasks that an agent had
	astray  atomic.Int64 // tasks of those that are not asked

	mu      sync.Mutex
	counted int // answers
	at      time.Duration
	all     chan struct{} // closed when all are counted
}

// asked are the agents that a task is for.
type asked struct {
	who []bool // nil is all
	n   int
}

func newAsked(agents int, chosen []int) *asked {
	if chosen == nil {
		return &asked{n: agents}
	}
	a := &asked{who: make([]bool, agents), n: len(chosen)}
	for _, i := range chosen {
		a.who[i] = true
	}
	return a
}

func (a *asked) has(agent int) bool { return a.who == nil || a.who[agent] }

func newCourse(agents int, a *asked) *course {
	return &course{asked: a, task: newRoll(agents, a.n), safe: newRoll(agents, a.n), all: make(chan struct{})}
}

// count counts answers of more agents.
func (c *course) count(agents int, at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.counted
	c.counted += agents
	if before < c.asked.n && c.counted >= c.asked.n {
		c.at = at
		close(c.all)
	}
}

// A watch is told what happens. A task can reach an agent before the server's answer
// has told which number it is, so while a push is under way all are kept; otherwise
// only that of the last push.
type watch struct {
	roster *roster
	begun  time.Time
	book   atomic.Pointer[book]
	mu     sync.Mutex // of who replaces the book
	stale  atomic.Int64
}

// A book is never changed, it is replaced.
type book struct {
	open  bool
	asked *asked
	known map[uint64]*course
	past  map[uint64]bool // numbers of earlier pushes
}

// maxCourses is how many tasks are kept while a push is under way: those of others
// that happen to come meanwhile.
const maxCourses = 64

func newWatch(r *roster) *watch {
	w := &watch{roster: r, begun: time.Now()}
	w.book.Store(&book{})
	return w
}

// now is the time as courses have it.
func (w *watch) now() time.Duration { return time.Since(w.begun) }

// begin forgets the last task and keeps those that come from now on.
func (w *watch) begin(a *asked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.book.Store(&book{open: true, asked: a, past: w.past()})
}

// settle keeps one task and forgets the others.
func (w *watch) settle(number uint64) *course {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.book.Load()
	c := b.known[number]
	if c == nil {
		c = newCourse(w.roster.agents(), b.asked)
	}
	w.book.Store(&book{known: map[uint64]*course{number: c}, past: b.past})
	return c
}

// past are the numbers that were; w.mu is held.
func (w *watch) past() map[uint64]bool {
	b := w.book.Load()
	past := maps.Clone(b.past)
	if past == nil {
		past = map[uint64]bool{}
	}
	if !b.open {
		for number := range b.known {
			past[number] = true
		}
	}
	return past
}

// of returns the task if it is kept.
func (w *watch) of(number uint64) *course {
	b := w.book.Load()
	if c := b.known[number]; c != nil || !b.open || b.past[number] {
		return c
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b = w.book.Load()
	c := b.known[number]
	if c == nil && b.open && len(b.known) < maxCourses {
		c = newCourse(w.roster.agents(), b.asked)
		more := maps.Clone(b.known)
		if more == nil {
			more = map[uint64]*course{}
		}
		more[number] = c
		w.book.Store(&book{open: true, asked: b.asked, known: more, past: b.past})
	}
	return c
}

// Task is of [Observer].
func (w *watch) Task(agent int, number uint64, at time.Time) {
	c := w.of(number)
	switch {
	case c == nil:
		if w.book.Load().past[number] {
			w.stale.Add(1)
		}
	case !c.asked.has(agent):
		c.astray.Add(1)
	case !c.task.mark(agent, at.Sub(w.begun)):
		c.doubled.Add(1)
	}
}

// Safe is of [Observer].
func (w *watch) Safe(agent int, number uint64, at time.Time) {
	if c := w.of(number); c != nil && c.asked.has(agent) {
		c.safe.mark(agent, at.Sub(w.begun))
	}
}

// Counted is of [Observer].
func (w *watch) Counted(number uint64, agents int, at time.Time) {
	if c := w.of(number); c != nil {
		c.count(agents, at.Sub(w.begun))
	}
}

// Lost is of [Observer].
func (w *watch) Lost(agent int, err error) { w.roster.lose(agent, err) }
