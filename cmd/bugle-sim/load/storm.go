package load

import (
	"context"
	"errors"
	"slices"
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
	probed, err := r.probe(ctx)
	if err != nil {
		return err
	}
	stale := r.watch.stale.Load()
	a, used, err := r.allReturn(ctx, c, course)
	probes, ended := probed()
	if err := errors.Join(err, ended); err != nil {
		return err
	}
	var f Figures
	f.less("taskLastS", last(course.task.since(a.begun)).Seconds())
	f.less("safeLastS", last(course.safe.since(a.begun)).Seconds())
	f.less("countedLastS", max(0, course.countedAt()-a.begun).Seconds())
	f.less("backLastS", a.last.Seconds())
	f.quantiles("signIn", a.took)
	f.less("cpuPerSignInUs", each(us(used.CPU), len(a.took)))
	f.less("peakGrowthMiB", grown(used.Peak, r.first.RSS))
	f.says("resumed", float64(a.resumed))
	f.fault("refused", float64(a.refused))
	if c.spread > 0 {
		f.fault("late", float64(a.late))
	}
	r.faults(&f, stormName(c), course, stale)
	f.fault("lostSessions", r.lostNow())
	f.probes(probes)
	r.line(stormName(c), f)
	return r.allIn(a)
}

// allReturn is the storm itself, until every agent's answer to the task that it missed
// is counted, with the processor time that the target took for it, and its peak.
func (r *Runner) allReturn(ctx context.Context, c comeback, missed *course) (a arrivals, used Usage, err error) {
	if err := r.target.ResetPeak(); err != nil {
		return a, used, err
	}
	before, err := r.target.Usage()
	if err != nil {
		return a, used, err
	}
	if a, err = r.signInAll(ctx, c); err != nil {
		return a, used, err
	}
	if a.missing == 0 { // else it never is over
		if err := r.finish(ctx, missed); err != nil {
			return a, used, err
		}
	}
	used, err = r.target.Usage()
	used.CPU -= before.CPU
	return a, used, err
}

// probe lets the target ask its administrator's side until stop, if it can.
func (r *Runner) probe(ctx context.Context) (stop func() (Probes, error), err error) {
	if p, ok := r.target.(Prober); ok {
		return p.Probe(ctx)
	}
	return func() (Probes, error) { return Probes{}, nil }, nil
}

// probes adds what came of the questions to the administrator's side, if any were
// asked.
func (f *Figures) probes(p Probes) {
	if len(p.Took) > 0 {
		f.quantiles("api", p.Took)
		f.less("apiMaxMs", ms(slices.Max(p.Took)))
	}
	if len(p.Took)+p.Failed > 0 {
		f.fault("apiErrors", float64(p.Failed))
	}
}
