package fleet

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	signInTime = 30 * time.Second // for connection, handshake and welcome, as a real agent
	firstRead  = 64               // bytes that a quiet session has a buffer for
	pooledRead = 4 << 10          // bytes of a buffer that one with data takes
)

// An agent is what a light agent keeps.
type agent struct {
	// Of the session that is, or of SignIn between two sessions.
	unsafe task.Result // the newest one that the site may not have
	timed  bool        // it knows the site's time, and asks for no beacon of its own any more

	ticket  *tls.ClientSessionState // of the last session, nil if there is none
	session *session                // newest; only SignIn and beat look at it, under Fleet.mu
}

// tickets are the TLS sessions of one agent. Only one goroutine at a time uses them:
// SignIn waits for the reader of the session before.
type tickets struct{ of *agent }

// Get is of [tls.ClientSessionCache].
func (t tickets) Get(string) (*tls.ClientSessionState, bool) { return t.of.ticket, t.of.ticket != nil }

// Put is of [tls.ClientSessionCache].
func (t tickets) Put(_ string, s *tls.ClientSessionState) { t.of.ticket = s }

// How a session stands.
const (
	alive int32 = iota
	dropped
	ended
)

// A session is one agent's connection.
type session struct {
	fleet   *Fleet
	agent   int
	raw     *load.Conn
	conn    *tls.Conn
	rest    []byte // what came behind the welcome
	resumed bool
	state   atomic.Int32
	done    chan struct{} // closed when the reader has ended
}

// Resumed is of [load.Session].
func (s *session) Resumed() bool { return s.resumed }

// Drop is of [load.Session]. The connection is reset, so that the server knows it at
// once. Once Drop has returned nothing more is told of the session.
func (s *session) Drop() {
	s.state.CompareAndSwap(alive, dropped)
	_ = s.raw.SetLinger(0)
	_ = s.raw.Close()
	<-s.done
}

// SignIn is of [load.Target].
func (f *Fleet) SignIn(ctx context.Context, number int, full bool) (load.Session, error) {
	if len(f.hands) > 0 {
		return f.hands[number%len(f.hands)].signIn(number, full)
	}
	f.drop(number)
	a := &f.agents[number]
	if full {
		a.ticket = nil
	}
	s, err := f.connect(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("agent %d: %w", number, err)
	}
	f.mu.Lock()
	a.session = s
	f.mu.Unlock()
	go s.listen()
	return s, nil
}

// connect connects, shakes hands and signs in.
func (f *Fleet) connect(ctx context.Context, number int) (*session, error) {
	deadline := time.Now().Add(signInTime)
	d := net.Dialer{LocalAddr: source(number, f.cfg.Addresses), KeepAlive: -1, Deadline: deadline}
	c, err := d.DialContext(ctx, "tcp", f.listeners[number%len(f.listeners)])
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	raw := load.NewConn(c.(*net.TCPConn))
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	s := &session{fleet: f, agent: number, raw: raw, conn: tls.Client(raw, f.settings(number)), done: make(chan struct{})}
	f.gate.Enter(raw)
	defer raw.Leave()
	err = raw.SetDeadline(deadline)
	if err == nil {
		err = s.greet()
	}
	if err == nil {
		err = raw.SetDeadline(time.Time{})
	}
	if !stop() || err != nil {
		_ = raw.SetLinger(0)
		_ = raw.Close()
		return nil, errors.Join(err, ctx.Err())
	}
	return s, nil
}

// settings are an agent's for TLS. It shows who it is, and does not check who
// answers: what it sends is of no worth to others.
func (f *Fleet) settings(number int) *tls.Config {
	shown := &f.ids.all[number].shown
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{wire.ALPN}, InsecureSkipVerify: true,
		ClientSessionCache:   tickets{&f.agents[number]},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil }}
	cfg.CurvePreferences = []tls.CurveID{tls.CurveP256}
	if f.cfg.Hybrid {
		cfg.CurvePreferences = []tls.CurveID{tls.SecP256r1MLKEM768, tls.CurveP256}
	}
	return cfg
}

