package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// readBuffer is how much of a connection an agent reads at once; a message of the
// server must fit in. NATS's first one has some 600 bytes.
const readBuffer = 2048

// An agent is what stays of it between sessions.
type agent struct {
	sessions sessionCache
	// Of the session that is, or of SignIn between two sessions.
	had    window
	unsafe uint64 // task whose answer the server may not have; 0 is none

	mu      sync.Mutex
	session *session // newest
}

// leave drops the agent's session and waits until its goroutine has ended.
func (a *agent) leave() {
	a.mu.Lock()
	s := a.session
	a.session = nil
	a.mu.Unlock()
	if s != nil {
		s.Drop()
		<-s.done
	}
}

// beat keeps a session that is signed in alive. A write that fails ends it.
func (a *agent) beat() {
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	if s == nil {
		return
	}
	select {
	case <-s.done:
	case <-s.ready:
		if b := s.dialect.ping(); len(b) > 0 && s.write(b) != nil {
			_ = s.raw.Close()
		}
	default:
	}
}

// A dialect is how an agent speaks with one kind of server, on one connection. Only
// that connection's reading goroutine calls it; ping is called by another one.
type dialect interface {
	// hello is what the agent writes first.
	hello(had uint64) []byte
	// hear reads one message and does what follows from it.
	hear(s *session) error
	// answer is the answer to a task.
	answer(number uint64) []byte
	// ping keeps the connection alive; nil if the server sees to that.
	ping() []byte
}

// A session is one connection of an agent.
type session struct {
	target  *target
	number  int
	agent   *agent
	dialect dialect
	raw     *load.Conn
	conn    *tls.Conn
	read    *bufio.Reader
	resumed bool
	dropped atomic.Bool

	ready chan struct{} // closed when the agent is signed in
	done  chan struct{} // closed when the reading has ended
	err   error         // why, once done is closed
}

func (s *session) Resumed() bool { return s.resumed }

// Drop resets the connection, so that the server knows it at once.
func (s *session) Drop() {
	s.dropped.Store(true)
	_ = s.raw.SetLinger(0)
	_ = s.raw.Close()
}

// SignIn implements [load.Target]. A session that the agent still has is dropped.
func (t *target) SignIn(ctx context.Context, number int, full bool) (load.Session, error) {
	if number < 0 || number >= len(t.agents) {
		return nil, fmt.Errorf("sign in: there is no agent %d", number)
	}
	ctx, enough := context.WithTimeout(ctx, signInWait)
	defer enough()
	a := &t.agents[number]
	a.leave()
	if full {
		a.sessions.forget()
	}
	s, err := t.connect(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("sign in agent %d: %w", number, t.fault(err))
	}
	a.mu.Lock()
	a.session = s
	a.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		a.leave()
		return nil, fmt.Errorf("sign in agent %d: %w", number, t.fault(err))
	}
	return s, nil
}

// connect shakes hands. It begins anew if the server's system does not take the
// connection.
func (t *target) connect(ctx context.Context, number int) (*session, error) {
	a := &t.agents[number]
	for {
		raw, err := t.dial(ctx, number)
		if err != nil {
			return nil, err
		}
		t.gate.Enter(raw)
		conn := tls.Client(raw, t.settings(&t.trust.agents[number], &a.sessions))
		err = conn.HandshakeContext(ctx)
		raw.Leave()
		if err == nil {
			err = giveUpAfter(raw.TCPConn, 0)
		}
		switch {
		case err == nil:
			return &session{target: t, number: number, agent: a, dialect: t.kind.speak(number),
				raw: raw, conn: conn, read: bufio.NewReaderSize(conn, readBuffer),
				resumed: conn.ConnectionState().DidResume, ready: make(chan struct{}), done: make(chan struct{})}, nil
		case ctx.Err() != nil || !isTimeout(err):
			_ = raw.Close()
			return nil, fmt.Errorf("shake hands: %w", err)
		}
		_ = raw.Close()
	}
}

// settings are how an agent with a certificate shakes hands with this server.
func (t *target) settings(c *tls.Certificate, sessions tls.ClientSessionCache) *tls.Config {
	config := t.trust.client(c, sessions)
	if t.kind.protocol != "" {
		config.NextProtos = []string{t.kind.protocol}
	}
	return config
}

