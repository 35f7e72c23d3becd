package load

import (
	"context"
	"fmt"
	"time"
)

// connect signs all agents in three times: never seen before, known, and resumed.
func (r *Runner) connect(ctx context.Context) error {
	for _, c := range []struct {
		name string
		full bool
	}{{PhaseConnect, true}, {"known", true}, {"resumed", false}} {
		r.dropAll()
		if err := r.pause(ctx, r.o.Pause); err != nil {
			return err
		}
		if err := r.connectOnce(ctx, c.name, c.full); err != nil {
			return err
		}
	}
	return r.pause(ctx, r.o.Pause)
}

func (r *Runner) connectOnce(ctx context.Context, name string, full bool) error {
	before, err := r.target.Usage()
	if err != nil {
		return err
	}
	a, err := r.signInAll(ctx, comeback{full: full, most: r.o.InFlight})
	if err != nil {
		return err
	}
	cpu, err := r.spent(before)
	if err != nil {
		return err
	}
	var f Figures
	f.less("wallS", a.last.Seconds())
	f.more("signInsPerSecond", float64(len(a.took))/a.last.Seconds())
	f.quantiles("signIn", a.took)
	f.less("cpuPerSignInUs", each(us(cpu), len(a.took)))
	f.says("resumed", float64(a.resumed))
	f.fault("refused", float64(a.refused))
	f.fault("missing", float64(a.missing))
	f.fault("lostSessions", r.lostNow())
	r.line(name, f)
	return r.allIn(a)
}

// allIn is an error if somebody is not: what comes next would measure something
// else.
func (r *Runner) allIn(a arrivals) error {
	if a.missing == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d agents did not sign in: %s", ErrIncomplete, a.missing, r.o.Agents, r.bound())
}

// How often memory is looked at until it is settled, and what counts as settled:
// a move of less than a hundredth. It is waited for so many times the time in which
// it must not move.
const (
	settleLooks   = 12
	settledMove   = 0.01
	settleAtMost  = 10
	settledAnyway = 256 << 10 // bytes that do not matter
)

// idle measures what agents cost that do nothing.
func (r *Runner) idle(ctx context.Context) error {
	settled, err := r.settle(ctx)
	if err != nil {
		return err
	}
	before, err := r.target.Usage()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := r.pause(ctx, r.o.Idle); err != nil {
		return err
	}
	after, err := r.target.Usage()
	if err != nil {
		return err
	}
	var f Figures
	f.less("rssPerAgentBytes", (float64(after.RSS)-float64(r.first.RSS))/float64(r.o.Agents))
	f.less("rssMiB", float64(after.RSS)/mib)
	f.says("rssBaseMiB", float64(r.first.RSS)/mib)
	f.says("mappedMiB", float64(after.Mapped)/mib)
	f.less("cpuPercent", 100*(after.CPU-before.CPU).Seconds()/time.Since(begun).Seconds())
	f.says("settled", settled)
	f.fault("lostSessions", r.lostNow())
	r.line(PhaseIdle, f)
	return nil
}

// settle waits until the memory of the target does not move any more; it is 0 if it
// goes on to move.
func (r *Runner) settle(ctx context.Context) (settled float64, err error) {
	step := r.o.Settle / settleLooks
	var looks []uint64
	for range settleAtMost * settleLooks {
		u, err := r.target.Usage()
		if err != nil {
			return 0, err
		}
		looks = append(looks, u.RSS)
		if len(looks) > settleLooks {
			looks = looks[1:]
			least, most := looks[0], looks[0]
			for _, v := range looks {
				least, most = min(least, v), max(most, v)
			}
			if most-least <= max(settledAnyway, uint64(settledMove*float64(most))) {
				return 1, nil
			}
		}
		if err := r.pause(ctx, step); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
