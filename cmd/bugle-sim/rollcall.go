package main

import (
	"context"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A rollCall is when each agent, by its index, did something for the first time.
type rollCall struct {
	mu   sync.Mutex
	at   []time.Time
	left int
	all  chan struct{} // closed when nobody is missing
}

func newRollCall(n int) *rollCall {
	return &rollCall{at: make([]time.Time, n), left: n, all: make(chan struct{})}
}

func (r *rollCall) mark(i int, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at[i].IsZero() {
		return
	}
	r.at[i] = at
	if r.left--; r.left == 0 {
		close(r.all)
	}
}

// wait returns when nobody is missing, or when ctx ends.
func (r *rollCall) wait(ctx context.Context) {
	select {
	case <-r.all:
	case <-ctx.Done():
	}
}

// times returns when each agent answered, the zero time for those that did not,
// and how many those are.
func (r *rollCall) times() (at []time.Time, missing int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(at, r.at...), r.left
}

func (r *rollCall) missing() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left
}

// A course is what agents did about one operation.
type course struct{ received, ended *rollCall }

// courses are the operations that agents tell of. A task can reach an agent
// before the site's answer has told which operation it is, so while a push is
// under way all are kept; otherwise only that of the last push.
type courses struct {
	agents int

	mu    sync.Mutex
	open  bool
	known map[task.ID]*course
}

// maxCourses is how many operations are kept while a push is under way: those of
// others that happen to come meanwhile.
const maxCourses = 64

// begin forgets all operations and keeps those that come from now on.
func (c *courses) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open, c.known = true, make(map[task.ID]*course)
}

// settle keeps one operation and forgets the others.
func (c *courses) settle(id task.ID) *course {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[id]
	if k == nil {
		k = c.newCourse()
	}
	c.open, c.known = false, map[task.ID]*course{id: k}
	return k
}

func (c *courses) newCourse() *course {
	return &course{newRollCall(c.agents), newRollCall(c.agents)}
}

// of returns the operation if it is kept.
func (c *courses) of(id task.ID) *course {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[id]
	if k == nil && c.open && len(c.known) < maxCourses {
		k = c.newCourse()
		c.known[id] = k
	}
	return k
}
