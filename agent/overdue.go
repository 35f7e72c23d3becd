package agent

import (
	"errors"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// endOverdue ends what an earlier process left on record without an end, and
// nobody sends again because its deadline has passed: else the site would wait for
// it as for something that runs.
func (a *Agent) endOverdue() {
	now, latest, _ := a.clock.read()
	if now.IsZero() {
		return
	}
	for _, e := range a.ledger.overdue(latest, a.holding()) {
		e.Result.At = a.clock.stamp()
		if err := a.ledger.reach(now, true, e); err != nil && !errors.Is(err, errOvertaken) {
			a.cfg.Log.Error("overdue task is not on record", "operation", e.Result.Operation, "err", err)
			return
		}
	}
}

// overdue returns an end for every operation whose deadline has passed at latest
// and that nobody brings to its end: it is not in hand, and did not run, or may
// run again but does not come again.
func (l *ledger) overdue(latest time.Time, held map[task.ID]bool) (ends []Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, op := range l.ops {
		running := op.last.State == task.Running
		if op.last.State.Final() || held[id] || running && !op.again || latest.Before(op.until.Add(-keepAfter)) {
			continue
		}
		out := action.Outcome{State: task.Refused, Detail: detailLate}
		if running {
			out = action.Outcome{State: task.Failed, Detail: detailInterrupted + "; " + detailLate}
		}
		r := op.last
		r.State, r.Code, r.Detail = out.State, out.Code, out.Detail
		ends = append(ends, op.entry(r))
	}
	return ends
}

const detailLate = "deadline has passed"