// greet shakes hands and waits for the welcome.
func (s *session) greet() error {
	if err := s.conn.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	state := s.conn.ConnectionState()
	if state.NegotiatedProtocol != wire.ALPN {
		return errors.New("handshake: server is no bugle listener")
	}
	s.resumed = state.DidResume
	hello := &wire.SignIn{Version: wire.Version, Agent: version}
	me := &s.fleet.agents[s.agent]
	if !me.timed {
		_, _ = rand.Read(hello.Nonce[:])
	}
	unsafe := &me.unsafe
	if !unsafe.Operation.IsZero() {
		hello.Pending = 1
	}
	if err := s.write(hello); err != nil {
		return err
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	in := (*buf)[:0]
	for {
		m, used, err := wire.Next(in)
		if err != nil {
			return fmt.Errorf("sign in: %w", err)
		}
		switch m := m.(type) {
		case nil:
			if in, err = s.more(in); err != nil {
				return fmt.Errorf("sign in: %w", err)
			}
		case *wire.Close:
			return &load.Refused{After: m.RetryAfter, Reason: fmt.Sprintf("%s: %s", m.Code, m.Reason)}
		case *wire.Welcome:
			s.rest, me.timed = append(s.rest, in[used:]...), true
			if unsafe.Operation.IsZero() {
				return nil
			}
			return s.report(unsafe)
		default:
			return fmt.Errorf("sign in: %w: %s where a welcome must be", wire.ErrFrame, m.Type())
		}
	}
}

// buffers are for sessions that have data.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, pooledRead); return &b }}

// more reads some more behind what is there; in has room, or gets some.
func (s *session) more(in []byte) ([]byte, error) {
	if len(in) == cap(in) {
		in = append(in, 0)[:len(in)]
	}
	n, err := s.conn.Read(in[len(in):cap(in)])
	return in[:len(in)+n], err
}

// listen reads until the connection ends. While nothing comes the session has only
// a small buffer.
func (s *session) listen() {
	defer close(s.done)
	err := s.turn(s.rest)
	s.rest = nil
	small := make([]byte, firstRead)
	for err == nil {
		var n int
		if n, err = s.conn.Read(small); err == nil {
			err = s.turn(small[:n])
		}
	}
	_ = s.raw.Close()
	if s.state.CompareAndSwap(alive, ended) {
		s.fleet.cfg.Observer.Lost(s.agent, err)
	}
}

// turn handles the messages that begin with what was read, to the end of one.
func (s *session) turn(first []byte) error {
	if len(first) == 0 {
		return nil
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	in := append((*buf)[:0], first...)
	for len(in) > 0 {
		m, used, err := wire.Next(in)
		if err != nil {
			return err
		}
		if m == nil {
			if in, err = s.more(in); err != nil {
				return err
			}
			continue
		}
		if err := s.hear(m); err != nil {
			return err
		}
		in = in[:copy(in, in[used:])]
	}
	return nil
}

// hear does what follows from a message.
func (s *session) hear(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Task:
		return s.answer(m)
	case *wire.ResultAck:
		if m.State == task.Succeeded {
			if unsafe := &s.fleet.agents[s.agent].unsafe; unsafe.Operation == m.Operation {
				*unsafe = task.Result{}
			}
			s.fleet.cfg.Observer.Safe(s.agent, numberOf(m.Operation), s.raw.Came())
		}
	case *wire.Close:
		return &load.Refused{After: m.RetryAfter, Reason: fmt.Sprintf("%s: %s", m.Code, m.Reason)}
	}
	return nil
}

// answer tells the observer of a task and says that it succeeded: the one result
// that a device owes.
func (s *session) answer(m *wire.Task) error {
	now := time.Now()
	t, err := m.Signed.Task()
	if err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	s.fleet.cfg.Observer.Task(s.agent, numberOf(t.Operation), s.raw.Came())
	r := &s.fleet.agents[s.agent].unsafe
	*r = task.Result{Operation: t.Operation, Device: s.fleet.ids.all[s.agent].Device, Attempt: 1, State: task.Succeeded, At: now}
	return s.report(r)
}

// report sends a result.
func (s *session) report(r *task.Result) error {
	return s.write(&wire.Result{Operation: r.Operation, Attempt: r.Attempt, State: r.State, At: r.At, MAC: r.MAC(s.fleet.ids.all[s.agent].ResultKey)})
}

// write may be called by several at once.
func (s *session) write(m wire.Message) error {
	b, err := wire.Append(nil, m)
	if err != nil {
		return err
	}
	if _, err = s.conn.Write(b); err != nil {
		return fmt.Errorf("write %s: %w", m.Type(), err)
	}
	return nil
}

// numberOf is an operation as the observer knows it: the random part of its id.
func numberOf(id task.ID) uint64 { return binary.BigEndian.Uint64(id[8:]) }
