package listener

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// A session is one signed-in connection of one device: what is said in it and
// what waits for the agent. A driver moves it: it reads and calls handle, and
// writes what is in the queue. Whoever has something for the agent puts it into
// the queue.
//
// A session ends once (end): from then on the device is not signed in here, no
// message counts any more, and only the last words are still written.
type session struct {
	l       *Listener
	driver  driver
	conn    connection
	address string
	paced   atomic.Int64 // a pacer, of its messages, since l.made

	// sending is held from the write of a task until it is reported as sent, so
	// that no result of it can be reported before.
	sending sync.Mutex

	carrier uint8 // how it is connected, as presence files say it
	device  uint32

	mu      sync.Mutex
	ended   atomic.Bool // changed with mu held
	waiting waiting

	interval atomic.Int64  // a duration: how often the agent must be heard; changes while a message is handled
	soon     time.Duration // the interval after the message that is awaited now; of whoever handles messages
}

// A driver reads and writes for a session, which is a part of it: one piece of memory less
// to wait for in a turn.
type driver interface {
	// signal tells that the queue has changed.
	signal()
	// put writes to the connection.
	put(b []byte) error
	// over tells that the session has ended. Cut says that nothing is to be
	// said any more; else the last words are in the queue.
	over(cut bool)
}

// set makes of s, which has nothing but a driver, the session of a device.
func (s *session) set(l *Listener, conn connection, carrier uint8, device uint32, address string) {
	s.l, s.conn, s.carrier, s.device, s.address = l, conn, carrier, device, address
	s.soon = max(l.cfg.KeepAlive, l.cfg.KeepAliveOf(device))
	s.interval.Store(int64(s.soon))
}

// patience is how long the next message may take, counted from now. The one behind
// it may take as long as policy says.
func (s *session) patience() time.Duration {
	wait := s.bears()
	s.interval.Store(int64(s.soon))
	return wait
}

// bears is for how long nothing need be heard of the agent.
func (s *session) bears() time.Duration {
	interval := time.Duration(s.interval.Load())
	return interval + interval/2
}

func (s *session) readFailed(err error) (reason uint8, words *wire.Close) {
	switch {
	case errors.Is(err, wire.ErrFrame):
		s.l.cfg.Log.Warn("agent broke the protocol", "device", s.device, "address", s.address, "err", err)
		s.l.status.message(msgProtocol, s.device, err.Error())
		s.l.refuse("listener", s.address, "protocol error")
		return reasonClosed, &wire.Close{Code: wire.Protocol, Reason: err.Error()}
	case errors.Is(err, os.ErrDeadlineExceeded) && s.l.stops():
		return reasonStopped, notTaken(errStops)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reasonTimedOut, silent()
	}
	return reasonClosed, nil
}

func silent() *wire.Close {
	return &wire.Close{Code: wire.Idle, Reason: "nothing was heard of the agent for too long"}
}

// handle does what a message asks. If it has to wait, for room or because its agent
// asks too often, it returns a channel that is closed when it may be handed in
// again. An error ends the session. Now is when the turn began in which it is handled.
func (s *session) handle(m wire.Message, now time.Time) (wait <-chan struct{}, err error) {
	switch m := m.(type) {
	case *wire.Result:
		s.sending.Lock() // see there
		s.sending.Unlock()
		return s.l.result(s, m, now), nil
	case *wire.Inventory:
		return s.l.inventory(s, m, now), nil
	case *wire.PolicyRequest:
		if !s.l.asks.allow(strconv.FormatUint(uint64(s.device), 10), now) {
			return inASecond(), nil
		}
		s.policy(m)
		return nil, nil
	}
	return nil, s.answer(m)
}

func inASecond() <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(c) })
	return c
}

// answer does what a message asks that never has to wait.
func (s *session) answer(m wire.Message) error {
	switch m := m.(type) {
	case *wire.KeepAlive:
		s.keepAlive(m)
	case *wire.Renew:
		s.renew(m)
	case *wire.Unknown:
		if m.Of%2 == 0 {
			return fmt.Errorf("%w: %s is a listener's to send", wire.ErrFrame, m.Type())
		}
	default:
		return fmt.Errorf("%w: %s is out of place in a session", wire.ErrFrame, m.Type())
	}
	return nil
}

func (s *session) keepAlive(m *wire.KeepAlive) {
	beacon, err := s.l.cfg.Beacon(m.Nonce)
	if err != nil {
		s.l.cfg.Log.Warn("no beacon for a keep-alive", "device", s.device, "err", err)
	}
	s.reply(&wire.KeepAliveAck{Beacon: beacon})
}

// policy answers with the device's policy. From then on the agent keeps to the
// interval in it; for the message that is awaited next, the longer one counts.
func (s *session) policy(m *wire.PolicyRequest) {
	p, err := s.l.cfg.Policy(s.device, m.User)
	if err != nil {
		s.l.cfg.Log.Error("no policy for a device", "device", s.device, "err", err)
		return
	}
	if len(p.Signed) > wire.MaxTransfer {
		s.l.cfg.Log.Error("policy is too long", "device", s.device, "bytes", len(p.Signed))
		return
	}
	s.sendPolicy(m.ETag, p)
	if m.User != "" {
		return
	}
	if s.soon = s.l.cfg.KeepAliveOf(s.device); s.soon <= 0 {
		s.soon = s.l.cfg.KeepAlive
	}
	s.interval.Store(max(s.interval.Load(), int64(s.soon)))
}

func (s *session) sendPolicy(known string, p Policy) {
	if p.ETag == known || len(p.Signed) == 0 {
		s.reply(&wire.Policy{ETag: p.ETag})
		return
	}
	if len(p.Proofs) > 0 {
		s.reply(&wire.PolicyProofs{ETag: p.ETag, Proofs: p.Proofs})
	}
	of := (len(p.Signed) + wire.MaxChunk - 1) / wire.MaxChunk
	for i := range of {
		chunk := p.Signed[i*wire.MaxChunk : min((i+1)*wire.MaxChunk, len(p.Signed))]
		s.reply(&wire.Policy{ETag: p.ETag, Part: uint32(i + 1), Of: uint32(of), Chunk: chunk})
	}
}

func (s *session) displace() {
	s.end(reasonClosed, &wire.Close{Code: wire.Displaced, Reason: "the same device signed in again"})
}

func (s *session) block() {
	s.end(reasonBlocked, &wire.Close{Code: wire.Blocked, Reason: errBlocked.Error()})
}

func (s *session) goAway() {
	s.end(reasonStopped, &wire.Close{Code: wire.GoingAway, RetryAfter: jitter(time.Second, time.Second+s.l.spread()), Reason: errStops.Error()})
}

// end ends the session for a reason and with last words, or without. Only the
// first call counts; it returns true.
func (s *session) end(reason uint8, words *wire.Close) bool {
	s.mu.Lock()
	if s.ended.Swap(true) {
		s.mu.Unlock()
		return false
	}
	unsent := s.waiting.finish(words)
	s.mu.Unlock()
	now := time.Now()
	for _, p := range unsent {
		s.l.settled(p)
	}
	s.l.table.signOut(s.device, s, func() { s.l.presence.set(s.device, false, reason, s.carrier, now) })
	s.driver.over(words == nil)
	return true
}

// hasEnded tells whether the session is over.
func (s *session) hasEnded() bool { return s.ended.Load() }
