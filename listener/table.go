package listener

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A table is what is open and who is signed in. Under its one lock every open
// operation meets every session of its targets exactly once: at the release, or
// at the sign-in if that is later.
type table struct {
	maxOps int
	room   atomic.Int64 // for task frames that are kept, in bytes

	mu         sync.Mutex
	generation uint64 // of the feed's reading
	ops        map[task.ID]*operation
	sessions   map[uint32]receiver
	blocked    map[uint32]uint64 // generation in which the feed said so
	closed     bool
}

// A receiver is a session as the table sees it. The table calls deliver under
// its lock: it must not block.
type receiver interface {
	// deliver hands over an operation; push says that it is the release.
	deliver(op *operation, push bool)
	// displace ends the session because its device signed in again.
	displace()
	// block ends the session because its device was blocked.
	block()
	// goAway ends the session because the listener stops.
	goAway()
}

func newTable(maxOps int) *table {
	t := &table{maxOps: maxOps, ops: make(map[task.ID]*operation),
		sessions: make(map[uint32]receiver), blocked: make(map[uint32]uint64)}
	t.room.Store(frameCache)
	return t
}

// begin starts a reading of the feed.
func (t *table) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.generation++
}

// whole forgets what this reading of the feed has not repeated.
func (t *table) whole() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, op := range t.ops {
		if op.generation != t.generation {
			op.close(&t.room)
			delete(t.ops, id)
		}
	}
	for device, g := range t.blocked {
		if g != t.generation {
			delete(t.blocked, device)
		}
	}
}

var errTooManyOps = errors.New("too many open operations")

// open adds an operation and sends it if its time has come.
func (t *table) open(op *operation, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.ops[op.task.Operation]; known != nil {
		known.generation = t.generation
		known.merge(op)
		return nil
	}
	if len(t.ops) >= t.maxOps {
		return fmt.Errorf("%w: %d are held", errTooManyOps, t.maxOps)
	}
	op.generation = t.generation
	t.ops[op.task.Operation] = op
	if !now.Before(op.task.NotBefore) {
		t.push(op, now)
	}
	return nil
}

func (op *operation) merge(again *operation) {
	op.mu.Lock()
	defer op.mu.Unlock()
	for i := range min(len(op.final), len(again.final)) {
		for j, bits := range again.final[i] {
			op.final[i][j] |= bits
		}
	}
}

func (t *table) push(op *operation, now time.Time) {
	op.released, op.begun = true, now
	var to []receiver
	if len(t.sessions) > 0 {
		to = make([]receiver, 0, len(t.sessions))
	}
	for device, s := range t.sessions {
		if op.due(device, now) {
			to = append(to, s)
		}
	}
	op.left.Store(int64(len(to)))
	for _, s := range to {
		s.deliver(op, true)
	}
}

// release sends what has become due and returns when the next will, or zero.
func (t *table) release(now time.Time) (next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, op := range t.ops {
		switch {
		case op.released:
		case !now.Before(op.task.NotBefore):
			t.push(op, now)
		case next.IsZero() || op.task.NotBefore.Before(next):
			next = op.task.NotBefore
		}
	}
	return next
}

// end forgets an operation.
func (t *table) end(id task.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if op := t.ops[id]; op != nil {
		op.close(&t.room)
		delete(t.ops, id)
	}
}

// final notes that a device has answered; known is false for an operation that
// is not open.
func (t *table) final(id task.ID, device uint32) (known bool) {
	t.mu.Lock()
	op := t.ops[id]
	t.mu.Unlock()
	if op != nil {
		op.setFinal(device)
	}
	return op != nil
}

// block refuses a device; it returns its session, if there is one.
func (t *table) block(device uint32) receiver {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blocked[device] = t.generation
	return t.sessions[device]
}

func (t *table) unblock(device uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.blocked, device)
}

func (t *table) isBlocked(device uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.blocked[device]
	return ok
}

// Why a sign-in is not taken.
var (
	errBlocked = errors.New("device is blocked")
	errFull    = errors.New("as many devices are signed in as the listener takes")
	errStops   = errors.New("listener stops")
)

// signIn makes s the device's session, hands it what is due, oldest first, and
// returns the session that it displaces. Under the table's lock it calls taken,
// so that what depends on who is signed in is told in the right order.
func (t *table) signIn(device uint32, s receiver, most int, now time.Time, taken func()) (old receiver, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old = t.sessions[device]
	switch _, blocked := t.blocked[device]; {
	case t.closed:
		return nil, errStops
	case blocked:
		return nil, errBlocked
	case old == nil && len(t.sessions) >= most:
		return nil, errFull
	}
	t.sessions[device] = s
	taken()
	for _, op := range t.due(device, now) {
		s.deliver(op, false)
	}
	return old, nil
}

func (t *table) due(device uint32, now time.Time) []*operation {
	var due []*operation
	for _, op := range t.ops {
		if op.released && op.due(device, now) {
			due = append(due, op)
		}
	}
	slices.SortFunc(due, func(a, b *operation) int {
		return bytes.Compare(a.task.Operation[:], b.task.Operation[:])
	})
	return due
}

// signOut forgets s unless another session has displaced it; only if it was the
// device's, it calls gone under the lock.
func (t *table) signOut(device uint32, s receiver, gone func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[device] == s {
		delete(t.sessions, device)
		gone()
	}
}

// close refuses every further sign-in and returns who is signed in.
func (t *table) close() []receiver {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	all := make([]receiver, 0, len(t.sessions))
	for _, s := range t.sessions {
		all = append(all, s)
	}
	return all
}

func (t *table) counts() (ops, sessions, blocked int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ops), len(t.sessions), len(t.blocked)
}
