package load

import "sync"

// A place is where an agent is.
type place uint8

const (
	away   place = iota
	coming       // a sign-in is under way
	gone         // the sign-in under way is of no use: its session has ended already
	here
)

// A roster knows the sessions of all agents.
type roster struct {
	mu       sync.Mutex
	place    []place
	sessions []Session
	losses   int   // sessions that ended and were not dropped
	cause    error // of the last one
	// lost are agents that are to be signed in again. An agent may stand there that is
	// back already.
	lost chan int
}

func newRoster(agents int) *roster {
	return &roster{place: make([]place, agents), sessions: make([]Session, agents), lost: make(chan int, agents)}
}

func (r *roster) agents() int { return len(r.place) }

// claim makes an agent one that is coming, if it is away.
func (r *roster) claim(agent int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.place[agent] != away {
		return false
	}
	r.place[agent] = coming
	return true
}

// arrive takes the session of an agent that was coming. It is false if that has
// ended already; then the agent is still coming.
func (r *roster) arrive(agent int, s Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.place[agent] == gone {
		r.place[agent] = coming
		return false
	}
	r.place[agent], r.sessions[agent] = here, s
	return true
}

// giveUp makes an agent that was coming one that is away.
func (r *roster) giveUp(agent int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.place[agent] = away
}

// drop ends the session of an agent, if it has one.
func (r *roster) drop(agent int) {
	r.mu.Lock()
	s := r.sessions[agent]
	if r.place[agent] == here {
		r.place[agent], r.sessions[agent] = away, nil
	}
	r.mu.Unlock()
	if s != nil {
		s.Drop()
	}
}

func (r *roster) lose(agent int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.place[agent] {
	case coming:
		r.place[agent] = gone
	case here:
		r.place[agent], r.sessions[agent] = away, nil
		select {
		case r.lost <- agent:
		default: // it stands there
		}
	default:
		return
	}
	r.losses++
	r.cause = err
}

// lossesSoFar is how many sessions have ended that were not dropped, and why the
// last one did.
func (r *roster) lossesSoFar() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.losses, r.cause
}