// begin says hello, starts the reading and waits until the server has taken the agent.
func (s *session) begin(ctx context.Context) error {
	err := s.write(s.dialect.hello(s.agent.had.top))
	if err != nil {
		close(s.done)
		return err
	}
	go s.listen()
	select {
	case <-s.ready:
		return nil
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the server's welcome: %w", ctx.Err())
	}
}

// listen reads until the connection ends.
func (s *session) listen() {
	defer close(s.done)
	for s.err == nil {
		s.err = s.dialect.hear(s)
	}
	_ = s.raw.Close()
	select {
	case <-s.ready:
		if !s.dropped.Load() {
			s.target.cfg.Observer.Lost(s.number, s.target.fault(s.err))
		}
	default: // SignIn tells it
	}
}

// signedIn notes that the server has taken the agent, and repeats the answer that the
// server may not have.
func (s *session) signedIn() error {
	select {
	case <-s.ready:
		return errors.New("the server said welcome twice")
	default:
	}
	unsafe := s.agent.unsafe
	close(s.ready)
	if unsafe != 0 {
		return s.write(s.dialect.answer(unsafe))
	}
	return nil
}

// task answers a task if it is new; first is written before the answer, and without one
// too.
func (s *session) task(number uint64, first []byte) error {
	if s.agent.had.take(number) {
		s.target.cfg.Observer.Task(s.number, number, s.raw.Came())
		s.agent.unsafe = number
		first = append(first, s.dialect.answer(number)...)
	}
	if len(first) == 0 {
		return nil
	}
	return s.write(first)
}

// safe notes that the server has the answer to a task.
func (s *session) safe(number uint64) {
	if s.agent.unsafe == number {
		s.agent.unsafe = 0
	}
	s.target.cfg.Observer.Safe(s.number, number, s.raw.Came())
}

func (s *session) write(b []byte) error {
	return write(s.conn, b)
}

// write writes to the server in bounded time.
func write(to net.Conn, b []byte) error {
	if err := to.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return fmt.Errorf("write to server: %w", err)
	}
	if _, err := to.Write(b); err != nil {
		return fmt.Errorf("write to server: %w", err)
	}
	return nil
}

// dialWait is how long a server's system may leave unanswered what an agent sends
// before there is a connection, and its first words, before it is tried anew. Systems
// repeat that at longer and longer intervals, and a server whose queue was full would be
// idle before the last agents of a storm asked again.
const dialWait = 3 * time.Second

// dial connects an agent from its address until ctx ends.
func (t *target) dial(ctx context.Context, number int) (*load.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: portLate, Timeout: dialWait}
	if n := t.cfg.Addresses; n > 1 {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+number%n))}
	}
	c, err := dialAgain(ctx, d, t.address)
	if err != nil {
		return nil, err
	}
	if err := giveUpAfter(c, dialWait); err != nil {
		_ = c.Close()
		return nil, err
	}
	return load.NewConn(c), nil
}

// dialAgain dials until ctx ends; d says how long one try may take.
func dialAgain(ctx context.Context, d net.Dialer, address string) (*net.TCPConn, error) {
	for {
		c, err := d.DialContext(ctx, "tcp4", address)
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		if ctx.Err() != nil || !isTimeout(err) {
			return nil, err
		}
	}
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// dialBack connects the back end.
func (t *target) dialBack(ctx context.Context) (*tls.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	raw, err := d.DialContext(ctx, "tcp4", t.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, t.trust.client(&t.trust.back, nil))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	return conn, nil
}

// A sessionCache keeps an agent's newest TLS session.
type sessionCache struct {
	mu      sync.Mutex
	session *tls.ClientSessionState
}

// Get implements [tls.ClientSessionCache].
func (c *sessionCache) Get(string) (*tls.ClientSessionState, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.session != nil
}

// Put implements [tls.ClientSessionCache]. It keeps the session of a handshake that
// failed, for which s is nil: a server that does not want it shakes hands in full.
func (c *sessionCache) Put(_ string, s *tls.ClientSessionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s != nil {
		c.session = s
	}
}

func (c *sessionCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = nil
}
