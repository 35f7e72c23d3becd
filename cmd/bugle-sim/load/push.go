package load

import (
	"context"
	"fmt"
	"time"
)

// push measures tasks to all agents.
func (r *Runner) push(ctx context.Context) error {
	return r.pushes(ctx, PhasePush, func(int) []int { return nil })
}

// tenthOf is the share of agents that the phase tenth pushes to.
const tenthOf = 10

// tenth measures tasks to every tenth agent, to others each time.
func (r *Runner) tenth(ctx context.Context) error {
	return r.pushes(ctx, PhaseTenth, func(push int) (chosen []int) {
		for i := push % min(tenthOf, r.o.Agents); i < r.o.Agents; i += tenthOf {
			chosen = append(chosen, i)
		}
		return chosen
	})
}

func (r *Runner) pushes(ctx context.Context, phase string, choose func(push int) []int) error {
	var all []Figures
	for i := range r.o.Pushes {
		if err := r.pause(ctx, r.o.Pause); err != nil {
			return err
		}
		f, err := r.pushOnce(ctx, phase, choose(i))
		if err != nil {
			return err
		}
		all = append(all, f)
	}
	f := medians(all)
	f.says("pushes", float64(len(all)))
	f.fault("lostSessions", r.lostNow())
	r.line(phase, f)
	return nil
}

// ask pushes one task.
func (r *Runner) ask(ctx context.Context, chosen []int) (*course, error) {
	limited, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	r.watch.begin(newAsked(r.o.Agents, chosen))
	number, err := r.target.Push(limited, chosen)
	if err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	return r.watch.settle(number), nil
}

// finish waits until the course is over, or for as long as a step may take.
func (r *Runner) finish(ctx context.Context, c *course) error {
	over, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	go func() {
		for _, done := range []chan struct{}{c.task.all, c.safe.all, c.all} {
			select {
			case <-done:
			case <-end:
				return
			}
		}
		close(over)
	}()
	return r.await(ctx, over)
}

func (r *Runner) pushOnce(ctx context.Context, phase string, chosen []int) (f Figures, err error) {
	before, err := r.target.Usage()
	if err != nil {
		return nil, err
	}
	stale := r.watch.stale.Load()
	begun := r.watch.now()
	c, err := r.ask(ctx, chosen)
	if err != nil {
		return nil, err
	}
	returned := r.watch.now() - begun
	if err := r.finish(ctx, c); err != nil {
		return nil, err
	}
	cpu, err := r.spent(before)
	if err != nil {
		return nil, err
	}
	f.less("pushReturnedMs", ms(returned))
	has := c.task.since(begun)
	f.quantiles("task", has)
	f.less("taskLastMs", ms(rank(has, 1)))
	f.less("safeLastMs", ms(last(c.safe.since(begun))))
	f.less("countedLastMs", ms(max(0, c.countedAt()-begun)))
	f.less("cpuPerTaskAndAnswerUs", each(us(cpu), c.asked.n))
	r.faults(&f, phase, c, stale)
	return f, nil
}

// last returns the longest of some times.
func last(took []time.Duration) (d time.Duration) {
	for _, t := range took {
		d = max(d, t)
	}
	return d
}

// countedAt is when the last answer was counted, 0 if that has not been.
func (c *course) countedAt() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// faults adds what a course lacks, or has too much of.
func (r *Runner) faults(f *Figures, phase string, c *course, stale int64) {
	missing, unsafe := int(c.task.left.Load()), int(c.safe.left.Load())
	c.mu.Lock()
	uncounted := max(0, c.asked.n-c.counted)
	c.mu.Unlock()
	f.fault("missing", float64(missing))
	f.fault("unsafe", float64(unsafe))
	f.fault("uncounted", float64(uncounted))
	f.fault("doubled", float64(c.doubled.Load()+r.watch.stale.Load()-stale))
	f.fault("astray", float64(c.astray.Load()))
	if missing+unsafe+uncounted == 0 {
		return
	}
	_, cause := r.roster.lossesSoFar()
	why := "no session was lost"
	if cause != nil {
		why = fmt.Sprintf("the last session that was lost: %v", cause)
	}
	r.missing("%s: of %d agents %d did not get the task, %d do not know their answer to be safe, %d answers were not counted (%s)",
		phase, c.asked.n, missing, unsafe, uncounted, why)
}
