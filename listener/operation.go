package listener

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An operation is one open operation in the table.
type operation struct {
	task    task.Task
	signed  task.Signed
	targets *task.Targets

	priority uint8 // 1 to 3

	// The table's lock owns these.
	generation uint64
	held       bool
	all        bool     // every target is released
	released   devices  // else those that are
	known      []uint32 // waves that the feed told of
	waves      []*wave  // of them and of not-before, those under way

	ended atomic.Bool

	mu     sync.Mutex
	final  devices           // that reported finally
	sent   devices           // that were sent the task, or know it
	frames map[uint32][]byte // by leaf: its 256 devices get the same bytes
	cached int64             // bytes in frames
}

// devices is a set of device numbers: bit n is device n. It has room for the
// targets of an operation; others are not taken.
type devices [][4]uint64

func (d devices) has(n uint32) bool {
	i := int(n / 256)
	return i < len(d) && d[i][n%256/64]&(1<<(n%64)) != 0
}

func (d devices) add(n uint32) {
	if i := int(n / 256); i < len(d) {
		d[i][n%256/64] |= 1 << (n % 64)
	}
}

// with adds n to d, which may still be nil.
func (op *operation) with(d devices, n uint32) devices {
	if d == nil {
		d = make(devices, op.targets.Leaves())
	}
	d.add(n)
	return d
}

func newOperation(t task.Task, u OpenOperation) *operation {
	op := &operation{task: t, signed: u.Signed, targets: u.Targets, held: u.Held, priority: priorityOf(u.Priority),
		frames: make(map[uint32][]byte)}
	op.addDone(u.Done)
	return op
}

// Priorities, of which the first goes first.
const (
	priorities    = 3
	usualPriority = 2
)

func priorityOf(p uint8) uint8 {
	if p == 0 {
		return usualPriority
	}
	return min(p, priorities)
}

// release and isReleased are about one device; the table's lock guards them.
func (op *operation) release(device uint32)         { op.released = op.with(op.released, device) }
func (op *operation) isReleased(device uint32) bool { return op.all || op.released.has(device) }

// setSent notes that a device knows the task.
func (op *operation) setSent(device uint32) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.sent = op.with(op.sent, device)
}

// mayRun tells whether a device knows the task and has not answered finally.
func (op *operation) mayRun(device uint32) bool {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.sent.has(device) && !op.final.has(device)
}

func (op *operation) addDone(done *task.Targets) {
	if done == nil {
		return
	}
	for d := range done.All() {
		op.setFinal(d)
	}
}

func (op *operation) setFinal(device uint32) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.final = op.with(op.final, device)
}

func (op *operation) isFinal(device uint32) bool {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.final.has(device)
}

// due tells whether the operation, which is released to device, may be sent to it
// now: it is one of its targets, the time is not over, and the device has not
// answered. Not-before was judged at the release, once: now may be a moment before
// that.
func (op *operation) due(device uint32, now time.Time) bool {
	return !op.ended.Load() && op.targets.Has(device) && now.Before(op.task.DeliverBy) && !op.isFinal(device)
}

// claim notes that device knows the task, and returns it as it is sent; nil if it is
// not due any more. So an operation that ends meanwhile is either seen here to have
// ended, or its cancel follows the task.
func (op *operation) claim(device uint32, now time.Time, budget *atomic.Int64) ([]byte, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.sent = op.with(op.sent, device)
	if op.ended.Load() || !op.targets.Has(device) || !now.Before(op.task.DeliverBy) || op.final.has(device) {
		return nil, nil
	}
	return op.frame(device, budget)
}

// frame returns the task for device as it is sent. The bytes are shared: nobody
// changes them. The caller holds the lock.
func (op *operation) frame(device uint32, budget *atomic.Int64) ([]byte, error) {
	leaf := device / 256
	if f, ok := op.frames[leaf]; ok {
		return f, nil
	}
	proof, _ := op.targets.Prove(device)
	f, err := wire.Append(nil, &wire.Task{Signed: op.signed, Proof: proof.Append(nil)})
	if err != nil {
		return nil, err
	}
	size := int64(len(f))
	if budget.Add(-size) < 0 || op.ended.Load() {
		budget.Add(size)
		return f, nil
	}
	op.frames[leaf] = f
	op.cached += size
	return f, nil
}

// close ends the operation and gives its frames' memory back.
func (op *operation) close(budget *atomic.Int64) {
	op.ended.Store(true)
	op.mu.Lock()
	defer op.mu.Unlock()
	budget.Add(op.cached)
	op.frames, op.cached = nil, 0
}
