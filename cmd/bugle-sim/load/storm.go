package load

import (
	"context"
	"sync"
	"time"
)

// storms measures the return of all agents at once, of which each missed a task.
func (r *Runner) storms(ctx context.Context) error {
	all := []comeback{{full: false, most: r.o.Storm}, {full: true, most: r.o.Storm}}
	if r.o.Jitter > 0 {
		for _, c := range all {
			c.spread = r.o.Jitter
			all = append(all, c)
		}
	}
	for _, c := range all {
		if err := r.stormOnce(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// stormName is what the lines call a storm.
func stormName(c comeback) string {
	name := PhaseStorm + "-resumed"
	if c.full {
		name = PhaseStorm + "-full"
	}
	if c.spread > 0 {
		name += "-jitter"
	}
	return name
}

func (r *Runner) stormOnce(ctx context.Context, c comeback) error {
	r.dropAll()
	if err := r.pause(ctx, r.o.Pause); err != nil {
		return err
	}
	course, err := r.ask(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.pause(ctx, r.o.Pause); err != nil {
		return err
	}
	if err := r.target.ResetPeak(); err != nil {
		return err
	}
	before, err := r.target.Usage()
	if err != nil {
		return err
	}
	stale := r.watch.stale.Load()
	probed := r.probe(ctx)
	a, err := r.signInAll(ctx, c)
	if err == nil && a.missing == 0 { // else it never is over
		err = r.finish(ctx, course)
	}
	probes := probed()
	if err != nil {
		return err
	}
	after, err := r.target.Usage()
	if err != nil {
		return err
	}
	var f Figures
	f.less("taskLastS", last(course.task.since(a.begun)).Seconds())
	f.less("safeLastS", last(course.safe.since(a.begun)).Seconds())
	f.less("countedLastS", max(0, course.countedAt()-a.begun).Seconds())
	f.less("backLastS", a.last.Seconds())
	f.quantiles("signIn", a.took)
	f.less("cpuPerSignInUs", each(us(after.CPU-before.CPU), len(a.took)))
	f.less("peakGrowthMiB", grown(after.Peak, r.first.RSS))
	f.says("resumed", float64(a.resumed))
	f.fault("refused", float64(a.refused))
	if c.spread > 0 {
		f.fault("late", float64(a.late))
	}
	r.faults(&f, stormName(c), course, stale)
	f.fault("lostSessions", r.lostNow())
	if len(probes) > 0 {
		f.quantiles("api", probes)
	}
	r.line(stormName(c), f)
	return r.allIn(a)
}

// probeEvery is how often the administrator's side is asked.
const probeEvery = 50 * time.Millisecond

// probe asks the administrator's side again and again, if the target has one, until
// stop, which returns how long each answer took. One that failed took as long as it
// did.
func (r *Runner) probe(ctx context.Context) (stop func() []time.Duration) {
	p, ok := r.target.(Prober)
	if !ok {
		return func() []time.Duration { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	var took []time.Duration
	var done sync.WaitGroup
	done.Go(func() {
		for sleep(ctx, probeEvery) == nil {
			begun := time.Now()
			_ = p.Probe(ctx)
			if ctx.Err() == nil {
				took = append(took, time.Since(begun))
			}
		}
	})
	return func() []time.Duration { cancel(); done.Wait(); return took }
}
