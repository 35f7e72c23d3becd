package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	signInTime  = 30 * time.Second // for connection, handshake and welcome, together
	writeTime   = 30 * time.Second // for one write
	answerTime  = time.Minute      // for the answer to a keep-alive
	resendAfter = 2 * time.Minute  // a result without an acknowledgement is sent again
	batch       = 64               // results in one write
	queued      = 8                // messages that wait for the writer, results not counted
	goodbyeTime = 2 * time.Second
)

// A session is one connection on which the listener said welcome.
type session struct {
	a       *Agent
	serial  uint64
	conn    link
	in      *bufio.Reader
	welcome wire.Welcome
	done    chan struct{} // closed when the reader has ended, which is the end of the session
	ended   error         // why; to be read after done
	heard   chan struct{} // an answer to a keep-alive came
	retime  chan struct{} // the keep-alive interval may have changed

	out  chan wire.Message // for the writer
	wake chan struct{}     // results wait for the writer
	buf  []byte            // of the writer

	mu        sync.Mutex
	transfer  *transfer // policy under way
	inventory map[uint64]chan struct{}
	asked     time.Time // when a beacon was asked for
	asks      uint64    // keep-alives sent
	answers   uint64    // and answered
}

// attach makes s the session that results go to.
func (a *Agent) attach(s *session, w way) {
	a.cfg.Log.Info("connected", "listener", s.welcome.Listener, "address", w.address, "carrier", w.carrier, "keep-alive", s.keepAlive())
	a.status.update(func(st *Status) { st.online(w, &a.footing, s.welcome.Listener, time.Now(), s.keepAlive()) })
	a.mu.Lock()
	a.current.Store(s)
	close(a.joined)
	a.joined = make(chan struct{})
	a.mu.Unlock()
	a.event(Event{What: Connected, Listener: s.welcome.Listener})
}

func (a *Agent) detach(s *session, err error) {
	a.current.CompareAndSwap(s, nil)
	if ferr := a.ledger.flush(); ferr != nil {
		a.cfg.Log.Warn("acknowledgements are not on record", "err", ferr)
	}
	a.event(Event{What: Disconnected, Listener: s.welcome.Listener, Detail: fmt.Sprint(err)})
}

// online returns the session, and a channel that is closed when another one
// begins.
func (a *Agent) online() (*session, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current.Load(), a.joined
}

func (a *Agent) newSession(conn link) *session {
	a.serial++
	return &session{a: a, serial: a.serial, conn: conn, in: bufio.NewReaderSize(conn, 4<<10),
		done: make(chan struct{}), heard: make(chan struct{}, 1), retime: make(chan struct{}, 1),
		out: make(chan wire.Message, queued), wake: make(chan struct{}, 1),
		inventory: make(map[uint64]chan struct{})}
}

func (s *session) greet(ctx context.Context) (*wire.Close, error) {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	hello := &wire.SignIn{Version: wire.Version, Agent: s.a.cfg.Version, Nonce: s.a.clock.askIfUnsure(), Keyring: s.a.id.keys.Load().number}
	s.a.mu.Lock()
	s.a.dropped = false // what is dropped from here on may not come again with this sign-in
	s.a.mu.Unlock()
	open, pending := s.a.ledger.open(s.a.holding())
	hello.Open, hello.Pending = open, uint32(pending)
	if err := s.write(hello); err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	m, _, err := wire.ReadFrom(s.in, nil)
	if err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	switch m := m.(type) {
	case *wire.Close:
		return m, &refusedError{m}
	case *wire.Welcome:
		if m.Version != wire.Version {
			return nil, fmt.Errorf("sign in: listener speaks version %d, this agent version %d", m.Version, wire.Version)
		}
		s.welcome = *m
		if len(m.Beacon) > 0 {
			return nil, s.catchUp(m.Beacon)
		}
		s.a.clock.silent()
		return nil, nil
	}
	return nil, fmt.Errorf("sign in: %w: %s where a welcome must be", wire.ErrFrame, m.Type())
}

// refusedError is a listener's Close as an error.
type refusedError struct{ said *wire.Close }

func (e *refusedError) Error() string {
	return fmt.Sprintf("listener ends the session: %s: %s", e.said.Code, e.said.Reason)
}

func (s *session) beacon(signed []byte) error {
	b, err := task.VerifyBeacon(signed, s.a.id.Site, s.a.id.taskKeys()...)
	if err != nil {
		return fmt.Errorf("site time: %w", err)
	}
	if s.a.clock.hear(b) {
		s.mu.Lock()
		s.asked = time.Time{} // whoever needs another may ask at once
		s.mu.Unlock()
	}
	return nil
}

// keepAlive is the interval in force: what policy says, else the listener.
func (s *session) keepAlive() time.Duration {
	if d := s.a.policy.settings().keepAlive(); d > 0 {
		return d
	}
	if s.welcome.KeepAlive > 0 {
		return max(s.welcome.KeepAlive, minSeconds*time.Second)
	}
	return defaultKeepAlive
}

// send hands a message to the writer.
func (s *session) send(m wire.Message) error {
	select {
	case s.out <- m:
		return nil
	case <-s.done:
		return errSessionEnded
	}
}

// report lets the writer send all results that this session has not sent.
func (s *session) report() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to look
	}
}

// report sends results that wait, if there is a session.
func (a *Agent) report() {
	if s := a.current.Load(); s != nil {
		s.report()
	}
}

