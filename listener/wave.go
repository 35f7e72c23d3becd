package listener

import (
	"bytes"
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of waves.
const (
	maxWaves  = 1024 // of one operation
	maxSpread = 366 * 24 * time.Hour
)

// Moment is when the wave reaches a device: At, and of Spread the share that the
// device's number and the operation's id give, which is
//
//	first 8 bytes of SHA-256(operation ‖ device as 4 bytes, big endian) / 2^64
//
// rounded down to a nanosecond. It is the same at every listener. Whether the
// wave holds the device does not matter.
func (w ReleaseWave) Moment(device uint32) time.Time { return w.At.Add(w.offset(device)) }

func (w ReleaseWave) offset(device uint32) time.Duration {
	var b [len(w.ID) + 4]byte
	copy(b[:], w.ID[:])
	binary.BigEndian.PutUint32(b[len(w.ID):], device)
	h := sha256.Sum256(b[:])
	share, _ := bits.Mul64(uint64(max(w.Spread, 0)), binary.BigEndian.Uint64(h[:8]))
	return time.Duration(share)
}

// A wave is a release that has not reached everybody yet.
type wave struct {
	op      *operation
	devices *task.Targets // nil: all targets
	next    time.Time     // moment of the first device that is not reached
	place   int           // in the agenda

	// Of a wave with spread: whom it reaches when, in order. Without it all are
	// reached at once.
	at  time.Time
	due []reach
}

type reach struct {
	offset time.Duration
	device uint32
}

// schedule is the devices of a wave in the order in which it reaches them, or nil
// if it reaches all at once: it has no spread, or that is over.
func (w ReleaseWave) schedule(targets *task.Targets, now time.Time) []reach {
	if w.Spread <= 0 || !now.Before(w.At.Add(w.Spread)) {
		return nil
	}
	due := []reach{}
	for d := range w.Devices.All() {
		if targets.Has(d) {
			due = append(due, reach{w.offset(d), d})
		}
	}
	slices.SortFunc(due, func(a, b reach) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.device, b.device))
	})
	return due
}

// advance sets next; false means that everybody is reached.
func (w *wave) advance() bool {
	if len(w.due) == 0 {
		return false
	}
	w.next = later(w.at.Add(w.due[0].offset), w.op.task.NotBefore)
	return true
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// An agenda is the waves under way, the one that moves next at its head.
type agenda []*wave

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].next.Before(a[j].next) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

func (a *agenda) Push(w any) {
	w.(*wave).place = len(*a)
	*a = append(*a, w.(*wave))
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	w := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return w
}

var (
	errWaves = errors.New("too many waves")
	errWave  = errors.New("wave has no devices, or a spread that is too long")
)

// wave releases an operation to the devices of a wave, each at its moment. A wave
// that is known changes nothing, nor does one of an operation that is not. The
// order is made outside the lock.
func (t *table) wave(w ReleaseWave, now time.Time) error {
	if w.Devices == nil || w.Spread > maxSpread {
		return errWave
	}
	op, known := t.findWave(w)
	if op == nil || known {
		return nil
	}
	due := w.schedule(op.targets, now)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ops[w.ID] != op {
		return nil
	}
	if len(op.known) >= maxWaves {
		return fmt.Errorf("%w: %d are held", errWaves, maxWaves)
	}
	op.known = append(op.known, w.Wave)
	fresh := &wave{op: op, devices: w.Devices, at: w.At, due: due, next: later(w.At, op.task.NotBefore)}
	if due == nil || fresh.advance() {
		t.enter(fresh, now)
	}
	return nil
}

func (t *table) findWave(w ReleaseWave) (op *operation, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if op = t.ops[w.ID]; op != nil {
		known = slices.Contains(op.known, w.Wave)
	}
	return op, known
}

// enter begins a wave: it moves at once if its time has come. The caller holds
// the lock.
func (t *table) enter(w *wave, now time.Time) {
	w.op.waves = append(w.op.waves, w)
	heap.Push(&t.agenda, w)
	if !now.Before(w.next) {
		t.move(w, now)
	}
}

// leave ends a wave.
func (t *table) leave(w *wave) {
	heap.Remove(&t.agenda, w.place)
	w.op.waves = slices.DeleteFunc(w.op.waves, func(o *wave) bool { return o == w })
}

// release moves the waves whose time has come and returns when the next one will
// move, or zero.
func (t *table) release(now time.Time) (next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.agenda) > 0 {
		w := t.agenda[0]
		if now.Before(w.next) {
			return w.next
		}
		t.move(w, now)
	}
	return time.Time{}
}

// move releases the operation to whom the wave has reached by now, and sends it
// to those of them who are signed in.
func (t *table) move(w *wave, now time.Time) {
	if w.due == nil {
		t.push(w.op, t.reachAll(w, now), now)
		t.leave(w)
		return
	}
	t.push(w.op, t.reachSome(w, now), now)
	if w.advance() {
		heap.Fix(&t.agenda, w.place)
	} else {
		t.leave(w)
	}
}

func (t *table) reachAll(w *wave, now time.Time) (to []receiver) {
	op := w.op
	for device, s := range t.sessions {
		if (w.devices == nil || w.devices.Has(device)) && !op.isReleased(device) && op.due(device, now) {
			to = append(to, s)
		}
	}
	if w.devices == nil {
		op.all, op.released = true, nil
		return to
	}
	for device := range w.devices.All() {
		op.release(device)
	}
	return to
}

func (t *table) reachSome(w *wave, now time.Time) (to []receiver) {
	n := 0
	for ; n < len(w.due); n++ {
		r := w.due[n]
		if now.Before(w.at.Add(r.offset)) || now.Before(w.op.task.NotBefore) {
			break
		}
		if w.op.isReleased(r.device) {
			continue
		}
		w.op.release(r.device)
		if s := t.sessions[r.device]; s != nil && w.op.due(r.device, now) {
			to = append(to, s)
		}
	}
	w.due = w.due[n:]
	return to
}

// A push is one release on its way to the sessions that were there.
type push struct {
	begun time.Time
	left  atomic.Int64 // sessions that have not got it
}

func (t *table) push(op *operation, to []receiver, now time.Time) {
	if len(to) == 0 {
		return
	}
	p := &push{begun: now}
	p.left.Store(int64(len(to)))
	for i, s := range to {
		fetchSession(to, i)
		s.deliver(op, p)
	}
	t.signal(to)
}

// settled counts a session that the push reached, or will not reach. It returns
// how long the push took once the last one has it.
func (p *push) settled() (took time.Duration, last bool) {
	if p.left.Add(-1) != 0 {
		return 0, false
	}
	return time.Since(p.begun), true
}

// inOrder is the order in which a session is handed operations at its sign-in:
// oldest first. Its queue puts them in order of priority.
func inOrder(a, b *operation) int { return bytes.Compare(a.task.Operation[:], b.task.Operation[:]) }
