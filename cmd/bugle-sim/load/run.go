package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The phases, in their order.
const (
	PhaseConnect = "connect" // always first
	PhaseIdle    = "idle"
	PhasePush    = "push"
	PhaseTenth   = "tenth"
	PhaseStorm   = "storm"
	PhaseChurn   = "churn"
)

// Phases are all of them.
var Phases = []string{PhaseConnect, PhaseIdle, PhasePush, PhaseTenth, PhaseStorm, PhaseChurn}

// Options say what a [Runner] does. A zero field is its default.
type Options struct {
	Agents int
	Phases []string // by default all

	InFlight int           // sign-ins under way at once, but for storms; default 64
	Storm    int           // sign-ins under way at once in a storm; default all agents
	Jitter   time.Duration // adds storms in which the return is spread over so long
	Pushes   int           // in each of the phases push and tenth; default 5
	Idle     time.Duration // over which the processor is watched; default 20 s
	Settle   time.Duration // in which memory must not move to be settled; default 3 s
	Churn    int           // sign-ins of the churn; default four of each agent
	ChurnFor time.Duration // a churn of so long in place of a number
	Sample   time.Duration // between two looks at the server during a churn; default a minute
	Pause    time.Duration // before each measurement; default 1 s
	Timeout  time.Duration // for each step of a phase; default 2 min

	Round int        // is on every line
	Line  func(Line) // is called with each line
	Log   io.Writer  // what goes on, for people; default nowhere
}

const (
	defaultInFlight = 64
	defaultPushes   = 5
	defaultIdle     = 20 * time.Second
	defaultSettle   = 3 * time.Second
	defaultSample   = time.Minute
	defaultPause    = time.Second
	defaultTimeout  = 2 * time.Minute
	churnOfEach     = 4
)

func (o Options) withDefaults() Options {
	orDefault(&o.InFlight, defaultInFlight)
	orDefault(&o.Storm, o.Agents)
	orDefault(&o.Pushes, defaultPushes)
	orDefault(&o.Idle, defaultIdle)
	orDefault(&o.Settle, defaultSettle)
	orDefault(&o.Churn, churnOfEach*o.Agents)
	orDefault(&o.Sample, defaultSample)
	orDefault(&o.Pause, defaultPause)
	orDefault(&o.Timeout, defaultTimeout)
	if len(o.Phases) == 0 {
		o.Phases = Phases
	}
	if o.Line == nil {
		o.Line = func(Line) {}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return o
}

func orDefault[N int | time.Duration](v *N, def N) {
	if *v == 0 {
		*v = def
	}
}

// A Runner takes one target through the phases, once.
type Runner struct {
	o      Options
	target Target
	watch  *watch
	roster *roster
	first  Usage // before the first sign-in
	lost   int   // sessions, as of the last line

	refused atomic.Int64 // sign-ins that failed and were tried again, since the phase began

	mu    sync.Mutex
	cause error    // of the last sign-in that failed
	short []string // what is missing, for the error at the end
}

// New returns a runner. The target is to be opened with its observer.
func New(o Options) *Runner {
	r := &Runner{o: o.withDefaults(), roster: newRoster(o.Agents)}
	r.watch = newWatch(r.roster)
	return r
}

// Observer is whom the target tells what happens.
func (r *Runner) Observer() Observer { return r.watch }

// ErrIncomplete is wrapped by the error of [Runner.Run] if something is missing: an
// agent did not sign in, or did not get a task, or its answer did not arrive.
var ErrIncomplete = errors.New("incomplete")

// Run takes the target through the phases. All sessions are dropped at the end; the
// target is not closed.
func (r *Runner) Run(ctx context.Context, t Target) (err error) {
	r.target = t
	defer r.dropAll()
	if _, err := r.settle(ctx); err != nil { // what its start took is no agent's
		return err
	}
	if r.first, err = t.Usage(); err != nil {
		return err
	}
	steps := map[string]func(context.Context) error{PhaseConnect: r.connect, PhaseIdle: r.idle, PhasePush: r.push,
		PhaseTenth: r.tenth, PhaseStorm: r.storms, PhaseChurn: r.churn}
	for _, phase := range Phases {
		if phase != PhaseConnect && !slices.Contains(r.o.Phases, phase) {
			continue
		}
		fmt.Fprintf(r.o.Log, "bugle-sim: %s, %d agents: %s\n", t.Name(), r.o.Agents, phase)
		if err := steps[phase](ctx); err != nil {
			return fmt.Errorf("%s: phase %s: %w", t.Name(), phase, err)
		}
	}
	if len(r.short) > 0 {
		return fmt.Errorf("%s: %w: %s", t.Name(), ErrIncomplete, strings.Join(r.short, "; "))
	}
	return nil
}

// line hands on what a phase has measured.
func (r *Runner) line(phase string, f Figures) {
	if n, _ := f.Of("refused"); n > 0 {
		fmt.Fprintf(r.o.Log, "bugle-sim: %s: %.0f sign-ins failed and were tried again: %s\n", phase, n, r.bound())
	}
	if n, _ := f.Of("lostSessions"); n > 0 {
		_, cause := r.roster.lossesSoFar()
		fmt.Fprintf(r.o.Log, "bugle-sim: %s: %.0f sessions ended that were not dropped, the last one for: %v\n", phase, n, cause)
	}
	r.o.Line(Line{Target: r.target.Name(), Agents: r.o.Agents, Round: r.o.Round, Phase: phase, Figures: f})
}

// lostNow is how many sessions have ended that were not dropped, since the line
// before.
func (r *Runner) lostNow() float64 {
	all, _ := r.roster.lossesSoFar()
	now := all - r.lost
	r.lost = all
	return float64(now)
}

func (r *Runner) missing(format string, args ...any) {
	r.short = append(r.short, fmt.Sprintf(format, args...))
}

// note keeps why a sign-in failed.
func (r *Runner) note(err error) {
	r.refused.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cause = err
}

// bound says what stood in the way of those that did not sign in.
func (r *Runner) bound() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused *Refused
	what := "the bound is not known"
	switch err := r.cause; {
	case err == nil:
		return "the bound is time"
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		what = "the bound is open files"
	case errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ENOBUFS):
		what = "the bound is memory"
	case errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE):
		what = "the bound is addresses and ports"
	case errors.As(err, &refused):
		what = "the bound is what the server takes"
	case errors.Is(err, context.DeadlineExceeded):
		what = "the bound is time"
	}
	return fmt.Sprintf("%s (%v)", what, r.cause)
}

// pause waits a little; agents that were lost return meanwhile.
func (r *Runner) pause(ctx context.Context, d time.Duration) error {
	over := make(chan struct{})
	t := time.AfterFunc(d, func() { close(over) })
	defer t.Stop()
	return r.awaitFor(ctx, d+r.o.Timeout, over)
}

// spent is the processor time that the target has used since before.
func (r *Runner) spent(before Usage) (time.Duration, error) {
	now, err := r.target.Usage()
	return now.CPU - before.CPU, err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
