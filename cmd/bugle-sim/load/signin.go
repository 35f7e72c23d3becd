package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The wait before a sign-in is tried again: it doubles, and is a random part of
// that. What the server asks for comes before it.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 2 * time.Second
)

// bring signs an agent in that was claimed, and tries again until ctx ends.
func (r *Runner) bring(ctx context.Context, agent int, full bool) (s Session, ok bool) {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		s, err := r.target.SignIn(ctx, agent, full)
		if err == nil && r.roster.arrive(agent, s) {
			return s, true
		}
		if ctx.Err() != nil {
			if err == nil {
				s.Drop()
			}
			r.roster.giveUp(agent)
			return nil, false
		}
		if err == nil {
			err = errors.New("the server ended the session as soon as it had begun")
		}
		r.note(err)
		pause := rand.N(wait)
		var refused *Refused
		if errors.As(err, &refused) && refused.After > 0 {
			pause += refused.After
		}
		_ = sleep(ctx, pause) // the next try fails if ctx has ended
	}
}

// arrivals are the sign-ins of all agents.
type arrivals struct {
	begun   time.Duration // when the first one dialled
	took    []time.Duration
	last    time.Duration // from begun until the last one was in
	resumed int
	refused int
	missing int
	late    int // that were in later than lateAfter
}

// A comeback says how all agents come.
type comeback struct {
	full   bool
	most   int           // under way at once
	spread time.Duration // over which they begin; 0 is at once
}

// lateAfter is how much later than the spread an agent may be back.
const lateAfter = 2 * time.Second

// signInAll signs in all who are away. It returns when all are in, or when the time
// is over; only the end of ctx is an error.
func (r *Runner) signInAll(ctx context.Context, c comeback) (a arrivals, err error) {
	limited, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	r.refused.Store(0)
	agents := r.roster.agents()
	took := make([]time.Duration, agents)
	var resumed, late atomic.Int64
	var all sync.WaitGroup
	places := make(chan struct{}, max(1, c.most))
	begun := time.Now()
	a.begun = r.watch.now()
	for agent, at := range schedule(agents, c.spread) {
		if !r.roster.claim(agent) {
			continue
		}
		if d := at - time.Since(begun); d > 0 {
			_ = sleep(limited, d)
		}
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			from := time.Now()
			s, ok := r.bring(limited, agent, c.full)
			if !ok {
				return
			}
			took[agent] = max(1, time.Since(from))
			if s.Resumed() {
				resumed.Add(1)
			}
			if time.Since(begun) > c.spread+lateAfter {
				late.Add(1)
			}
		})
	}
	all.Wait()
	a.last = time.Since(begun)
	for _, d := range took {
		if d > 0 {
			a.took = append(a.took, d)
		}
	}
	a.resumed, a.late, a.refused = int(resumed.Load()), int(late.Load()), int(r.refused.Load())
	a.missing = agents - len(a.took)
	return a, ctx.Err()
}

// schedule yields all agents and when each begins: in their order and at once, or
// spread at random.
func schedule(agents int, spread time.Duration) func(yield func(int, time.Duration) bool) {
	return func(yield func(int, time.Duration) bool) {
		order := rand.Perm(agents)
		for i, agent := range order {
			at := time.Duration(0)
			if spread > 0 { // evenly, each at a random moment of its part
				part := spread / time.Duration(agents)
				at = time.Duration(i)*spread/time.Duration(agents) + rand.N(max(1, part))
			}
			if !yield(agent, at) {
				return
			}
		}
	}
}

// dropping is how many sessions are dropped at once.
const dropping = 64

// dropAll drops all sessions.
func (r *Runner) dropAll() {
	var all sync.WaitGroup
	var next atomic.Int64
	for range dropping {
		all.Go(func() {
			for {
				agent := int(next.Add(1)) - 1
				if agent >= r.roster.agents() {
					return
				}
				r.roster.drop(agent)
			}
		})
	}
	all.Wait()
}

// await waits for done, or for as long as a step may take; agents that are lost
// meanwhile are signed in again. Only the end of ctx is an error.
func (r *Runner) await(ctx context.Context, done <-chan struct{}) error {
	return r.awaitFor(ctx, r.o.Timeout, done)
}

func (r *Runner) awaitFor(ctx context.Context, most time.Duration, done <-chan struct{}) error {
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var returning sync.WaitGroup
	defer returning.Wait()
	places := make(chan struct{}, r.o.InFlight)
	for {
		select {
		case <-done:
			return nil
		case <-limited.Done():
			return ctx.Err()
		case agent := <-r.roster.lost:
			if !r.roster.claim(agent) {
				continue
			}
			returning.Go(func() {
				places <- struct{}{}
				defer func() { <-places }()
				r.bring(limited, agent, false)
			})
		}
	}
}
