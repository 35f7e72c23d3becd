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

	// The table's lock owns these.
	generation uint64
	released   bool

	ended atomic.Bool

	mu     sync.Mutex
	final  [][4]uint64       // bit n: device n reported finally
	frames map[uint32][]byte // by leaf: its 256 devices get the same bytes
	cached int64             // bytes in frames

	// Of the push at the release.
	begun time.Time
	left  atomic.Int64 // sessions that have not got it
}

func newOperation(t task.Task, u OpenOperation) *operation {
	op := &operation{task: t, signed: u.Signed, targets: u.Targets,
		final: make([][4]uint64, u.Targets.Leaves()), frames: make(map[uint32][]byte)}
	op.addDone(u.Done)
	return op
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
	if i := int(device / 256); i < len(op.final) {
		op.final[i][device%256/64] |= 1 << (device % 64)
	}
}

func (op *operation) isFinal(device uint32) bool {
	op.mu.Lock()
	defer op.mu.Unlock()
	i := int(device / 256)
	return i < len(op.final) && op.final[i][device%256/64]&(1<<(device%64)) != 0
}

// due tells whether the operation, which is released, may be sent to device now:
// it is one of its targets, the time is not over, and the device has not answered.
// Not-before was judged at the release, once: now may be a moment before that.
func (op *operation) due(device uint32, now time.Time) bool {
	return !op.ended.Load() && op.targets.Has(device) && now.Before(op.task.DeliverBy) && !op.isFinal(device)
}

// frame returns the task for device as it is sent. The bytes are shared: nobody
// changes them.
func (op *operation) frame(device uint32, budget *atomic.Int64) ([]byte, error) {
	leaf := device / 256
	op.mu.Lock()
	defer op.mu.Unlock()
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

// settled counts a session that the push at the release reached, or will not
// reach. It returns how long the push took once the last one has it.
func (op *operation) settled(now time.Time) (took time.Duration, last bool) {
	if op.left.Add(-1) != 0 {
		return 0, false
	}
	return now.Sub(op.begun), true
}
