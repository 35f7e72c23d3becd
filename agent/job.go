package agent

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A job is one task in hand. Its goroutine owns it, but for what is said of its
// fields.
type job struct {
	a       *Agent
	task    *task.Task
	attempt uint8
	action.Description
	recorded task.State // what is on record of this attempt
	begun    bool       // running was on record of this attempt
	turn     *turn
	off      chan struct{} // closed, under Agent.mu, when the task was cancelled

	why Deferral // guarded by Agent.mu: zero, or why it is deferred
}

// perform brings one task to its end.
func (j *job) perform(ctx context.Context) {
	var known bool
	if j.Description, known = j.a.kindOf(j.task.Kind); !known {
		out := action.Outcome{State: task.NotApplicable, Detail: "this agent does not know " + j.task.Kind}
		if j.late() {
			out = j.tooLate()
		}
		j.end(ctx, out)
		return
	}
	j.turn = &turn{class: j.Class}
	defer j.a.turns.leave(j.turn)
	started := j.start(ctx)
	if ctx.Err() == nil { // else what waits goes on waiting after the next start
		j.undefer()
	}
	if !started {
		return
	}
	out := j.run(ctx)
	if ctx.Err() != nil && out.State != task.Succeeded {
		if j.comesAgain() || j.Class == action.Barrier {
			// Whether the machine that goes down was started again is known when it is
			// back.
			return
		}
		out = j.interruption()
	}
	j.end(ctx, out)
}

func (j *job) tooLate() action.Outcome {
	detail := detailLate
	if why := j.deferral().Why; why != "" {
		detail += "; " + why
	}
	return action.Outcome{State: task.Refused, Detail: detail}
}

// A hold is why a task may not start yet, or ever.
type hold struct {
	never   *action.Outcome
	wait    time.Duration // at most, until it is worth looking again
	askTime bool          // the site must be asked for its time
	window  *window.Answer
	turn    <-chan struct{} // closed when it is the task's turn
}

// maxWait is the longest wait without looking again.
const maxWait = time.Hour

// start waits until the task may run, and records that it does; false means
// that it does not.
func (j *job) start(ctx context.Context) bool {
	for {
		news := j.a.news() // before looking, so that nothing is missed
		h := j.look()
		switch {
		case h == nil:
			if started, end := j.begin(ctx); started || end {
				return started
			}
			continue
		case h.never != nil:
			j.end(ctx, *h.never)
			return false
		}
		if err := j.tell(h); err != nil {
			j.giveUp(err)
			return false
		}
		if !j.pause(ctx, h, news) {
			if j.isOff() {
				j.endCancelled(ctx)
			}
			return false
		}
	}
}

// look tells what the task waits for, nil if it may start; then it has a place
// among those that run.
func (j *job) look() *hold {
	now, _, fresh := j.a.clock.read()
	if j.late() {
		out := j.tooLate()
		return &hold{never: &out}
	}
	if now.IsZero() {
		return &hold{wait: maxWait, askTime: true}
	}
	left := j.task.DeliverBy.Sub(now) + time.Nanosecond
	if d := j.task.NotBefore.Sub(now); d > 0 {
		j.a.turns.expect(j.turn, j.task.NotBefore)
		return &hold{wait: min(d, left)}
	}
	if j.intrusive() {
		if !j.a.policy.isSure() { // there may be windows; it is asked for at every sign-in
			j.a.turns.expect(j.turn, now)
			return &hold{wait: left}
		}
		a := j.fits(now)
		if !a.Run {
			h := &hold{wait: left, window: &a}
			if a.Next.IsZero() {
				j.a.turns.leave(j.turn)
			} else {
				j.a.turns.expect(j.turn, a.Next.Open)
				h.wait = min(left, a.Next.Open.Sub(now))
			}
			return h
		}
		if !a.Now.IsZero() { // after that it fits no more
			left = min(left, a.Now.Close.Sub(now)-j.need())
		}
	}
	if turn := j.a.turns.join(j.turn, now); turn != nil {
		return &hold{wait: left, turn: turn}
	}
	if !fresh && !j.a.timeHeld() {
		return &hold{wait: left, askTime: true}
	}
	return nil
}

// begin records that the task runs. If it may not any more, now that this is on
// record, it says how it ended, or goes back to waiting: then both are false.
func (j *job) begin(ctx context.Context) (started, ended bool) {
	j.undefer()
	if err := j.running(); err != nil {
		j.giveUp(err)
		return false, true
	}
	// The disk may have taken longer than there was time, and the machine may have
	// slept meanwhile.
	j.a.freshTime(ctx)
	if ctx.Err() != nil {
		// A barrier that is on record as running would count as done after a boot.
		if !j.comesAgain() {
			j.end(ctx, j.interruption())
		}
		return false, true
	}
	if j.isOff() {
		j.endCancelled(ctx)
		return false, true
	}
	h := j.look()
	switch {
	case h == nil:
		return true, false
	case h.never != nil:
		j.end(ctx, *h.never)
		return false, true
	case h.window == nil: // the time is not known any more: not the clocks' doing twice in a row
		return false, false
	}
	if err := j.defers(h.window); err != nil {
		j.giveUp(err)
		return false, true
	}
	return false, false
}

