package agent

import (
	"context"
	"errors"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// take judges a task that came. What is genuine and new is performed; what is
// known is answered from the record; what is forged is refused.
func (a *Agent) take(m *wire.Task) {
	t, err := a.genuine(m)
	if err != nil {
		a.refuse(m, err)
		return
	}
	a.clock.atLeast(t.Requested) // else a quick push would seem to come before its time
	a.event(Event{What: TaskReceived, Operation: t.Operation})
	// In hand first, then the record: whoever had it in hand before has recorded
	// its end.
	if !a.hold(t.Operation) {
		return
	}
	j := &job{a: a, task: &t, attempt: 1}
	if op, ok := a.ledger.get(t.Operation); ok && !j.resume(&op) {
		if op.last.State.Final() {
			a.ledger.again(t.Operation)
			a.report()
		}
		a.release(t.Operation)
		return
	}
	go func() {
		defer a.release(t.Operation)
		j.perform(a.work)
	}()
}

// resume goes on where the record says that an earlier process stopped; false
// means that there is nothing to do, or that begin reports it.
func (j *job) resume(op *known) bool {
	j.attempt = op.last.Attempt
	switch {
	case op.last.State == task.Delivered:
		j.recorded = task.Delivered
		return true
	case op.last.State == task.Running && op.again && j.attempt < 255:
		j.attempt++
		return true
	}
	return false
}

// genuine checks that the site signed the task for this device.
func (a *Agent) genuine(m *wire.Task) (task.Task, error) {
	t, err := m.Signed.Verify(a.id.Site, a.id.taskKeys...)
	if err != nil {
		return t, err
	}
	proof, err := task.ParseProof(m.Proof)
	if err != nil {
		return t, err
	}
	return t, proof.Verify(&t, a.id.Device)
}

// hold takes an operation in hand; false means that it is already, that the agent
// stops, or that it has too many (it then comes again with the next sign-in).
func (a *Agent) hold(id task.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held[id] || a.work.Err() != nil {
		return false
	}
	if len(a.held) >= maxHeld {
		a.drop()
		return false
	}
	a.held[id] = true
	a.working.Add(1)
	return true
}

// drop notes that a task was not taken. a.mu is held.
func (a *Agent) drop() { a.dropped = true }

// release lets go of an operation. If tasks were dropped and there is room for
// them, the connection is made anew, so that they come again: what is still in
// hand may take longer than they are valid.
func (a *Agent) release(id task.ID) {
	defer a.working.Done()
	a.mu.Lock()
	delete(a.held, id)
	again := a.dropped && len(a.held) <= maxHeld/2
	s := a.current.Load()
	a.mu.Unlock()
	if again && s != nil {
		s.conn.NetConn().Close()
	}
}

func (a *Agent) holding() map[task.ID]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := make(map[task.ID]bool, len(a.held))
	for id := range a.held {
		ids[id] = true
	}
	return ids
}

// maxRefusals is how many refusals of forged tasks wait for an acknowledgement.
const maxRefusals = 64

// refuse reports a task that is not genuine. It stays out of the record, and
// says nothing of an operation that is on record: whoever forges a task must not
// be able to spoil a real one.
func (a *Agent) refuse(m *wire.Task, why error) {
	t, err := m.Signed.Task()
	if err != nil {
		a.cfg.Log.Warn("unreadable task refused", "err", err)
		a.event(Event{What: TaskRefused, Detail: err.Error()})
		return
	}
	a.cfg.Log.Warn("task refused", "operation", t.Operation, "kind", t.Kind, "err", why)
	_, real := a.ledger.get(t.Operation)
	a.mu.Lock()
	if !real && !a.held[t.Operation] && len(a.refusals) < maxRefusals {
		a.refusals[t.Operation] = &report{Result: task.Result{Operation: t.Operation, Attempt: 1,
			State: task.Refused, At: a.clock.stamp(), Detail: cut(why.Error(), task.MaxDetail)}}
	}
	a.mu.Unlock()
	a.report()
	a.event(Event{What: TaskRefused, Operation: t.Operation, State: task.Refused, Detail: why.Error()})
}

func (a *Agent) unsentRefusals(session uint64, now time.Time) []task.Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []task.Result
	for _, r := range a.refusals {
		if r.sent != session {
			r.sent, r.at = session, now
			out = append(out, r.Result)
		}
	}
	return out
}

