package listener

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// A session is one signed-in connection of one device. One goroutine reads
// (run), one writes (write); whoever has something for the agent puts it into
// the queue.
//
// A session ends once (end): from then on the device is not signed in here, no
// message counts any more, and only the last words are still written.
type session struct {
	l       *Listener
	conn    connection
	raw     net.Conn
	carrier uint8 // how it is connected, as presence files say it
	device  uint32
	address string
	rate    *rate.Limiter

	gone    chan struct{} // closed when the session ends
	written chan struct{} // closed when the writer has ended
	wake    chan struct{} // one slot: the queue has changed

	// sending is held from the write of a task until it is reported as sent, so
	// that no result of it can be reported before.
	sending sync.Mutex

	mu       sync.Mutex
	queue    queue
	ended    bool
	interval time.Duration // how often the agent must be heard
	soon     time.Duration // the interval after the message that is awaited now
}

func newSession(l *Listener, conn connection, raw net.Conn, carrier uint8, device uint32, address string) *session {
	interval := max(l.cfg.KeepAlive, l.cfg.KeepAliveOf(device))
	return &session{l: l, conn: conn, raw: raw, carrier: carrier, device: device, address: address,
		rate: rate.NewLimiter(rate.Limit(l.cfg.Limits.MessageRate), l.cfg.Limits.MessageBurst),
		gone: make(chan struct{}), written: make(chan struct{}), wake: make(chan struct{}, 1),
		interval: interval, soon: interval}
}

// run serves the session until it has ended and its connection is closed.
func (s *session) run(r *bufio.Reader) {
	s.mu.Lock()
	if !s.ended { // else the deadline is that of the last words
		s.conn.SetDeadline(time.Time{})
	}
	s.mu.Unlock()
	go s.write()
	reason, words := s.read(r)
	s.end(reason, words)
	drain(r)
	s.raw.Close()
	<-s.written
}

// read handles messages until the session is over, and says why it is.
func (s *session) read(r *bufio.Reader) (reason uint8, words *wire.Close) {
	var buf []byte
	for {
		s.await()
		m, b, err := wire.ReadFrom(r, buf)
		if err != nil {
			return s.readFailed(err)
		}
		if buf = b; cap(buf) > keepBuffer {
			buf = nil
		}
		if !s.pace() {
			return reasonClosed, nil
		}
		if _, bye := m.(*wire.Bye); bye {
			return reasonSignedOut, nil
		}
		if err := s.handle(m); err != nil {
			return s.readFailed(err)
		}
	}
}

// await sets how long the next message may take.
func (s *session) await() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.conn.SetReadDeadline(time.Now().Add(s.interval + s.interval/2))
	s.interval = s.soon
}

// pace makes an agent wait that sends more than it may; false means that the
// session has ended.
func (s *session) pace() bool {
	if s.over() {
		return false
	}
	wait := s.rate.Reserve().Delay()
	if wait <= 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.gone:
		return false
	}
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
		return reasonTimedOut, &wire.Close{Code: wire.Idle, Reason: "nothing was heard of the agent for too long"}
	}
	return reasonClosed, nil
}

var errSessionEnded = errors.New("session has ended")

// handle does what a message asks. An error ends the session.
func (s *session) handle(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Result:
		s.sending.Lock() // see there
		s.sending.Unlock()
		if !s.l.result(s, m) {
			return errSessionEnded
		}
	case *wire.KeepAlive:
		return s.keepAlive(m)
	case *wire.PolicyRequest:
		s.policy(m)
	case *wire.Renew:
		s.renew(m)
	case *wire.Inventory:
		if !s.l.inventory(s, m) {
			return errSessionEnded
		}
	case *wire.Unknown:
		if m.Of%2 == 0 {
			return fmt.Errorf("%w: %s is a listener's to send", wire.ErrFrame, m.Type())
		}
	default:
		return fmt.Errorf("%w: %s is out of place in a session", wire.ErrFrame, m.Type())
	}
	return nil
}

func (s *session) keepAlive(m *wire.KeepAlive) error {
	beacon, err := s.l.cfg.Beacon(m.Nonce)
	if err != nil {
		s.l.cfg.Log.Warn("no beacon for a keep-alive", "device", s.device, "err", err)
	}
	s.reply(&wire.KeepAliveAck{Beacon: beacon})
	return nil
}

// policy answers with the device's policy; one who asks too often waits. From then on the agent keeps to the
// interval in it; for the message that is awaited next, the longer one counts.
func (s *session) policy(m *wire.PolicyRequest) {
	for !s.l.asks.allow(strconv.FormatUint(uint64(s.device), 10), time.Now()) {
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-s.gone:
			t.Stop()
			return
		}
	}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.soon = s.l.cfg.KeepAliveOf(s.device); s.soon <= 0 {
		s.soon = s.l.cfg.KeepAlive
	}
	s.interval = max(s.interval, s.soon)
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
	s.end(reasonStopped, &wire.Close{Code: wire.GoingAway, RetryAfter: jitter(time.Second, time.Second+s.l.cfg.Spread), Reason: errStops.Error()})
}

// end ends the session for a reason and with last words, or without. Only the
// first call counts; it returns true.
func (s *session) end(reason uint8, words *wire.Close) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	s.ended = true
	unsent := s.queue.finish(words)
	s.raw.SetDeadline(time.Now().Add(s.l.times.close))
	close(s.gone)
	s.mu.Unlock()
	now := time.Now()
	for _, p := range unsent {
		s.l.settled(p, now)
	}
	s.l.table.signOut(s.device, s, func() { s.l.presence.set(s.device, false, reason, s.carrier, now) })
	if words == nil {
		s.raw.Close()
	}
	return true
}
