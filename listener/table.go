package listener

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A table is what is open and who is signed in. Under its one lock every open
// operation meets every session of its targets exactly once: at the device's
// release, or at the sign-in if that is later.
type table struct {
	maxOps int
	room   atomic.Int64 // for task frames that are kept, in bytes
	signal func([]receiver)

	mu         sync.Mutex
	generation uint64 // of the feed's reading
	ops        map[task.ID]*operation
	agenda     agenda
	cancels    cancels
	rings      rings
	sessions   map[uint32]receiver
	blocked    map[uint32]uint64 // generation in which the feed said so
	closed     bool
}

// A receiver is a session as the table sees it. The table calls deliver and
// keyrings under its lock: they must not block. What they hand over is written once
// the table has signalled, or the session begins.
type receiver interface {
	// deliver hands over an operation; p is nil unless it is the release.
	deliver(op *operation, p *push)
	// keyrings hands over rings, to go before any task.
	keyrings(frames [][]byte)
	// frame hands over a message.
	frame(f []byte)
	// displace ends the session because its device signed in again.
	displace()
	// block ends the session because its device was blocked.
	block()
	// goAway ends the session because the listener stops.
	goAway()
}

// newTable makes a table. Many sessions at once are signalled by signal, which must
// not block.
func newTable(maxOps int, signal func([]receiver)) *table {
	t := &table{maxOps: maxOps, signal: signal, ops: make(map[task.ID]*operation),
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
	for _, op := range t.ops {
		if op.generation != t.generation {
			t.forget(op)
		}
	}
	for device, g := range t.blocked {
		if g != t.generation {
			delete(t.blocked, device)
		}
	}
}

var errTooManyOps = errors.New("too many open operations")

// open adds an operation and sends it if its time has come and it is not held.
func (t *table) open(op *operation, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.ops[op.task.Operation]; known != nil {
		known.generation = t.generation
		known.merge(op)
		if known.held && !op.held {
			known.held = false
			t.releaseAll(known, now)
		}
		return nil
	}
	if len(t.ops) >= t.maxOps {
		t.forgetOver(now)
	}
	if len(t.ops) >= t.maxOps {
		return fmt.Errorf("%w: %d are held", errTooManyOps, t.maxOps)
	}
	op.generation = t.generation
	t.ops[op.task.Operation] = op
	if !op.held {
		t.releaseAll(op, now)
	}
	return nil
}

// releaseAll lets an operation go to all its targets, at not-before.
func (t *table) releaseAll(op *operation, now time.Time) {
	t.enter(&wave{op: op, next: op.task.NotBefore}, now)
}

func (op *operation) merge(again *operation) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.final == nil {
		op.final = again.final
		return
	}
	for i := range min(len(op.final), len(again.final)) {
		for j, bits := range again.final[i] {
			op.final[i][j] |= bits
		}
	}
}

// forget drops an operation and what is under way of it. The caller holds the
// lock.
func (t *table) forget(op *operation) {
	for len(op.waves) > 0 {
		t.leave(op.waves[0])
	}
	op.close(&t.room)
	delete(t.ops, op.task.Operation)
}

// sweep forgets operations that are sent to nobody any more.
func (t *table) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetOver(now)
}

// forgetOver forgets operations whose deliver-by is over: of one whose targets
// have all answered the feed tells no end. The caller holds the lock.
func (t *table) forgetOver(now time.Time) {
	for _, op := range t.ops {
		if !now.Before(op.task.DeliverBy) {
			t.forget(op)
		}
	}
}

// find returns an operation that is open, or nil.
func (t *table) find(id task.ID) *operation {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ops[id]
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

// signIn makes s the device's session, hands it what is due, in order, and the
// keyrings that it lacks. It returns the session that it displaces, and the
// cancels of operations that in lists. Under the table's lock it calls taken, so
// that what depends on who is signed in is told in the right order.
func (t *table) signIn(device uint32, s receiver, in *wire.SignIn, most int, now time.Time, taken func()) (old receiver, cancels [][]byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old = t.sessions[device]
	switch _, blocked := t.blocked[device]; {
	case t.closed:
		return nil, nil, errStops
	case blocked:
		return nil, nil, errBlocked
	case old == nil && len(t.sessions) >= most:
		return nil, nil, errFull
	}
	t.sessions[device] = s
	taken()
	cancels = t.listed(device, in.Open, now)
	if fresh := t.rings.above(in.Keyring); fresh != nil {
		s.keyrings(fresh)
	}
	for _, op := range t.due(device, now) {
		s.deliver(op, nil)
	}
	return old, cancels, nil
}

func (t *table) due(device uint32, now time.Time) []*operation {
	var due []*operation
	for _, op := range t.ops {
		if op.isReleased(device) && op.due(device, now) {
			due = append(due, op)
		}
	}
	slices.SortFunc(due, inOrder)
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