func (a *Agent) acked(m *wire.ResultAck) {
	a.mu.Lock()
	if r := a.refusals[m.Operation]; r != nil && m.State == task.Refused {
		delete(a.refusals, m.Operation)
	}
	a.mu.Unlock()
	a.ledger.ack(m.Operation, m.Attempt, m.State)
}

// A job is one task in hand.
type job struct {
	a       *Agent
	task    *task.Task
	attempt uint8
	action.Description
	recorded task.State // what is on record of this attempt
	slots    []chan struct{}
}

// perform brings one task to its end.
func (j *job) perform(ctx context.Context) {
	defer j.leave()
	var known bool
	if j.Description, known = j.a.actions[j.task.Kind]; !known {
		out := action.Outcome{State: task.NotApplicable, Detail: "this agent does not know " + j.task.Kind}
		if j.late() {
			out = tooLate()
		}
		j.end(ctx, out)
		return
	}
	if !j.start(ctx) {
		return
	}
	out := j.run(ctx)
	if ctx.Err() != nil && out.State != task.Succeeded {
		if j.AtLeastOnce {
			return // it starts again when the site sends it again
		}
		out = action.Outcome{State: task.Failed, Detail: detailInterrupted}
	}
	j.end(ctx, out)
}

func tooLate() action.Outcome {
	return action.Outcome{State: task.Refused, Detail: "deadline has passed"}
}

// start waits until the task may run, and records that it does; false means
// that it does not.
func (j *job) start(ctx context.Context) bool {
	if !j.ready() {
		if j.late() {
			j.end(ctx, tooLate())
			return false
		}
		if j.recorded == task.NoState {
			if err := j.reach(true, task.Delivered); err != nil {
				j.giveUp(err)
				return false
			}
		}
		if !j.await(ctx) {
			return false
		}
	}
	if j.late() {
		j.end(ctx, tooLate())
		return false
	}
	states := []task.State{task.Delivered, task.Running}
	if j.recorded == task.Delivered {
		states = states[1:]
	}
	if err := j.reach(!j.AtLeastOnce, states...); err != nil {
		j.giveUp(err)
		return false
	}
	// The disk may have taken longer than there was time, and the machine may have
	// slept meanwhile. If ctx ends, run starts nothing.
	j.a.freshTime(ctx)
	if j.late() {
		j.end(ctx, tooLate())
		return false
	}
	return true
}

// late tells whether the deadline has passed, by the latest that the site's time
// may be. A yes holds even if the estimate is not fresh: it only lags.
func (j *job) late() bool {
	_, latest, _ := j.a.clock.read()
	return !latest.Before(j.task.DeliverBy)
}

// ready tells whether the task may run without waiting for anything, and takes
// its place among those that run.
func (j *job) ready() bool {
	now, _, fresh := j.a.clock.read()
	if !fresh || now.Before(j.task.NotBefore) {
		return false
	}
	for _, slot := range j.needs() {
		select {
		case slot <- struct{}{}:
			j.slots = append(j.slots, slot)
		default:
			j.leave()
			return false
		}
	}
	return true
}

func (j *job) needs() []chan struct{} {
	if j.Class == action.Alone {
		return []chan struct{}{j.a.alone, j.a.workers}
	}
	return []chan struct{}{j.a.workers}
}

// await waits for not-before, then for a place, then for the site's time.
func (j *job) await(ctx context.Context) bool {
	for {
		now, _, _ := j.a.clock.read()
		if now.IsZero() {
			if !j.a.freshTime(ctx) {
				return false
			}
			continue
		}
		wait := j.task.NotBefore.Sub(now)
		if wait <= 0 {
			break
		}
		if !sleep(ctx, min(wait, time.Minute)) { // the next beacon may know better
			return false
		}
	}
	for _, slot := range j.needs() {
		select {
		case slot <- struct{}{}:
			j.slots = append(j.slots, slot)
		case <-ctx.Done():
			return false
		}
	}
	return j.a.freshTime(ctx)
}

// leave gives the place back.
func (j *job) leave() {
	for _, slot := range j.slots {
		<-slot
	}
	j.slots = nil
}