// running puts on record that the task runs.
func (j *job) running() error {
	var err error
	switch j.recorded {
	case task.Running:
	case task.NoState:
		err = j.reach(!j.AtLeastOnce, task.Delivered, task.Running)
	default:
		err = j.reach(!j.AtLeastOnce, task.Running)
	}
	j.begun = j.begun || err == nil
	return err
}

// tell records that the task is here and waits, or is deferred.
func (j *job) tell(h *hold) error {
	if h.window != nil {
		return j.defers(h.window)
	}
	j.undefer()
	if j.recorded != task.NoState {
		return nil
	}
	return j.reach(true, task.Delivered)
}

// defers says for which window the task waits. Only the first reason goes on
// record; the status of the agent has the newest.
func (j *job) defers(a *window.Answer) error {
	why := Deferral{Operation: j.task.Operation, Kind: j.task.Kind, Until: a.Next.Open, Why: a.Why}
	if j.deferral() != why {
		j.a.deferralIs(j, why)
	}
	if j.recorded == task.Deferred {
		return nil
	}
	entries := []Entry{j.entry(action.Outcome{State: task.Delivered}),
		j.entry(action.Outcome{State: task.Deferred, Detail: a.Why})}
	if j.recorded != task.NoState {
		entries = entries[1:]
	}
	return j.commit(true, entries...)
}

func (j *job) undefer() {
	if j.deferral() != (Deferral{}) {
		j.a.deferralIs(j, Deferral{})
	}
}

func (j *job) deferral() Deferral {
	j.a.mu.Lock()
	defer j.a.mu.Unlock()
	return j.why
}

// pause waits until it is worth looking again; false means that the task is
// not to run.
func (j *job) pause(ctx context.Context, h *hold, n news) bool {
	if h.askTime {
		if s, _ := j.a.online(); s != nil {
			s.askTime()
		}
		h.wait = min(h.wait, answerTime)
	}
	t := time.NewTimer(min(h.wait, maxWait))
	defer t.Stop()
	select {
	case <-h.turn:
	case <-n.beacon:
	case <-n.joined:
	case <-n.policy:
	case <-t.C:
	case <-j.off:
		return false
	case <-ctx.Done():
		return false
	}
	return !j.isOff() && ctx.Err() == nil
}

// late tells whether the deadline has passed, by the latest that the site's time
// may be. A yes holds even if the estimate is not fresh: it only lags.
func (j *job) late() bool {
	_, latest, _ := j.a.clock.read()
	return !latest.Before(j.task.DeliverBy)
}

// intrusive tells whether the task keeps to maintenance windows.
func (j *job) intrusive() bool {
	if j.Class != action.Intrusive && j.Class != action.Barrier {
		return false
	}
	var params struct {
		IgnoreWindows bool `json:"ignoreWindows"`
	}
	// What cannot be read ignores nothing; the action refuses it.
	return json.Unmarshal(j.task.Params, &params) != nil || !params.IgnoreWindows
}

// fits tells whether a window is open that is long enough.
func (j *job) fits(now time.Time) window.Answer {
	kind := window.General
	if strings.HasPrefix(j.task.Kind, updateKinds) {
		kind = window.Updates
	}
	return j.a.policy.settings().Windows.Fits(now, j.a.cfg.Location, kind, j.need())
}

// updateKinds is how the names of the kinds begin that keep to the windows for
// updates.
const updateKinds = "update."

func (j *job) need() time.Duration { return window.Need(j.timeout()) }

func (j *job) timeout() time.Duration {
	switch {
	case j.task.RunTimeout > 0:
		return j.task.RunTimeout
	case j.Timeout > 0:
		return j.Timeout
	}
	return defaultRunTimeout
}

// run runs the action within its time.
func (j *job) run(ctx context.Context) action.Outcome {
	timeout := j.timeout()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if j.a.cfg.Turn != nil {
		if release := j.a.cfg.Turn(ctx); release != nil {
			defer release()
		}
	}
	out := action.Outcome{State: task.TimedOut}
	if ctx.Err() == nil {
		begin, beginning := action.Begin(ctx, j.late)
		out = j.Action.Run(begin, action.Request{Operation: j.task.Operation, Kind: j.task.Kind,
			Params: j.task.Params, Host: host{j.a}})
		if beginning.Refused() {
			return j.tooLate()
		}
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
	e := Entry{Act: Reached, Kind: j.task.Kind, Until: j.task.DeliverBy.Add(keepAfter), Again: j.AtLeastOnce,
		Result: task.Result{Operation: j.task.Operation, Attempt: j.attempt, State: o.State,
			Code: o.Code, At: j.a.clock.stamp(), Detail: cut(o.Detail, task.MaxDetail)}}
	if j.Class == action.Barrier && o.State == task.Running {
		e.Boot = j.a.boot
	}
	return e
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
	j.undefer()
	e := j.entry(o)
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := j.commit(true, e)
		if err == nil || errors.Is(err, errOvertaken) {
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

// giveUp leaves a task that could not be recorded to the next sign-in. One that
// was cancelled has an end on record.
func (j *job) giveUp(err error) {
	if errors.Is(err, errOvertaken) {
		return
	}
	j.a.cfg.Log.Error("task is not taken", "operation", j.task.Operation, "err", err)
	j.a.status.update(func(s *Status) { s.LastError = err.Error() })
	j.a.mu.Lock()
	j.a.drop()
	j.a.mu.Unlock()
}
