package agent

import (
	"context"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// take judges a task that came on a connection.
func (a *Agent) take(m *wire.Task) { a.judge(m, true) }

// judge judges a task that came, on a connection or in policy. What is genuine
// and new is performed; what is known is answered from the record, if there is
// anybody to answer; what is forged is refused.
func (a *Agent) judge(m *wire.Task, answer bool) {
	t, err := a.genuine(m)
	if err != nil {
		a.refuse(m, err)
		return
	}
	a.clock.atLeast(t.Requested) // else a quick push would seem to come before its time
	a.event(Event{What: TaskReceived, Operation: t.Operation})
	// In hand first, then the record: whoever had it in hand before has recorded
	// its end.
	j := &job{a: a, task: &t, attempt: 1, off: make(chan struct{})}
	if !a.keep(j) {
		return
	}
	if op, ok := a.ledger.get(t.Operation); ok && !j.resume(&op) {
		if answer && op.last.State.Final() {
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
	case !op.begun():
		j.recorded = op.last.State
		return true
	case op.last.State == task.Running && op.again && j.attempt < 255:
		j.attempt++
		return true
	}
	return false
}

// genuine checks that the site signed the task for this device.
func (a *Agent) genuine(m *wire.Task) (task.Task, error) {
	t, err := m.Signed.Verify(a.id.Site, a.id.taskKeys()...)
	if err != nil {
		return t, err
	}
	proof, err := task.ParseProof(m.Proof)
	if err != nil {
		return t, err
	}
	return t, proof.Verify(&t, a.id.Device)
}

// keep takes an operation in hand; false means that it is already, that it was
// cancelled, that the agent stops, or that it has too many (it then comes again with the next sign-in).
func (a *Agent) keep(j *job) bool {
	id := j.task.Operation
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, cancelled := a.cancels[id]; cancelled || a.held[id] != nil || a.work.Err() != nil {
		return false
	}
	if len(a.held) >= maxHeld {
		a.drop()
		return false
	}
	a.held[id] = j
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
		s.conn.Close()
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
	if !real && a.held[t.Operation] == nil && len(a.refusals) < maxRefusals {
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

// news are channels of which one is closed when something happens that may let a
// task go on.
type news struct{ beacon, joined, policy <-chan struct{} }

func (a *Agent) news() news {
	n := news{beacon: a.clock.next(), policy: a.policy.next()}
	_, n.joined = a.online()
	return n
}

// timeHeld tells whether the site's time may be relied on although there is no
// beacon: nobody is there to be asked.
func (a *Agent) timeHeld() bool {
	s, _ := a.online()
	return s == nil && a.clock.held()
}

// freshTime waits until the site's time is known well enough; false means that
// ctx ended first.
func (a *Agent) freshTime(ctx context.Context) bool {
	for {
		n := a.news()
		if _, _, fresh := a.clock.read(); fresh || a.timeHeld() {
			return true
		}
		s, _ := a.online()
		if s != nil {
			s.askTime()
		}
		t := time.NewTimer(answerTime)
		select {
		case <-n.beacon:
		case <-n.joined:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
		t.Stop()
	}
}

// begin is what a new session starts with: ends that an earlier stop made or a
// deadline since, and all results that wait. It is called again with every keep-alive, for the disk
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
	a.recordCancels()
	a.endOverdue()
	s.report()
}