// freshTime waits until the site's time is known well enough; false means that
// ctx ended first.
func (a *Agent) freshTime(ctx context.Context) bool {
	for {
		next := a.clock.next()
		if _, _, fresh := a.clock.read(); fresh {
			return true
		}
		s, joined := a.online()
		if s != nil {
			s.askTime()
		}
		t := time.NewTimer(answerTime)
		select {
		case <-next:
		case <-joined:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
		t.Stop()
	}
}

// run runs the action within its time.
func (j *job) run(ctx context.Context) action.Outcome {
	timeout := j.task.RunTimeout
	if timeout <= 0 {
		timeout = j.Timeout
	}
	if timeout <= 0 {
		timeout = defaultRunTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if j.a.cfg.Turn != nil {
		if release := j.a.cfg.Turn(ctx); release != nil {
			defer release()
		}
	}
	out := action.Outcome{State: task.TimedOut}
	if ctx.Err() == nil {
		out = j.Action.Run(ctx, action.Request{Operation: j.task.Operation, Kind: j.task.Kind,
			Params: j.task.Params, Host: host{j.a}})
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && out.State != task.Succeeded {
		return action.Outcome{State: task.TimedOut, Detail: "did not end within " + timeout.String()}
	}
	return out
}

// reach records states and sends them.
func (j *job) reach(durable bool, states ...task.State) error {
	entries := make([]Entry, len(states))
	for i, s := range states {
		entries[i] = j.entry(action.Outcome{State: s})
	}
	return j.commit(durable, entries...)
}

func (j *job) entry(o action.Outcome) Entry {
	return Entry{Reached, j.task.Kind, j.task.DeliverBy.Add(keepAfter), j.AtLeastOnce,
		task.Result{Operation: j.task.Operation, Attempt: j.attempt, State: o.State,
			Code: o.Code, At: j.a.clock.stamp(), Detail: cut(o.Detail, task.MaxDetail)}}
}

func (j *job) commit(durable bool, entries ...Entry) error {
	now, _, _ := j.a.clock.read()
	if err := j.a.ledger.reach(now, durable, entries...); err != nil {
		return err
	}
	j.recorded = entries[len(entries)-1].Result.State
	j.a.report()
	for i := range entries {
		r := &entries[i].Result
		j.a.event(Event{What: StateReached, Operation: r.Operation, State: r.State, Detail: r.Detail})
		if r.State == task.Refused {
			j.a.event(Event{What: TaskRefused, Operation: r.Operation, State: r.State, Detail: r.Detail})
		}
	}
	return nil
}

// end records how the task ended. While the record cannot be written it tries
// again: what was done must not be lost, and until ctx ends there is time.
func (j *job) end(ctx context.Context, o action.Outcome) {
	if !o.State.Final() || !o.State.FromAgent() {
		o = action.Outcome{State: task.Failed, Detail: "action ended in state " + o.State.String()}
	}
	e := j.entry(o)
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := j.commit(true, e)
		if err == nil {
			return
		}
		j.a.cfg.Log.Error("result is not on record", "operation", j.task.Operation, "state", o.State, "err", err)
		j.a.status.update(func(s *Status) { s.LastError = err.Error() })
		if j.recorded == task.NoState || !sleep(ctx, wait) {
			j.giveUp(err)
			return
		}
	}
}

// giveUp leaves a task that could not be recorded to the next sign-in.
func (j *job) giveUp(err error) {
	j.a.cfg.Log.Error("task is not taken", "operation", j.task.Operation, "err", err)
	j.a.status.update(func(s *Status) { s.LastError = err.Error() })
	j.a.mu.Lock()
	j.a.drop()
	j.a.mu.Unlock()
}

// begin is what a new session starts with: ends that an earlier stop made, and
// all results that wait. It is called again with every keep-alive, for the disk
// may have failed or an acknowledgement may be missing.
func (a *Agent) begin(s *session) {
	if ends := a.interrupted; len(ends) > 0 {
		at := a.clock.stamp()
		for i := range ends {
			ends[i].Result.At = at
		}
		now, _, _ := a.clock.read()
		if err := a.ledger.reach(now, true, ends...); err != nil {
			a.cfg.Log.Error("interrupted tasks are not on record", "err", err)
		} else {
			a.interrupted = nil
		}
	}
	s.report()
}
