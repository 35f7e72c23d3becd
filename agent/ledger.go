package agent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// ledger is what the record holds, in memory, and the queue of results that the
// site has not acknowledged. Nothing gets into it before it is in the record.
type ledger struct {
	write sync.Mutex // one writer of the record; taken before mu
	rec   Record
	lines int  // in the record
	dirty bool // the record failed, and must be rewritten before anything is added

	mu    sync.Mutex
	here  bool // what is taken in was reached in this process, not read from the record
	ops   map[task.ID]*known
	queue []*report
	acks  []Entry // taken in, and not yet in the record
}

// known is one operation that has begun here.
type known struct {
	last  task.Result // the newest state reached
	kind  string
	until time.Time
	again bool
	boot  string // of [Entry]
	here  bool   // last was reached in this process
}

// entry is what the record says of a state of this operation.
func (k *known) entry(r task.Result) Entry {
	return Entry{Act: Reached, Kind: k.kind, Until: k.until, Again: k.again, Boot: k.boot, Result: r}
}

// begun tells whether the task has started, or ended.
func (k *known) begun() bool { return k.last.State == task.Running || k.last.State.Final() }

// calledOff tells whether e says, of what runs, that it was cancelled: the same
// state once more, which may not start again any more.
func (k *known) calledOff(e *Entry) bool {
	return same(&e.Result, &k.last) && e.Result.State == task.Running && k.again && !e.Again
}

// report is one result that the site has not acknowledged.
type report struct {
	task.Result
	sent uint64    // session that it was sent in, 0: none
	at   time.Time // when
}

// errFull means that an operation cannot be remembered, and so not be begun.
var errFull = fmt.Errorf("the record holds %d operations, none of which may be forgotten yet", MaxKnown)

func openLedger(rec Record) (*ledger, error) {
	entries, err := rec.Load()
	if err != nil {
		return nil, err
	}
	l := &ledger{rec: rec, ops: make(map[task.ID]*known), lines: len(entries)}
	for i := range entries {
		l.apply(&entries[i])
	}
	l.here = true
	return l, nil
}

// apply takes one entry in. A Reached that neither follows what is known nor calls
// it off, and an Acked of nothing, change nothing.
func (l *ledger) apply(e *Entry) {
	r := e.Result
	op := l.ops[r.Operation]
	switch e.Act {
	case Reached:
		if op != nil && op.calledOff(e) {
			l.callOff(op, r.Detail)
			return
		}
		if op != nil && !follows(&r, &op.last) {
			return
		}
		l.ops[r.Operation] = &known{r, e.Kind, e.Until, e.Again, e.Boot, l.here}
		l.queue = append(l.queue, &report{Result: r})
	case Acked:
		l.queue = slices.DeleteFunc(l.queue, func(p *report) bool { return same(&p.Result, &r) })
		if op != nil && same(&op.last, &r) {
			op.last.Detail = cut(op.last.Detail, keptDetail)
		}
	}
}

// callOff notes that what runs was cancelled. It is no news for the site; if it does
// not know yet that the task runs it is told why it will not start again.
func (l *ledger) callOff(op *known, detail string) {
	op.again, op.last.Detail = false, detail
	for _, p := range l.queue {
		if same(&p.Result, &op.last) {
			p.Detail = detail
		}
	}
}

// keptDetail is how much is kept of the detail of a result that the site has.
const keptDetail = 512

func follows(next, prev *task.Result) bool {
	if next.Attempt != prev.Attempt {
		return next.Attempt > prev.Attempt && !prev.State.Final()
	}
	return next.State.Follows(prev.State)
}

func same(a, b *task.Result) bool {
	return a.Operation == b.Operation && a.Attempt == b.Attempt && a.State == b.State
}

// errOvertaken means that an operation has ended in the record meanwhile: it was
// cancelled.
var errOvertaken = errors.New("the operation has ended")

// reach records that an operation reached states, in order, and queues them for
// the site. now is the site's time. If the first does not follow what is on record
// the error is errOvertaken.
func (l *ledger) reach(now time.Time, durable bool, entries ...Entry) error {
	l.write.Lock()
	defer l.write.Unlock()
	if !l.room(entries[0].Result.Operation, now) {
		return errFull
	}
	if op, ok := l.get(entries[0].Result.Operation); ok && !follows(&entries[0].Result, &op.last) {
		return errOvertaken
	}
	return l.add(durable, entries)
}

// cancel records, durably, what a cancel makes of an operation, known here or not,
// and returns its end. What has not begun ends as e says; what an earlier process
// began and this one has not begun again, as interrupted. What runs goes on, and
// does not start again. Then, and if it has ended before, the end is [task.NoState].
func (l *ledger) cancel(now time.Time, e Entry) (end task.State, err error) {
	l.write.Lock()
	defer l.write.Unlock()
	if op, ok := l.get(e.Result.Operation); ok {
		running := op.last.State == task.Running
		switch {
		case op.last.State.Final() || running && !op.again: // interrupted sees to those of an earlier process
			return task.NoState, nil
		case running && op.here:
			op.again, op.last.Detail = false, e.Result.Detail
			return task.NoState, l.add(true, []Entry{op.entry(op.last)})
		}
		e.Kind, e.Until, e.Again, e.Result.Attempt = op.kind, op.until, op.again, op.last.Attempt
		if running || op.last.Attempt > 1 {
			e.Result.State, e.Result.Detail = task.Failed, detailCutOff
		}
	}
	if !l.room(e.Result.Operation, now) {
		return task.NoState, errFull
	}
	return e.Result.State, l.add(true, []Entry{e})
}

// room makes room for one more operation.
func (l *ledger) room(id task.ID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ops[id] != nil || len(l.ops) < MaxKnown {
		return true
	}
	l.forget(now)
	return len(l.ops) < MaxKnown
}

