package carrier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	idleTime   = 60 * time.Second // without a request, after which a session is over
	lingerTime = 10 * time.Second // that a closed session can be fetched from
	answerTime = 30 * time.Second // for writing an answer

	requestRate  = 200 // requests a second of one session
	requestBurst = 1000
)

// Polls are the long polls of a listener, its half of them. Make one with
// [NewPolls]. Its methods may be called by several goroutines.
type Polls struct {
	most   int
	refuse func(w http.ResponseWriter, status int, title, detail string)

	mu       sync.Mutex
	sessions map[string]*served
}

// NewPolls returns the half of a listener that holds at most so many sessions.
// Refuse answers a request that is not granted.
func NewPolls(most int, refuse func(w http.ResponseWriter, status int, title, detail string)) *Polls {
	return &Polls{most: most, refuse: refuse, sessions: make(map[string]*served)}
}

// Serve answers a request for [PollPath] or below it, by owner: who the client
// certificate says, in any words. When a session begins, taken is called with it
// before the request is answered; it must not block. If it returns an error there
// is no session, and taken has answered the request.
func (p *Polls) Serve(w http.ResponseWriter, r *http.Request, owner string, taken func(Conn) error) {
	w.Header().Set("Cache-Control", "no-store")
	req, err := parseRequest(r.Method, r.URL)
	switch {
	case errors.Is(err, errMethod):
		p.refuse(w, http.StatusMethodNotAllowed, "Method not allowed", err.Error())
		return
	case errors.Is(err, errNoSuchPath):
		p.refuse(w, http.StatusNotFound, "Not found", err.Error())
		return
	case err != nil:
		p.refuse(w, http.StatusBadRequest, "Malformed request", err.Error())
		return
	}
	if req.verb == verbOpen {
		p.open(w, r, owner, taken)
		return
	}
	s := p.find(req.session, owner)
	if s == nil {
		p.refuse(w, http.StatusNotFound, "Not found", "there is no such session")
		return
	}
	if !s.rate.Allow() {
		w.Header().Set("Retry-After", "1")
		p.refuse(w, http.StatusTooManyRequests, "Too many requests", "the session is polled too often")
		return
	}
	s.begin()
	defer s.done()
	switch req.verb {
	case verbUp:
		s.up(w, r, req.number)
	case verbDown:
		s.down(w, r, req)
	case verbHangUp:
		s.hangUp()
		w.WriteHeader(http.StatusNoContent)
	}
}

func (p *Polls) open(w http.ResponseWriter, r *http.Request, owner string, taken func(Conn) error) {
	s := &served{polls: p, id: newSession(), owner: owner, rate: rate.NewLimiter(requestRate, requestBurst)}
	s.init(r.RemoteAddr)
	p.mu.Lock()
	full := len(p.sessions) >= p.most
	if !full {
		p.sessions[s.id] = s
	}
	p.mu.Unlock()
	if full {
		w.Header().Set("Retry-After", "5")
		p.refuse(w, http.StatusServiceUnavailable, "Try again later", "as many sessions are open as the listener takes")
		return
	}
	s.begin()
	defer s.done()
	if taken(s) != nil {
		p.forget(s)
		return
	}
	w.Header().Set(sessionHeader, s.id)
	w.WriteHeader(http.StatusCreated)
}

func (p *Polls) find(id, owner string) *served {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[id]; s != nil && s.owner == owner {
		return s
	}
	return nil
}

func (p *Polls) forget(s *served) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s.id)
}

// Len returns how many sessions there are, those that linger included.
func (p *Polls) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions)
}

// A served is the listener's end of one session.
type served struct {
	stream // its mu guards what is below, too
	polls  *Polls
	rate   *rate.Limiter
	id     string
	owner  string

	got    uint64 // the last chunk that was taken
	handed uint64 // the last chunk that was handed out
	chunk  []byte // the same, until it is acknowledged
	acked  bool   // it is
	last   bool   // the empty chunk has been handed out

	waits    [2]*waiter // the request of either direction that waits
	requests int        // under way
	closed   bool
	timer    *time.Timer // runs while no request is under way, or after Close
}

// begin notes that a request is under way.
func (s *served) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.timer != nil && !s.closed {
		s.timer.Stop()
	}
}

func (s *served) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests--; s.requests == 0 && !s.closed {
		s.timer = time.AfterFunc(idleTime, s.expire)
	}
}

var errIdle = fmt.Errorf("long poll: no request came for %s: %w", idleTime, os.ErrDeadlineExceeded)

// expire ends a session of which nothing is heard any more.
func (s *served) expire() {
	s.mu.Lock()
	idle := s.requests == 0 && !s.closed
	if idle {
		s.failLocked(errIdle)
	}
	s.mu.Unlock()
	if idle {
		s.polls.forget(s)
	}
}

