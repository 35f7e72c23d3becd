package load

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// churnAway is how long at most an agent of the churn is away.
const churnAway = 20 * time.Millisecond

// churn drops agents at random and lets them return, half of them with a full
// handshake.
func (r *Runner) churn(ctx context.Context) error {
	begin, err := r.gauges(ctx)
	if err != nil {
		return err
	}
	before, err := r.target.Usage()
	if err != nil {
		return err
	}
	if err := r.target.ResetPeak(); err != nil {
		return err
	}
	begun := time.Now()
	sampled := r.sample(ctx)
	a, err := r.churnAll(ctx)
	if err := errors.Join(err, sampled()); err != nil {
		return err
	}
	took := time.Since(begun)
	cpu, err := r.spent(before)
	if err != nil {
		return err
	}
	if _, err := r.settle(ctx); err != nil {
		return err
	}
	after, err := r.target.Usage()
	if err != nil {
		return err
	}
	end, err := r.gauges(ctx)
	if err != nil {
		return err
	}
	var f Figures
	f.says("signIns", float64(len(a.took)))
	f.more("signInsPerSecond", float64(len(a.took))/took.Seconds())
	f.quantiles("signIn", a.took)
	f.less("cpuPerSignInUs", each(us(cpu), len(a.took)))
	f.says("resumed", float64(a.resumed))
	f.fault("refused", float64(a.refused))
	f.fault("lostSessions", r.lostNow())
	f.fault("missing", float64(a.missing))
	f.says("rssBeginMiB", float64(before.RSS)/mib)
	f.says("rssEndMiB", float64(after.RSS)/mib)
	f.less("peakGrowthMiB", grown(after.Peak, r.first.RSS))
	for _, name := range slices.Sorted(maps.Keys(begin)) {
		f.says(name+"Begin", begin[name])
		f.says(name+"End", end[name])
	}
	r.line(PhaseChurn, f)
	return r.allIn(a)
}

// sample writes a line about the server from time to time, until stop, which returns
// what stood in the way.
func (r *Runner) sample(ctx context.Context) (stop func() error) {
	limited, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		for sleep(limited, r.o.Sample) == nil {
			u, err := r.target.Usage()
			if err != nil {
				ended <- err
				return
			}
			g, err := r.gauges(limited)
			if limited.Err() != nil {
				break
			}
			if err != nil {
				ended <- err
				return
			}
			var f Figures
			f.says("rssMiB", float64(u.RSS)/mib)
			for _, name := range slices.Sorted(maps.Keys(g)) {
				f.says(name, g[name])
			}
			r.line(PhaseChurn+"-sample", f)
		}
		ended <- nil
	}()
	return func() error { cancel(); return <-ended }
}

func (r *Runner) gauges(ctx context.Context) (map[string]float64, error) {
	if g, ok := r.target.(Gauger); ok {
		return g.Gauges(ctx)
	}
	return nil, nil
}

// churnAll lets agents come and go until there were enough sign-ins, or for the time
// that it was told. Each worker has agents of its own.
func (r *Runner) churnAll(ctx context.Context) (a arrivals, err error) {
	r.refused.Store(0)
	workers := min(r.o.InFlight, r.o.Agents)
	var began, resumed, missing atomic.Int64
	took := make([][]time.Duration, workers)
	end := time.Now().Add(r.o.ChurnFor)
	more := func() bool {
		if r.o.ChurnFor > 0 {
			return time.Now().Before(end)
		}
		return began.Add(1) <= int64(r.o.Churn)
	}
	var all sync.WaitGroup
	for w := range workers {
		own := (r.o.Agents - w + workers - 1) / workers
		all.Go(func() {
			for ctx.Err() == nil && more() {
				d, again, ok := r.churnOne(ctx, w+workers*rand.N(own))
				switch {
				case !ok:
					missing.Add(1)
				case again:
					resumed.Add(1)
				}
				if d > 0 {
					took[w] = append(took[w], d)
				}
			}
		})
	}
	all.Wait()
	a.took, a.resumed, a.missing = slices.Concat(took...), int(resumed.Load()), int(missing.Load())
	a.refused = int(r.refused.Load())
	return a, ctx.Err()
}

func (r *Runner) churnOne(ctx context.Context, agent int) (took time.Duration, resumed, ok bool) {
	r.roster.drop(agent)
	_ = sleep(ctx, rand.N(churnAway))
	if !r.roster.claim(agent) {
		return 0, false, true
	}
	limited, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	begun := time.Now()
	s, ok := r.bring(limited, agent, rand.N(2) == 0)
	if !ok {
		return 0, false, false
	}
	return max(1, time.Since(begun)), s.Resumed(), true
}
