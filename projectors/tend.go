package projectors

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	tendEvery = 5 * time.Second
	// healEvery is the least time between two rebuilds of a view that nobody
	// asked for.
	healEvery = time.Hour
	// maxNotices is how many wait for whoever is notified; what does not fit is
	// only in the log.
	maxNotices = 64
)

// tell puts a notice into the queue. It may be called with locks held.
func (r *runner) tell(n Notice) {
	n.View = r.view.Name
	r.log.Warn(n.Text(), "notice", n.Kind.String())
	select {
	case r.notices <- n:
	default:
	}
}

// watch notifies, and notices who has stopped or lags.
func (v *Views) watch(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-v.notices:
			v.opt.Notify(n)
		case <-tick.C:
			for i, s := range v.Status() {
				v.runners[i].look(s)
			}
		}
	}
}

// A trouble is what was noticed of a view; it belongs to [Views.watch].
type trouble struct {
	stopped, lagging bool
	position         uint64
	moved            time.Time // when position was seen to change last
}

func (r *runner) look(s Status) {
	t, now := &r.trouble, time.Now()
	if s.Position != t.position || t.moved.IsZero() || s.Lag == 0 {
		t.position, t.moved = s.Position, now
	}
	lag := max(s.Behind, now.Sub(t.moved))
	lagging := s.Lag > 0 && s.Err == nil && !s.Building && lag > MaxLag
	switch {
	case s.Err != nil && !t.stopped:
		r.tell(Notice{Kind: Stopped, Event: s.StoppedAt, Of: s.StoppedBy, Err: s.Err})
	case lagging && !t.lagging:
		r.tell(Notice{Kind: Lagging, Event: s.Position, Lag: lag})
	case s.Err == nil && !lagging && (t.stopped || t.lagging) && !s.Building:
		r.tell(Notice{Kind: Resumed, Event: s.Position})
	}
	t.stopped, t.lagging = s.Err != nil, lagging
}

// tend looks after the view while it runs: it keeps states, verifies, rebuilds
// what is damaged, and lets go of the former generation.
func (r *runner) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	// The first look at the rows comes early, for a process may not live for a day.
	verify := time.Now().Add(r.opt.Verify / 24)
	var healed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.forgetFormer(time.Now())
		r.keepState()
		damage := r.damage()
		if now := time.Now(); damage == nil && (r.view.suspect.Swap(false) || r.opt.Verify > 0 && !now.Before(verify)) {
			verify = now.Add(r.opt.Verify)
			if damage = r.view.Read((*Snapshot).verify); errors.Is(damage, ErrBuilding) || errors.Is(damage, ErrClosed) {
				continue
			}
		}
		if damage != nil && (healed.IsZero() || time.Since(healed) >= r.healEvery) {
			healed = time.Now()
			r.heal(ctx, damage)
		}
	}
}

// damage is why the view has stopped, if it is the store's fault.
func (r *runner) damage() error {
	if s := r.status(); errors.As(s.Err, new(*storeError)) {
		return s.Err
	}
	return nil
}

// heal rebuilds a view that is damaged. What it had is of no use and not kept.
func (r *runner) heal(ctx context.Context, why error) {
	r.tell(Notice{Kind: Bad, Event: r.status().Position, Err: why})
	res, err := r.exclusively("rebuild", func() (Result, error) { return r.rebuild(ctx, false, nil) })
	switch {
	case err == nil:
		r.tell(Notice{Kind: Rebuilt, Event: res.Position, Err: why})
	case ctx.Err() == nil:
		r.tell(Notice{Kind: Unhealed, Event: r.status().Position, Err: err})
	}
}

// forgetFormer removes the former generation when its time is up, unless the view
// is written just now.
func (r *runner) forgetFormer(now time.Time) {
	if !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	if f := r.former; f.number == 0 || r.gen == nil || now.Sub(f.since) < r.opt.KeepOld {
		return
	}
	if err := r.dir.setPrevious(0, now); err != nil {
		r.log.Warn("former generation is not forgotten", "err", err)
		return
	}
	r.discard(r.former, r.gen.number)
	r.former = retired{}
	r.note()
}

// keepState keeps the state of now if that is due, and if it is what it should be.
func (r *runner) keepState() {
	s, err := r.view.acquire()
	if err != nil {
		return
	}
	defer s.release()
	if !r.kept.due(s.position, s.kept.accepted) {
		return
	}
	if err := s.verify(); err != nil {
		r.view.suspect.Store(true)
		return
	}
	if err := r.kept.keep(s, s.kept.accepted); err != nil {
		r.log.Warn("state is not kept", "err", err)
	}
}

// A storeError says that a store cannot be read or written, whatever is in it.
type storeError struct {
	doing string
	err   error
}

func (e *storeError) Error() string { return fmt.Sprintf("%s: %v", e.doing, e.err) }
func (e *storeError) Unwrap() error { return e.err }
