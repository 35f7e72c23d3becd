package listener

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/tlsrecord"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// A parked session has no goroutine, and no buffer while nothing happens. It gets
// turns: in each it writes what waits for the agent and reads what has come from
// it. Only signal and over are called by others.
type parked struct {
	session
	socket *poll.Conn // below the TLS of conn
	closed func()     // called when all is over

	source atomic.Pointer[poll.Source] // nil until the loop has it
	aside  atomic.Bool                 // a message is handled by a goroutine of its own

	// Of the turns.
	unread  bool      // there may be something to be read, of which nobody tells again
	rest    []byte    // what was read and not handled
	heard   time.Time // when the last message came
	resume  time.Time // nothing is read before
	trouble *trouble  // nil: there is none
	beyond  int32     // bytes that were read beyond messages, and are not counted yet
	said    bool      // the last words are written
	dead    bool
	empty   uint16 // bytes that were read beyond records with something in them

	// For Fetch; of the TLS of crypto/tls in conn, else there is none.
	visitor *visitor
	ciphers ciphers
}

// What a session seldom has.
type trouble struct {
	stalled time.Time // since when the kernel has no room, zero: it has
	pending int       // bytes that were kept then
	last    time.Time // when the ended session is closed at the latest
	drained int       // bytes that were read since it ended
}

// troubled returns p.trouble to put something into.
func (p *parked) troubled() *trouble {
	if p.trouble == nil {
		p.trouble = new(trouble)
	}
	return p.trouble
}

const (
	turnMessages = 64        // that are handled in a turn; then others are served first
	turnBytes    = 256 << 10 // that are read in a turn, TLS included
	mostDrained  = 1 << 20   // that is read of an agent whose session has ended

	mostBeyond    = 20 << 10 // bytes that are read beyond messages for nothing: more than poll.MaxRead
	beyondMessage = 1 << 10  // and as many more count as a message
)

// recordHead is what a record of TLS 1.3 has beside what it holds: its head, its type,
// and a tag.
const recordHead = 5 + 1 + 16

// errEmptyRecords is the end of a session. What crypto/tls writes while it is asked to
// read is an answer to a KeyUpdate.
var errEmptyRecords = errors.New("records of TLS that hold nothing, or a KeyUpdate")

var turnBuffers = sync.Pool{New: func() any { return new([wire.MaxFrame]byte) }}

// park hands a session that has just begun to the loop. What r has read already is
// of its first frames. The socket is closed when p.closed is called; after an error
// it is the caller's.
func (l *Listener) park(p *parked, r *bufio.Reader) error {
	first, err := r.Peek(r.Buffered())
	if err != nil {
		return err
	}
	p.rest = bytes.Clone(first)
	if err := p.socket.Park(); err != nil {
		return err
	}
	p.conn = bare(p.conn, p.socket)
	if c, ok := p.conn.(*tls.Conn); ok {
		p.visitor, _ = c.NetConn().(*visitor)
		p.ciphers = ciphersOf(c)
	}
	p.heard = time.Now()
	l.loop.Add(p.socket, p, &p.source)
	return nil
}

func (p *parked) signal() {
	if s := p.source.Load(); s != nil {
		s.Call()
	}
}

func (p *parked) over(cut bool) {
	if cut {
		p.socket.Cut()
	}
	p.signal()
}

func (p *parked) put(b []byte) error {
	_, err := p.conn.Write(b)
	return err
}

// Fetch implements [poll.Fetcher].
func (p *parked) Fetch(why poll.Events) {
	poll.Prefetch(p.socket)
	switch c := p.conn.(type) {
	case *tls.Conn:
		p.fetchTLS(c, why&poll.Readable != 0)
	case *tlsrecord.Conn:
		poll.Prefetch(c)
	}
}

