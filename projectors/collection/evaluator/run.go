package evaluator

import (
	"context"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// longestSleep is how soon a step of the clock is noticed; one back that is longer than
// maxBack is followed, the time stands still after a shorter one.
const (
	longestSleep = 10 * time.Second
	maxBack      = time.Minute
)

// Run evaluates until ctx ends, and returns nil then. It may be called once. An error
// says that it cannot go on: the journal took the results in a way that cannot be
// told ([journal.ErrUnknown]), is damaged or closed. What was not stored is found at
// the next start.
func (e *Evaluator) Run(ctx context.Context) error {
	defer close(e.ended)
	err := e.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (e *Evaluator) run(ctx context.Context) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := e.follow(ctx, e.applied+1)
	defer func() {
		cancel()
		<-f.ended
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := e.drain(f.pages); err != nil {
			return err
		}
		now := e.cfg.Now()
		e.plan(now)
		if which, it := e.queues.take(now); it != nil {
			if err := e.cycle(ctx, which, it); err != nil {
				return err
			}
			continue
		}
		timer.Reset(e.sleep(now))
		var err error
		select {
		case p := <-f.pages:
			err = e.take(p)
		case answer := <-e.asks:
			answer()
		case err = <-f.failed:
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// drain takes what waits, without waiting for more: pages first, for a question is
// answered as of all of them.
func (e *Evaluator) drain(pages <-chan *journal.Page) error {
	for range min(len(pages), maxPages) {
		if err := e.take(<-pages); err != nil {
			return err
		}
	}
	if err := e.settle(); err != nil {
		return err
	}
	for {
		select {
		case answer := <-e.asks:
			answer()
		default:
			return nil
		}
	}
}

// plan lets what is due wait in its queue.
func (e *Evaluator) plan(now time.Time) {
	if wall(now).Before(e.clock.Add(-maxBack)) {
		e.setBack(now)
	}
	if !e.due.IsZero() && !e.due.After(now) {
		e.schedule(now)
	}
	if at := e.incrementalDue(); !at.IsZero() && !at.After(now) {
		e.put(event.IncrementalQueue, &item{cause: event.ByDevices, by: e.pending.event})
	}
}

// wall is a time without the monotonic clock, by which a time after another one is never
// before it.
func wall(t time.Time) time.Time { return t.Round(0) }

// setBack follows a clock that was wrong: what was to come by it comes by the new one,
// and all devices are looked at, for any rule with a date can have turned back.
func (e *Evaluator) setBack(now time.Time) {
	e.cfg.Log.Warn("the clock was set back", "from", e.clock, "to", now)
	e.clock, e.turn, e.last = wall(now), now, time.Time{}
	e.changes.add(e.engine.Devices().Clone())
	if e.pending.any() {
		e.pending.first, e.pending.soon = now, now
	}
	if !e.behind.IsZero() {
		e.behind = now
	}
	for _, n := range e.nodes {
		n.due = e.nextDue(n)
	}
	e.planSchedules()
}

// schedule lets the collections wait whose time has come: each once, however often
// that was since the last look.
func (e *Evaluator) schedule(now time.Time) {
	it := &item{cause: event.BySchedule}
	for id, n := range e.nodes {
		if n.due.IsZero() || n.due.After(now) {
			continue
		}
		if next, ok := n.schedule.Next(n.due); ok {
			if d := next.Sub(n.due); it.interval == 0 || d < it.interval {
				it.interval = d
			}
		}
		it.ids = append(it.ids, id)
		n.due = e.nextDue(n)
	}
	e.planSchedules()
	e.put(event.FullQueue, it)
}

// nextDue is when a schedule comes next, zero for never.
func (e *Evaluator) nextDue(n *node) time.Time {
	at, _ := n.schedule.Next(e.cfg.Now())
	return at
}

func (e *Evaluator) planSchedules() {
	e.due = time.Time{}
	for _, n := range e.nodes {
		e.due = earlier(e.due, n.due)
	}
}

// earlier returns the earlier of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// incrementalDue is when the next incremental cycle is to begin, zero for not yet.
func (e *Evaluator) incrementalDue() (at time.Time) {
	s := &e.cfg.Settings
	if e.pending.any() {
		at = earlier(e.pending.first.Add(s.Latest), e.pending.soon.Add(s.Quiet))
	}
	at = earlier(at, e.behind)
	if !e.turn.IsZero() {
		at = earlier(at, later(e.turn, e.last.Add(s.Quiet)))
	}
	if !at.IsZero() && s.Interval > 0 && !e.last.IsZero() {
		at = later(at, e.last.Add(s.Interval))
	}
	return at
}

// sleep is how long nothing is due.
func (e *Evaluator) sleep(now time.Time) time.Duration {
	at := earlier(e.due, e.incrementalDue())
	if at.IsZero() {
		return longestSleep
	}
	return min(max(at.Sub(now), 0), longestSleep)
}

// planTurn finds the next instant at which a rule with a date turns.
func (e *Evaluator) planTurn() {
	at, ok := e.engine.NextTurn(e.clock)
	if !ok {
		at = time.Time{}
	} else if !at.After(e.clock) {
		at = e.clock.Add(time.Millisecond)
	}
	e.turn = at
}

// tick moves the clock that rules are evaluated for, and takes the devices for which
// one of them turned. It tells whether there are any.
func (e *Evaluator) tick() (turned bool) {
	now := later(e.clock, wall(e.cfg.Now()))
	if !e.turn.IsZero() && !e.turn.After(now) {
		devices := e.engine.Turning(e.clock, now)
		turned = !devices.IsEmpty()
		e.changes.add(devices)
	}
	e.clock = now
	e.planTurn()
	return turned
}

// serve runs op beside the goroutine of Run, which answers questions meanwhile.
func (e *Evaluator) serve(op func() error) error {
	done := make(chan error, 1)
	go func() { done <- op() }()
	asks := e.asks
	if !e.ready {
		asks = nil
	}
	for {
		select {
		case err := <-done:
			return err
		case answer := <-asks:
			answer()
		}
	}
}

// The wait between two tries, and how many failures in a row make one line of the
// log.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 5 * time.Second
	sayEvery  = 60
)

// retry does what can fail for a while until it succeeds, ctx ends, or the error is
// one that stays.
func (e *Evaluator) retry(ctx context.Context, what string, passes func(error) bool, op func() error) error {
	wait := firstWait
	for failures := 0; ; failures++ {
		err := e.serve(op)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !passes(err):
			return fmt.Errorf("%s: %w", what, err)
		}
		if failures%sayEvery == 0 {
			e.cfg.Log.Error("cannot "+what+", tries again", "err", err)
		}
		e.pause(ctx, wait)
		wait = min(2*wait, lastWait)
	}
}

func (e *Evaluator) pause(ctx context.Context, d time.Duration) {
	_ = e.serve(func() error {
		idle(ctx, d)
		return nil
	})
}

func idle(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// always is for what no error ends.
func always(error) bool { return true }
