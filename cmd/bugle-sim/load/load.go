package load

import (
	"context"
	"time"
)

// A Target is a server that pushes small tasks to agents and takes their answers.
// What happens at its agents it tells an [Observer].
type Target interface {
	// Name is what the figures call it.
	Name() string
	// SignIn connects an agent and returns once the server has taken it: a task that
	// is pushed from then on reaches it. Of what was pushed while it was away it gets
	// what it missed. If full is true it shakes hands from the start; else it resumes
	// the TLS session that it had, if the server lets it. Several are called at once,
	// never two for one agent.
	SignIn(ctx context.Context, agent int, full bool) (Session, error)
	// Push hands the server one task for some agents, nil for all, and returns once
	// the server has taken it; its number is that which the observer is told.
	Push(ctx context.Context, agents []int) (number uint64, err error)
	// Usage is what the server's process has used. ResetPeak lets the peak begin anew.
	Usage() (Usage, error)
	ResetPeak() error
	// Close ends the server, if the target has started it.
	Close() error
}

// A Session is an agent's connection.
type Session interface {
	// Resumed tells whether its handshake resumed an earlier one.
	Resumed() bool
	// Drop ends it without a goodbye, as a network that fails does.
	Drop()
}

// Refused is the error of a sign-in that the server has turned away, if it said when
// to come back. Any other error counts as refused too, and is tried again soon.
type Refused struct {
	After  time.Duration // not before, 0 if it did not say
	Reason string
}

func (e *Refused) Error() string { return "refused: " + e.Reason }

// A Prober is a target whose administrator's side can be asked something small, again
// and again, by another process: a storm keeps this one so busy that it would measure
// how long its own goroutines wait.
type Prober interface {
	// Probe begins to ask and returns once a first answer has come, which does not
	// count. stop ends it and returns what has come since; it is to be called, once.
	// What ends with ctx is incomplete.
	Probe(ctx context.Context) (stop func() (Probes, error), err error)
}

// Probes are the questions that a [Prober] asked; none if it cannot ask.
type Probes struct {
	Took   []time.Duration // from a question to its good answer
	Failed int             // how many had no good answer
}

// A Gauger is a target that tells more of its server than [Usage], by names such as
// goroutines and files; they are shown at the beginning and at the end of a churn.
type Gauger interface {
	Gauges(ctx context.Context) (map[string]float64, error)
}

// An Observer is told what happens, by many goroutines. It must not block. Tasks may
// come before Push has returned their number.
type Observer interface {
	// Task tells that an agent has a task. It may come more than once.
	Task(agent int, number uint64, at time.Time)
	// Safe tells that an agent knows that the server has its answer.
	Safe(agent int, number uint64, at time.Time)
	// Counted tells that answers of so many more agents have come to where the results
	// of the task are looked at: the operation's view, or the back end's subscription.
	// No agent counts twice for one task.
	Counted(number uint64, agents int, at time.Time)
	// Lost tells that a session has ended that was not dropped.
	Lost(agent int, err error)
}

// Usage is what a process has used.
type Usage struct {
	CPU  time.Duration // of user and system, since it began
	RSS  uint64        // bytes that are resident, on Linux without pages of files
	Peak uint64        // the most that was, since it began or since the last ResetPeak

	// Mapped is what is resident of files, which the system takes back when it needs it;
	// 0 where it is not told. It counts neither in RSS nor in Peak, as far as it was the
	// same at the time.
	Mapped uint64
}