// Turn implements [poll.Handler].
func (p *parked) Turn(why poll.Events, now time.Time) {
	if p.dead {
		return
	}
	p.socket.Allow(turnBytes, why)
	p.unread = p.unread || why&poll.Readable != 0
	if p.exchange(now) && !p.isOver(now) {
		if p.socket.More() {
			p.source.Load().Call()
		}
		p.source.Load().Set(p.next())
		return
	}
	p.end(reasonClosed, nil) // unless it has ended
	p.source.Load().Remove()
	p.socket.Close()
	forget(p.conn)
	p.dead, p.rest = true, nil
	p.closed()
}

// exchange writes, reads, and writes what was answered; false means that the socket can
// be closed.
func (p *parked) exchange(now time.Time) bool {
	answers := p.unread
	return p.write(now) && p.read(now) && (!answers || p.write(now))
}

// isOver tells whether the session has ended, and its last words had their time.
func (p *parked) isOver(now time.Time) bool {
	if !p.hasEnded() {
		return false
	}
	t := p.troubled()
	if t.last.IsZero() {
		t.last = now.Add(p.l.times.close)
	}
	return !now.Before(t.last)
}

// next is when the session must have a turn, whatever comes before.
func (p *parked) next() time.Time {
	t := p.trouble
	if t != nil && !t.last.IsZero() {
		return t.last
	}
	at := p.until()
	if !p.resume.IsZero() && p.resume.Before(at) {
		at = p.resume
	}
	if t != nil && !t.stalled.IsZero() {
		if gives := t.stalled.Add(p.l.times.write); gives.Before(at) {
			at = gives
		}
	}
	return at
}

// until is when the next message must be there.
func (p *parked) until() time.Time { return p.heard.Add(p.bears()) }

// write writes what waits, as far as there is room; false means that nothing can
// be written any more.
func (p *parked) write(now time.Time) bool {
	if err := p.socket.Flush(); err != nil {
		p.writeFailed(err)
		return false
	}
	for p.socket.Pending() == 0 && !p.said {
		more, ended, err := p.writeNext()
		if err != nil {
			p.writeFailed(err)
			return false
		}
		if more {
			continue
		}
		if ended && p.socket.Pending() == 0 {
			p.said = true
			p.conn.CloseWrite()
		}
		break
	}
	return p.keepsUp(now)
}

// keepsUp notes whether the agent reads; false means that it has not for too long.
func (p *parked) keepsUp(now time.Time) bool {
	n, t := p.socket.Pending(), p.trouble
	if n == 0 {
		if t != nil {
			t.stalled = time.Time{}
		}
		return true
	}
	switch t = p.troubled(); {
	case t.stalled.IsZero() || n < t.pending:
		t.stalled, t.pending = now, n
	case now.Sub(t.stalled) >= p.l.times.write:
		p.tooSlow()
		return false
	}
	return true
}

// read handles what has come; false means that nothing comes any more, and nothing
// is to be said.
func (p *parked) read(now time.Time) bool {
	if p.hasEnded() {
		return p.drain()
	}
	if p.aside.Load() || now.Before(p.resume) {
		return true
	}
	p.resume = time.Time{}
	var err error
	switch {
	case p.unread && p.wait(now) > 0:
		p.resume = now.Add(poll.Tick)
	case p.unread:
		err = p.readOn(now)
		p.charge(now)
	}
	switch {
	case err != nil:
		p.noteTLS(err)
		reason, words := p.readFailed(err)
		p.end(reason, words)
		return words != nil
	case p.resume.IsZero() && !p.aside.Load() && !now.Before(p.until()):
		p.end(reasonTimedOut, silent())
	}
	return true
}

// charge counts as messages what the turn has read beyond them: opening records that
// hold little or nothing, and changing keys for an agent, costs more than most messages.
func (p *parked) charge(now time.Time) {
	for p.beyond += int32(turnBytes - p.socket.Left()); p.beyond > mostBeyond; p.beyond -= beyondMessage {
		p.count(now)
	}
}

// readOn reads and handles frames. What is left of one is kept.
func (p *parked) readOn(now time.Time) error {
	b := turnBuffers.Get().(*[wire.MaxFrame]byte)
	defer turnBuffers.Put(b)
	n, err := p.frames(b[:], copy(b[:], p.rest), now)
	if p.rest = nil; n > 0 && err == nil {
		p.rest = bytes.Clone(b[:n])
	}
	return err
}