// forget drops operations whose time is over and whose end the site knows.
func (l *ledger) forget(now time.Time) {
	if now.IsZero() {
		return
	}
	for id, op := range l.ops {
		if now.After(op.until) && !l.queued(id) {
			delete(l.ops, id)
		}
	}
}

func (l *ledger) queued(id task.ID) bool {
	return slices.ContainsFunc(l.queue, func(p *report) bool { return p.Operation == id })
}

// add appends entries to the record and takes them in. l.write is held.
func (l *ledger) add(durable bool, entries []Entry) error {
	if err := l.repair(); err != nil {
		return err
	}
	l.mu.Lock()
	acks := l.acks
	l.acks = nil
	l.mu.Unlock()
	all := append(acks, entries...)
	if len(all) == 0 {
		return nil
	}
	if err := l.rec.Append(durable, all...); err != nil {
		l.dirty = true
		return err
	}
	l.lines += len(all)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range entries {
		l.apply(&entries[i])
	}
	return nil
}

// repair rewrites a record that failed, and one that is mostly history.
func (l *ledger) repair() error {
	l.mu.Lock()
	live := len(l.ops) + len(l.queue)
	tidy := l.lines > 1024 && l.lines > 4*live
	l.mu.Unlock()
	if !l.dirty && !tidy {
		return nil
	}
	entries := l.snapshot() // acknowledgements not yet written included
	if err := l.rec.Rewrite(entries); err != nil {
		l.dirty = true
		return err
	}
	l.dirty, l.lines = false, len(entries)
	return nil
}

// snapshot returns the shortest record that says what the ledger knows.
func (l *ledger) snapshot() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = nil
	entries := make([]Entry, 0, len(l.ops)+len(l.queue))
	queued := make(map[task.ID]*report, len(l.queue)) // the newest of each
	for _, p := range l.queue {
		op := l.ops[p.Operation]
		entries = append(entries, op.entry(p.Result))
		queued[p.Operation] = p
	}
	for id, op := range l.ops {
		if p := queued[id]; p != nil && same(&p.Result, &op.last) {
			continue
		}
		entries = append(entries, op.entry(op.last), Entry{Act: Acked, Result: op.last})
	}
	return entries
}

// ack takes in that the site has a result. It gets into the record with the next
// entry: what is lost of it is sent once more.
func (l *ledger) ack(operation task.ID, attempt uint8, state task.State) {
	e := Entry{Act: Acked, Result: task.Result{Operation: operation, Attempt: attempt, State: state}}
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.queue, func(p *report) bool { return same(&p.Result, &e.Result) }) {
		l.apply(&e)
		l.acks = append(l.acks, e)
	}
}

// flush writes the acknowledgements that are not yet in the record.
func (l *ledger) flush() error {
	l.write.Lock()
	defer l.write.Unlock()
	return l.add(false, nil)
}

// get returns what is known of an operation.
func (l *ledger) get(id task.ID) (known, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if op := l.ops[id]; op != nil {
		return *op, true
	}
	return known{}, false
}

// again queues the newest state of an operation once more, for a listener that
// seems not to know it.
func (l *ledger) again(id task.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := false
	for _, p := range l.queue {
		if p.Operation == id {
			p.sent, waiting = 0, true
		}
	}
	if op := l.ops[id]; op != nil && !waiting {
		l.queue = append(l.queue, &report{Result: op.last})
	}
}

// unsent returns up to max results that have not been sent in this session since
// before, oldest first, and marks them as sent.
func (l *ledger) unsent(session uint64, now, before time.Time, max int) []task.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []task.Result
	for _, p := range l.queue {
		if len(out) == max {
			break
		}
		if p.sent != session || p.at.Before(before) {
			p.sent, p.at = session, now
			out = append(out, p.Result)
		}
	}
	return out
}

// open lists the operations that have no end on record, first those that held has,
// and then those that run or ran: of what is not listed nobody hands out the cancel.
// It counts the results that wait.
func (l *ledger) open(held map[task.ID]bool) (ids []task.ID, pending int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range held { // also what is not on record yet
		if op := l.ops[id]; op == nil || !op.last.State.Final() {
			ids = append(ids, id)
		}
	}
	for _, running := range []bool{true, false} {
		for id, op := range l.ops {
			if !held[id] && !op.last.State.Final() && (op.last.State == task.Running) == running {
				ids = append(ids, id)
			}
		}
	}
	return ids[:min(len(ids), wire.MaxOpen)], len(l.queue)
}

// interrupted returns an end for every operation that was running when the last
// process ended and may not start again; boot is that of the machine now. The time
// of the ends is yet to be set.
func (l *ledger) interrupted(boot string) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ends []Entry
	for _, op := range l.ops {
		if op.last.State == task.Running && !op.again {
			r := op.last
			switch {
			case op.boot == "" && r.Detail == detailCancelled:
				r.State, r.Detail = task.Failed, detailCutOff
			case op.boot == "":
				r.State, r.Detail = task.Failed, detailInterrupted
			case sameBoot(op.boot, boot):
				r.State, r.Detail = task.Failed, detailNotBooted
			default:
				r.State, r.Detail = task.Succeeded, detailBooted
			}
			ends = append(ends, op.entry(r))
		}
	}
	return ends
}

const (
	detailInterrupted = "interrupted by a stop of the agent"
	detailCutOff      = detailCancelled + "; " + detailInterrupted
	detailBooted      = "the machine has started again"
	detailNotBooted   = "the agent stopped, and the machine has not started again"
)

func (l *ledger) close() error {
	l.write.Lock()
	defer l.write.Unlock()
	return errors.Join(l.add(false, nil), l.rec.Close())
}
