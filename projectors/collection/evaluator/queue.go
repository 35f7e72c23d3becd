package evaluator

import (
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// queueCount is how many queues there are; their numbers are 1 to queueCount.
const queueCount = int(event.IncrementalQueue)

// An item is what waits in a queue: one cycle to be.
type item struct {
	ids        []string // asked for, sorted; empty for the incremental queue
	dependants bool
	cause      event.EvaluationCause
	by         uint64    // the event that caused it, 0 for none
	asked      time.Time // when it began to wait
	// interval is how long it is until it is due once more, 0 if it is not.
	interval time.Duration
	estimate time.Duration
}

// A queue is one of the four.
type queue struct {
	waiting []*item
	running *item
	count   int       // collections of what runs
	began   time.Time // when it did
	ran     QueueStats
}

// queues is the four of them, each with its own order.
type queues struct {
	mu   sync.Mutex
	all  [queueCount]queue
	turn int // the one that is looked at first
}

func (q *queues) of(which event.EvaluationQueue) *queue { return &q.all[which-1] }

// put lets an item wait. Collections that wait in the same queue already are
// dropped and counted; if none is left, so is the item. Definitions that change one
// after the other wait together.
func (q *queues) put(which event.EvaluationQueue, it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.of(which)
	if which == event.IncrementalQueue {
		if len(w.waiting) == 0 {
			w.waiting = append(w.waiting, it)
		}
		return
	}
	fresh := slices.DeleteFunc(slices.Clone(it.ids), func(id string) bool {
		return slices.ContainsFunc(w.waiting, func(o *item) bool {
			_, found := slices.BinarySearch(o.ids, id)
			return found && (o.dependants || !it.dependants)
		})
	})
	w.ran.Dropped += uint64(len(it.ids) - len(fresh))
	if len(fresh) == 0 {
		return
	}
	it.ids = fresh
	if n := len(w.waiting); n > 0 && it.cause == event.ByDefinition {
		if l := w.waiting[n-1]; l.cause == event.ByDefinition && l.dependants == it.dependants {
			l.ids = append(l.ids, fresh...)
			slices.Sort(l.ids)
			return
		}
	}
	w.waiting = append(w.waiting, it)
}

// take begins the next item. The queues take turns, so that none waits for long
// behind a busy one.
func (q *queues) take(now time.Time) (which event.EvaluationQueue, it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range queueCount {
		n := (q.turn + i) % queueCount
		w := &q.all[order[n]-1]
		if len(w.waiting) == 0 {
			continue
		}
		w.running = w.waiting[0]
		w.waiting = slices.Delete(w.waiting, 0, 1)
		w.began, w.count = now, len(w.running.ids)
		q.turn = (n + 1) % queueCount
		return order[n], w.running
	}
	return 0, nil
}

// order is that in which the queues take turns: what somebody waits for comes first.
var order = [queueCount]event.EvaluationQueue{event.SingleQueue, event.ManualQueue, event.IncrementalQueue, event.FullQueue}

// first gives a queue the next turn.
func (q *queues) first(which event.EvaluationQueue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn = slices.Index(order[:], which)
}

// counted says how many collections run.
func (q *queues) counted(which event.EvaluationQueue, count int, estimate time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.of(which)
	w.count, w.running.estimate = count, estimate
}

// done ends what runs.
func (q *queues) done(which event.EvaluationQueue, now time.Time) (took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.of(which)
	took = now.Sub(w.began)
	s := &w.ran
	s.Cycles++
	s.Began, s.Took, s.Collections = w.began, took, w.count
	s.Total += took
	s.Longest = max(s.Longest, took)
	w.running = nil
	return took
}

// mean is how long a cycle takes, 0 if there was none.
func (q *queues) mean(which event.EvaluationQueue) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := &q.of(which).ran; s.Cycles > 0 {
		return s.Total / time.Duration(s.Cycles)
	}
	return 0
}

// A QueueState is what a queue does.
type QueueState struct {
	Queue   event.EvaluationQueue
	Running *Task  // nil for nothing
	Waiting []Task // in their order
	Stats   QueueStats
}

// A Task is a cycle that runs or waits.
type Task struct {
	Collections []string // that were asked for; empty for the incremental queue; nobody changes it
	Count       int      // collections that it evaluates, as far as is known
	Dependants  bool
	Cause       event.EvaluationCause
	By          uint64    // the event that caused it, 0 for none
	Asked       time.Time // since when it has waited
	Started     time.Time // zero for one that waits
	// Estimate is how long it is expected to take, 0 if there is nothing to judge by;
	// End when it is expected to be over.
	Estimate time.Duration
	End      time.Time
}

// QueueStats is what a queue did since the evaluator began.
type QueueStats struct {
	Cycles      uint64
	Dropped     uint64        // collections that were asked for while they waited
	Began       time.Time     // the last cycle
	Took        time.Duration // and how long it was
	Collections int           // that it evaluated
	Total       time.Duration // of all cycles
	Longest     time.Duration // of one
}

// Queues returns the state of the four queues: full, manual, single, incremental. It
// never waits for a cycle.
func (e *Evaluator) Queues() []QueueState {
	now := e.cfg.Now()
	q := &e.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]QueueState, queueCount)
	free := now // when the evaluator is
	for i := range q.all {
		w := &q.all[i]
		all[i] = QueueState{Queue: event.EvaluationQueue(i + 1), Stats: w.ran}
		if w.running != nil {
			t := w.running.task()
			t.Count, t.Started, t.End = w.count, w.began, w.began.Add(t.Estimate)
			if t.End.Before(now) {
				t.End = now
			}
			all[i].Running, free = &t, t.End
		}
	}
	// What waits is served in turns.
	for step, left := 0, true; left; step++ {
		left = false
		for i := range queueCount {
			which := order[(q.turn+i)%queueCount]
			w := q.of(which)
			if step >= len(w.waiting) {
				continue
			}
			left = true
			t := w.waiting[step].task()
			free = free.Add(t.Estimate)
			t.End = free
			all[which-1].Waiting = append(all[which-1].Waiting, t)
		}
	}
	return all
}

func (it *item) task() Task {
	return Task{Collections: slices.Clone(it.ids), Count: len(it.ids), Dependants: it.dependants, Cause: it.cause, By: it.by, Asked: it.asked, Estimate: it.estimate}
}