// frames reads and handles frames until nothing more has come, or no more may be
// handled now. Of buf n bytes are there at the start, and at the end.
func (p *parked) frames(buf []byte, n int, now time.Time) (int, error) {
	for left := turnMessages; ; {
		used, err := p.handleWhole(buf[:n], &left, now)
		n = copy(buf, buf[used:n])
		if err != nil || p.hasEnded() {
			return n, err
		}
		if left <= 0 {
			if p.resume.IsZero() && !p.aside.Load() {
				p.source.Load().Call() // there may be more, of which nobody tells again
			}
			return n, nil
		}
		m, err := p.readSome(buf[n:])
		n += m
		if m > 0 {
			continue // an error comes again
		}
		if errors.Is(err, poll.ErrWait) {
			p.unread = p.socket.More()
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// readSome reads of the agent's records. Those of TLS that hold nothing cost it next to
// nothing: with other keys for each of them it would keep a processor busy. Agents send
// none, whose crypto/tls neither pads nor asks for other keys.
func (p *parked) readSome(b []byte) (int, error) {
	left := p.socket.Left()
	p.socket.Wrote()
	m, err := p.conn.Read(b)
	p.beyond -= int32(m)
	if _, ok := p.conn.(*tls.Conn); !ok || err != nil && !errors.Is(err, poll.ErrWait) {
		return m, err
	}
	empty := int(p.empty) + left - p.socket.Left() - m
	if m > 0 {
		empty -= recordHead
	}
	p.empty = uint16(max(0, min(empty, math.MaxUint16)))
	if empty > mostBeyond || p.socket.Wrote() {
		return 0, errEmptyRecords
	}
	return m, err
}

// handleWhole handles the frames that are whole in b, and returns how much of it
// they are. If one has to wait, left becomes 0.
func (p *parked) handleWhole(b []byte, left *int, now time.Time) (used int, err error) {
	for !p.hasEnded() {
		m, n, err := wire.Next(b[used:])
		if err != nil || n == 0 {
			return used, err
		}
		if *left--; *left < 0 {
			return used, nil
		}
		if wait, err := p.take(m, now); wait || err != nil {
			*left = 0
			return used, err
		}
		used += n
		if p.aside.Load() {
			*left = 0
			return used, nil
		}
	}
	return used, nil
}

// take handles a message, or says that it has to wait.
func (p *parked) take(m wire.Message, now time.Time) (wait bool, err error) {
	if p.wait(now) > 0 {
		p.resume = now.Add(poll.Tick)
		return true, nil
	}
	p.count(now)
	p.heard = now
	p.patience() // until the next message, the interval counts that is in force now
	switch m.(type) {
	case *wire.Bye:
		p.end(reasonSignedOut, nil)
		return false, nil
	case *wire.KeepAlive, *wire.PolicyRequest:
		p.handleAside(m)
		return false, nil
	}
	full, err := p.handle(m, now)
	if full != nil {
		p.resume = now.Add(poll.Tick)
	}
	return full != nil, err
}

// handleAside handles a message for which the site may have to be asked: that must
// keep no worker waiting. Until it is answered nothing more is read.
func (p *parked) handleAside(m wire.Message) {
	p.aside.Store(true)
	p.l.sessions.Go(func() {
		for !p.hasEnded() {
			wait, err := p.handle(m, time.Now())
			if err != nil {
				p.end(p.readFailed(err))
			}
			if wait == nil {
				break
			}
			<-wait
		}
		p.aside.Store(false)
		p.signal()
	})
}

// drain reads until the other side has hung up: closing a socket with unread bytes
// would reset it, and our last words could be lost. What they say is of no interest, so
// nothing is decrypted. False means that it has.
func (p *parked) drain() bool {
	var b [4096]byte
	for t := p.troubled(); t.drained < mostDrained; {
		n, err := p.socket.Read(b[:])
		t.drained += n
		if errors.Is(err, poll.ErrWait) {
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}