// writer is the one goroutine that writes: the reader must never wait for it, or
// two sides that both wait for the other to read would wait for ever. It ends
// with the session, or after a Bye, before which all results go out.
func (s *session) writer() {
	var err error
	for err == nil {
		select {
		case <-s.done:
			return
		case <-s.wake:
			err = s.writeResults()
		case m := <-s.out:
			if m.Type() != wire.TypeBye {
				err = s.write(m)
				continue
			}
			if err = s.writeResults(); err == nil {
				err = errors.Join(s.write(m), s.conn.CloseWrite())
			}
			if err == nil {
				return
			}
		}
	}
	s.a.cfg.Log.Debug("write", "err", err)
	s.conn.Close() // half a frame may be out: of no more use
}

func (s *session) write(messages ...wire.Message) (err error) {
	b := s.buf[:0]
	for _, m := range messages {
		if b, err = wire.Append(b, m); err != nil {
			return err
		}
	}
	if cap(b) <= 16<<10 {
		s.buf = b
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err = s.conn.Write(b)
	return err
}

func (s *session) writeResults() error {
	now := time.Now()
	for {
		results := s.a.ledger.unsent(s.serial, now, now.Add(-resendAfter), batch)
		results = append(results, s.a.unsentRefusals(s.serial, now)...)
		if len(results) == 0 {
			return nil
		}
		messages := make([]wire.Message, len(results))
		for i := range results {
			r := &results[i]
			r.Device = s.a.id.Device
			messages[i] = &wire.Result{Operation: r.Operation, Attempt: r.Attempt, State: r.State,
				Code: r.Code, At: r.At, Detail: r.Detail, MAC: r.MAC(s.a.id.resultKey)}
		}
		if err := s.write(messages...); err != nil {
			return err
		}
	}
}

// run serves until the connection or ctx ends. It returns nil if ctx did.
func (s *session) run(ctx context.Context) error {
	go func() {
		s.ended = s.read()
		close(s.done)
	}()
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.writer()
	}()
	err := s.loop(ctx)
	if err == nil {
		s.goodbye()
	}
	s.conn.Close()
	<-s.done
	<-written
	return err
}

var errSilent = errors.New("listener does not answer")

// loop is what a session does by itself.
func (s *session) loop(ctx context.Context) error {
	s.a.begin(s)
	s.a.tellKeyring()
	last := time.Now()
	alive := time.NewTimer(s.keepAlive())
	defer alive.Stop()
	silent := time.NewTimer(time.Hour)
	silent.Stop()
	defer silent.Stop()
	unanswered := false
	poll := time.NewTimer(0)
	defer poll.Stop()
	renewal := time.NewTimer(0)
	defer renewal.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.done:
			return s.ended
		case <-s.heard:
			silent.Stop()
			unanswered = false
		case <-silent.C:
			return errSilent
		case <-s.retime:
			alive.Reset(max(0, s.keepAlive()-time.Since(last)))
			poll.Reset(jitter(s.a.policy.settings().poll()))
		case <-alive.C:
			last = time.Now()
			alive.Reset(s.keepAlive())
			if !unanswered { // else keep-alives that are closer together would put it off for ever
				silent.Reset(answerTime)
				unanswered = true
			}
			s.a.begin(s)
			if err := s.ask(&wire.KeepAlive{}); err != nil {
				return err
			}
		case <-poll.C:
			poll.Reset(jitter(s.a.policy.settings().poll()))
			s.a.pollPolicy()
		case <-renewal.C:
			renewal.Reset(s.renew())
		}
	}
}

// goodbye ends the work of this agent, reports that, and signs out. The listener
// closes once it has read that far.
func (s *session) goodbye() {
	s.a.stopWork()
	t := time.AfterFunc(goodbyeTime, func() { s.conn.Close() })
	defer t.Stop()
	if s.send(&wire.Bye{}) == nil {
		<-s.done
	}
}

// read takes in messages until the connection ends.
func (s *session) read() error {
	var buf []byte
	for {
		m, b, err := wire.ReadFrom(s.in, buf)
		if err != nil {
			return fmt.Errorf("connection: %w", err)
		}
		if buf = b; cap(buf) > 16<<10 {
			buf = nil
		}
		if err := s.take(m); err != nil {
			return err
		}
	}
}

func (s *session) take(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Task:
		s.a.take(m)
	case *wire.ResultAck:
		s.a.acked(m)
	case *wire.Cancel:
		s.a.cancel(m.Signed)
	case *wire.KeepAliveAck:
		s.answered()
		select {
		case s.heard <- struct{}{}:
		default:
		}
		if len(m.Beacon) > 0 {
			return s.beacon(m.Beacon)
		}
		s.a.clock.silent()
	case *wire.PolicyProofs:
		s.policyProofs(m)
	case *wire.Policy:
		return s.policyPart(m)
	case *wire.InventoryAck:
		s.inventoryAck(m.ID)
	case *wire.Keyring:
		return s.takeKeyring(m)
	case *wire.Renewed:
		s.renewed(m)
	case *wire.Close:
		return &refusedError{m}
	case *wire.Unknown:
	default:
		return fmt.Errorf("%w: %s is not a listener's to send", wire.ErrFrame, m.Type())
	}
	return nil
}

// askTime asks for a beacon, unless that was done a moment ago.
func (s *session) askTime() {
	s.mu.Lock()
	recent := time.Since(s.asked) < answerTime/2
	if !recent {
		s.asked = time.Now()
	}
	s.mu.Unlock()
	if !recent {
		s.ask(&wire.KeepAlive{Nonce: s.a.clock.ask()}) // fails only if the session has ended
	}
}