// hangUp is the agent's Close: nothing comes any more, and nobody fetches.
func (s *served) hangUp() {
	s.mu.Lock()
	s.in.ended = true
	s.out.b, s.chunk = nil, nil
	s.failLocked(io.ErrClosedPipe)
	s.mu.Unlock()
	s.polls.forget(s)
}

// Close ends the session. What has been written can be fetched for a while.
func (s *served) Close() error {
	s.rd.stop()
	s.wr.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.out.ended = true
	s.in = buffer{ended: true}
	s.failLocked(net.ErrClosed)
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(lingerTime, func() { s.polls.forget(s) })
	return nil
}

const (
	upward = iota
	downward
)

// A waiter is a request that waits.
type waiter struct{ release context.CancelFunc }

// turn releases the request of the same direction that still waits. The context
// for this one ends when a newer comes, the request ends or hold has passed.
func (s *served) turn(r *http.Request, direction int, hold time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), hold)
	me := &waiter{cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.waits[direction]; old != nil {
		old.release()
	}
	s.waits[direction] = me
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waits[direction] == me {
			s.waits[direction] = nil
		}
	}
}

// extend gives a request that waits the time for it, whatever the server's own
// limits are.
func extend(w http.ResponseWriter, hold time.Duration) {
	rc := http.NewResponseController(w)
	limit := time.Now().Add(hold + answerTime)
	rc.SetReadDeadline(limit) // a writer of a test has none; then there is none to extend
	rc.SetWriteDeadline(limit)
}

// up takes chunk n from the agent.
func (s *served) up(w http.ResponseWriter, r *http.Request, n uint64) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxChunk))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		s.polls.refuse(w, http.StatusRequestEntityTooLarge, "Request too large", fmt.Sprintf("a chunk has at most %d bytes", MaxChunk))
		return
	case err != nil:
		s.polls.refuse(w, http.StatusBadRequest, "Malformed request", "the chunk is not complete")
		return
	}
	extend(w, maxHold)
	ctx, cancel := s.turn(r, upward, maxHold)
	defer cancel()
	status := 0
	if s.await(ctx, func() bool { status = s.takeChunk(n, body); return status != 0 }) != nil {
		w.Header().Set("Retry-After", "1")
		s.polls.refuse(w, http.StatusServiceUnavailable, "Try again later", "there is no room for the chunk yet")
		return
	}
	s.answer(w, status)
}

// takeChunk returns the status of the answer, 0 if there is none yet.
func (s *served) takeChunk(n uint64, body []byte) int {
	switch {
	case n <= s.got:
		return http.StatusNoContent
	case s.err != nil:
		return http.StatusGone
	case n != s.got+1 || s.in.ended:
		return http.StatusConflict
	case s.in.full():
		return 0
	}
	s.got = n
	s.in.b = append(s.in.b, body...)
	s.in.ended = len(body) == 0
	s.notify()
	return http.StatusNoContent
}

// down hands chunk n out.
func (s *served) down(w http.ResponseWriter, r *http.Request, req request) {
	extend(w, req.hold)
	ctx, cancel := s.turn(r, downward, req.hold)
	defer cancel()
	status := http.StatusNoContent
	var chunk []byte
	s.await(ctx, func() bool {
		var ok bool
		chunk, status, ok = s.handOut(req.number)
		return ok
	})
	if status != http.StatusOK {
		s.answer(w, status)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(chunk)
}

// handOut returns chunk n; ok is false if it is not there yet.
func (s *served) handOut(n uint64) (chunk []byte, status int, ok bool) {
	if n == s.handed && n > 0 && !s.acked {
		return s.chunk, http.StatusOK, true
	}
	if n != s.handed+1 {
		return nil, http.StatusConflict, true
	}
	s.chunk, s.acked = nil, true
	switch {
	case len(s.out.b) > 0:
		s.chunk = s.out.take(MaxChunk)
		s.notify()
	case s.out.ended && !s.last:
		s.last = true
	case s.err != nil || s.out.ended:
		return nil, http.StatusGone, true
	default:
		return nil, http.StatusNoContent, false
	}
	s.handed, s.acked = n, false
	return s.chunk, http.StatusOK, true
}

// answer ends a request that brings no chunk.
func (s *served) answer(w http.ResponseWriter, status int) {
	switch status {
	case http.StatusConflict:
		s.polls.refuse(w, status, "Out of turn", "the chunk is neither the last one nor the next")
	case http.StatusGone:
		s.polls.refuse(w, status, "Session is over", "the session has ended")
	default:
		w.WriteHeader(status)
	}
}
