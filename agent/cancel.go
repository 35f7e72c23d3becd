package agent

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// cancelledFor is how long a cancel is remembered of a task that never came:
// longer than any deadline that a policy can hold back.
const cancelledFor = 400 * 24 * time.Hour

const detailCancelled = "cancelled"

// cancel takes the site's word that a task must not begin. It is on record before
// anything else happens, so that no later copy of the task runs, by whatever way
// it comes; who has begun goes on, and does not begin again. If the record cannot be
// written the task is held back, and the record tried again with each keep-alive.
func (a *Agent) cancel(signed []byte) {
	c, err := task.VerifyCancel(signed, a.id.Site, a.id.taskKeys()...)
	if err != nil {
		a.cfg.Log.Warn("cancel refused", "err", err)
		return
	}
	now, _, _ := a.clock.read()
	e := Entry{Act: Reached, Until: c.At.Add(cancelledFor), Result: task.Result{Operation: c.Operation, Attempt: 1,
		State: task.Refused, At: a.clock.stamp(), Detail: detailCancelled}}
	a.mu.Lock()
	if j := a.held[c.Operation]; j != nil { // known before its first state is on record
		e.Kind, e.Until = j.task.Kind, j.task.DeliverBy.Add(keepAfter)
	}
	a.mu.Unlock()
	end, err := a.ledger.cancel(now, e)
	if err != nil {
		a.cfg.Log.Error("cancel is not on record", "operation", c.Operation, "err", err)
		a.status.update(func(s *Status) { s.LastError = err.Error() })
		a.keepBack(e)
	}
	a.callOff(c.Operation)
	switch {
	case err != nil:
	case end == task.NoState:
		a.cfg.Log.Info("cancelled after it began, or ended", "operation", c.Operation)
	default:
		a.cfg.Log.Info("cancelled", "operation", c.Operation, "state", end)
		a.report()
		a.event(Event{What: StateReached, Operation: c.Operation, State: end, Detail: detailCancelled})
	}
}

// keepBack holds back a task whose cancel is not on record.
func (a *Agent) keepBack(e Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.cancels) < maxHeld {
		a.cancels[e.Result.Operation] = e
	}
}

// recordCancels puts on record what could not be before.
func (a *Agent) recordCancels() {
	a.mu.Lock()
	waiting := maps.Clone(a.cancels)
	a.mu.Unlock()
	now, _, _ := a.clock.read()
	for id, e := range waiting {
		if _, err := a.ledger.cancel(now, e); err != nil {
			return
		}
		a.mu.Lock()
		delete(a.cancels, id)
		a.mu.Unlock()
	}
}

// callOff ends the wait of a task in hand, and tells one that runs that it must not
// start again.
func (a *Agent) callOff(id task.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.held[id]; j != nil && !j.isOff() {
		close(j.off)
	}
}

// isOff tells whether the task was cancelled.
func (j *job) isOff() bool {
	select {
	case <-j.off:
		return true
	default:
		return false
	}
}

// endCancelled ends a task that was cancelled after it was on record as running and
// before its action began. One that was not on record as that has ended already.
func (j *job) endCancelled(ctx context.Context) {
	switch {
	case !j.begun:
	case j.attempt > 1:
		j.end(ctx, action.Outcome{State: task.Failed, Detail: detailCutOff})
	default:
		j.end(ctx, action.Outcome{State: task.Refused, Detail: detailCancelled})
	}
}

// interruption is the end of a task that a stop of the agent interrupts.
func (j *job) interruption() action.Outcome {
	if j.isOff() {
		return action.Outcome{State: task.Failed, Detail: detailCutOff}
	}
	return action.Outcome{State: task.Failed, Detail: detailInterrupted}
}

// comesAgain tells whether the task starts again when the site sends it again.
func (j *job) comesAgain() bool { return j.AtLeastOnce && !j.isOff() }

// deferralIs notes for which window a job waits, the zero value for none, and
// tells people.
func (a *Agent) deferralIs(j *job, why Deferral) {
	a.mu.Lock()
	j.why = why
	a.mu.Unlock()
	a.tellDeferred()
}

// tellDeferred writes all deferrals into the status.
func (a *Agent) tellDeferred() {
	a.status.update(func(s *Status) {
		a.mu.Lock()
		defer a.mu.Unlock()
		s.Deferred, s.More = nil, 0
		for _, j := range a.held {
			if j.why != (Deferral{}) {
				s.Deferred = append(s.Deferred, j.why)
			}
		}
		slices.SortFunc(s.Deferred, func(x, y Deferral) int {
			if x.Until.IsZero() != y.Until.IsZero() {
				if x.Until.IsZero() {
					return 1
				}
				return -1
			}
			if c := x.Until.Compare(y.Until); c != 0 {
				return c
			}
			return bytes.Compare(x.Operation[:], y.Operation[:])
		})
		if n := len(s.Deferred); n > maxDeferrals {
			s.Deferred, s.More = s.Deferred[:maxDeferrals], n-maxDeferrals
		}
	})
}
