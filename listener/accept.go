package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// addressOf is what strangers are counted by: an IPv4 address, or an IPv6
// network of 64 bits, for one machine has as many addresses in it as it likes.
func addressOf(a net.Addr) string {
	var ap netip.AddrPort
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap = tcp.AddrPort()
	} else if ap, _ = netip.ParseAddrPort(a.String()); !ap.IsValid() {
		return a.String()
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is4() || ip.IsLoopback() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return p.String()
}

// accept takes connections until ctx ends. It returns an error only if the
// listening socket is gone before that.
func (l *Listener) accept(ctx context.Context, socket net.Listener, admit func(net.Conn)) error {
	var short shortage
	defer short.end()
	for {
		conn, err := socket.Accept()
		switch {
		case err == nil:
			short.over()
			admit(conn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept agents: %w", err)
		default:
			if conn := l.acceptFailed(ctx, &short, socket, err); conn != nil {
				admit(conn)
			}
		}
	}
}

// serveTCP accepts agents until ctx ends.
func (l *Listener) serveTCP(ctx context.Context, socket net.Listener) error {
	defer l.lobby.close()
	serve := func(v *visitor) {
		l.count.connections.Add(1)
		l.sessions.Add(1)
		go l.attendTo(ctx, v)
	}
	return l.accept(ctx, socket, func(raw net.Conn) { l.admit(raw, serve) })
}

// admit lets a connection in unless there are too many.
func (l *Listener) admit(raw net.Conn, serve func(*visitor)) {
	if l.shed(raw, l.lobby) {
		return
	}
	tcp, _ := raw.(*net.TCPConn)
	if tcp != nil && l.loop != nil {
		raw = poll.NewConn(tcp)
	}
	v := newVisitor(raw, l.turns)
	v.socket = tcp
	if most := l.cfg.Limits.Sessions + l.cfg.Limits.Handshakes; int(l.count.connections.Load())+l.lobby.waits() >= most {
		raw.Close()
		l.refuse("listener", v.address, "too many connections")
		return
	}
	l.letIn(v, l.lobby, serve)
}

// attendTo serves a connection that has a place in the lobby, to its end or until
// its session is parked.
func (l *Listener) attendTo(ctx context.Context, v *visitor) {
	closed := func() {
		l.count.connections.Add(-1)
		l.sessions.Done()
	}
	if !l.pays(v) || !l.serve(ctx, v, closed) {
		l.lobby.leave(v)
		v.Close()
		closed()
	}
}

// letIn hands v to a lobby, or hangs up. Nothing can be said before TLS.
func (l *Listener) letIn(v *visitor, into *lobby, serve func(*visitor)) {
	if !l.budgets.has(v.address, time.Now()) {
		if !l.pays(v) {
			return
		}
		l.budgets.give(v.address, time.Now()) // somebody gave back meanwhile
	}
	v.pace = &l.pace
	into.enter(v, serve)
}

// pays takes v's connection off the budget of its address; false means that it has
// nothing left, and that v is closed.
func (l *Listener) pays(v *visitor) bool {
	ok, fresh := l.budgets.take(v.address, time.Now())
	if fresh {
		l.cfg.Log.Warn("address connects again and again and nobody signs in", "listener", l.cfg.Name, "address", v.address)
		l.status.message(msgSlowed, 0, v.address+" connects again and again and nobody signs in: it has to wait")
	}
	if !ok {
		v.reset()
		l.count.slowed.Add(1)
		l.refuse("listener", v.address, "connects again and again and does not sign in")
	}
	return ok
}

// overflows notes that v cannot be served soon.
func (l *Listener) overflows(v *visitor) {
	if l.count.overflowed.Add(1)%100 == 1 {
		l.cfg.Log.Warn(tooMany, "listener", l.cfg.Name, "waiting", l.lobby.waits()+l.webLobby.waits(), "handshake", l.pace.mean())
	}
	l.status.message(msgOverflow, 0, fmt.Sprintf("%s: within %s", tooMany, mostWait))
	l.refuse("listener", v.address, tooMany)
}

// cutSlow notes that v had to go.
func (l *Listener) cutSlow(v *visitor) {
	l.count.cutSlow.Add(1)
	if !v.spoke() {
		l.budgets.punish(v.address, time.Now())
	}
	l.refuse("listener", v.address, tooSlow)
}

// serve is one connection from its first byte to its last, or until its session is
// parked: then it is true, and closed is called at the end. The connection is in
// the lobby until its first message.
func (l *Listener) serve(ctx context.Context, v *visitor, closed func()) (isParked bool) {
	leave := func() bool { return l.lobby.leave(v) }
	defer leave()
	conn, id, err := l.meet(ctx, v)
	if err != nil {
		l.shakeFailed(v, err)
		return false
	}
	defer func() {
		if !isParked {
			forget(conn)
		}
	}()
	if !l.signIns.allow(strconv.FormatUint(uint64(id.Device), 10), time.Now()) {
		l.count.tooOften.Add(1)
		l.refuse("listener", v.address, errOften.Error())
		leave()
		l.dismiss(conn, conn, overloaded(errOften.Error()))
		return false
	}
	socket, canPark := v.Conn.(*poll.Conn)
	if !canPark {
		l.converse(ctx, conn, v, carrierTCP, id, v.address, leave)
		return false
	}
	p := &parked{socket: socket, closed: closed}
	p.driver = p
	r := l.greet(ctx, &p.session, conn, v, carrierTCP, id, v.address, leave)
	if r == nil {
		return false
	}
	err = l.park(p, r)
	if giveBack(r); err != nil {
		l.cfg.Log.Warn("session cannot be parked", "device", p.device, "err", err)
		p.end(reasonClosed, nil)
		return false
	}
	return true
}

var errOften = errors.New("the device signs in again and again")

// shakeFailed counts a handshake that failed, and lets those pay for it who break
// off what they began, or never meant to.
func (l *Listener) shakeFailed(v *visitor, err error) {
	reason := refusedBecause(err)
	if reason == "" {
		return
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errTooMuch) {
		l.budgets.punish(v.address, time.Now())
	}
	l.cfg.Log.Debug("handshake failed", "address", v.address, "err", err)
	l.refuse("listener", v.address, reason)
}

// A connection is what carries a session: TLS over TCP, or a carrier over HTTPS.
type connection interface {
	net.Conn
	CloseWrite() error
}

// converse serves a connection whose device is known, with goroutines of its own.
// Raw is what is closed to cut it, without any goodbye that could take time.
func (l *Listener) converse(ctx context.Context, conn connection, raw net.Conn, carrier uint8, id wire.Identity, address string, leave func() bool) {
	a := newAttended(raw)
	if r := l.greet(ctx, &a.session, conn, raw, carrier, id, address, leave); r != nil {
		a.run(r)
	}
}

// readers are lent to those who sign in, until their session is parked.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

func giveBack(r *bufio.Reader) {
	r.Reset(nil)
	readers.Put(r)
}

// greet signs a device in, whose session is s; nil means that it is turned away. Leave
// gives up its place; if it had to go just now, it is not signed in, for its connection
// is being cut. What comes next is read from the reader.
func (l *Listener) greet(ctx context.Context, s *session, conn connection, raw net.Conn, carrier uint8, id wire.Identity, address string, leave func() bool) *bufio.Reader {
	r := readers.Get().(*bufio.Reader)
	r.Reset(conn)
	first, err := l.firstMessage(ctx, conn, r)
	if !leave() {
		giveBack(r)
		return nil
	}
	if err != nil {
		l.refuse("listener", address, "no sign-in after the handshake")
		l.dismiss(conn, r, &wire.Close{Code: wire.Protocol, Reason: err.Error()})
		giveBack(r)
		return nil
	}
	s.set(l, conn, carrier, id.Device, address)
	no := l.signIn(ctx, s, first)
	if v, ok := raw.(*visitor); ok && (no == nil || no.Code == wire.Overloaded || no.Code == wire.GoingAway) {
		v.know()
		l.budgets.reward(address, time.Now())
	}
	if no != nil {
		l.refuse("listener", address, no.Reason)
		l.dismiss(conn, r, no)
		giveBack(r)
		return nil
	}
	return r
}

// refuse counts a stranger who was turned away.
func (l *Listener) refuse(where, address, reason string) {
	l.count.refused.Add(1)
	l.status.refuse(where, address, reason)
}

// shake shakes hands with who connected.
func (l *Listener) shake(ctx context.Context, raw visiting, config *tls.Config) (*tls.Conn, error) {
	l.count.handshakes.Add(1)
	defer l.count.handshakes.Add(-1)
	defer raw.shook()
	conn := tls.Server(raw, config)
	raw.SetDeadline(time.Now().Add(l.times.handshake))
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Now()) })()
	if err := conn.HandshakeContext(context.Background()); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			err = errStops
		}
		return nil, err
	}
	return conn, nil
}

// visiting is a [visitor], or a connection that holds one.
type visiting interface {
	net.Conn
	lend(giveBack func())
	identify(id wire.Identity) // by its ticket, see [withTickets]
	identity() *wire.Identity
	shook()
}

// refusedBecause puts a failed handshake into few words, so that it can be
// counted; it is empty for a connection that just ended, such as a load
// balancer's probe, and when the listener stops.
func refusedBecause(err error) string {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, errStops), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe): // of the closed it was said already
		return ""
	case errors.As(err, &verify):
		return "certificate is not valid here"
	case strings.Contains(err.Error(), "client didn't provide a certificate"): // crypto/tls has no name for it
		return "no certificate"
	case errors.As(err, &record):
		return "not TLS"
	case errors.Is(err, errTooMuch):
		return errTooMuch.Error()
	case errors.Is(err, errProtocolName), errors.Is(err, errOtherSite):
		return err.Error()
	case errors.Is(err, wire.ErrNoIdentity):
		return wire.ErrNoIdentity.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "handshake took too long"
	case errors.As(err, &alert):
		return "agent refused: " + alert.Error()
	}
	return "handshake failed"
}

func (l *Listener) firstMessage(ctx context.Context, conn connection, r *bufio.Reader) (*wire.SignIn, error) {
	wait := l.times.signIn
	if !isOverTCP(conn) {
		wait *= 3 // through a proxy a round trip can be several
	}
	conn.SetDeadline(time.Now().Add(wait))
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })()
	m, _, err := wire.ReadFrom(r, nil)
	if err != nil {
		return nil, err
	}
	in, ok := m.(*wire.SignIn)
	if !ok {
		return nil, fmt.Errorf("%w: %s before sign-in", wire.ErrFrame, m.Type())
	}
	return in, nil
}

// signIn decides whether s is taken; if not, it returns what to tell the agent.
func (l *Listener) signIn(ctx context.Context, s *session, in *wire.SignIn) *wire.Close {
	if in.Version < wire.Version {
		return &wire.Close{Code: wire.BadVersion, Reason: "no version of the protocol that both speak"}
	}
	if no := l.awaitWhole(ctx); no != nil {
		return no
	}
	if l.table.isBlocked(s.device) {
		return notTaken(errBlocked)
	}
	beacon, err := l.cfg.Beacon(in.Nonce)
	if err != nil {
		l.cfg.Log.Error("no beacon for a sign-in", "listener", l.cfg.Name, "device", s.device, "err", err)
		return overloaded("the site's time is not known here")
	}
	s.welcome(&wire.Welcome{Version: wire.Version, History: l.cfg.History, Listener: l.cfg.Name,
		KeepAlive: l.cfg.KeepAlive, Beacon: beacon, Spread: l.spread()})
	now := time.Now()
	old, cancels, err := l.table.signIn(s.device, s, in, l.cfg.Limits.Sessions, now, func() {
		l.presence.set(s.device, true, reasonSignedIn, s.carrier, now)
	})
	if err != nil {
		return l.turnAway(err)
	}
	l.count.signIns.Add(1)
	l.here()
	for _, f := range cancels {
		s.frame(f)
		l.count.cancels.Add(1)
	}
	if old != nil {
		l.count.displaced.Add(1)
		old.displace()
	}
	return nil
}

func (l *Listener) turnAway(err error) *wire.Close {
	if errors.Is(err, errFull) {
		l.status.message(msgFull, 0, err.Error())
	}
	return notTaken(err)
}

func notTaken(err error) *wire.Close {
	switch {
	case errors.Is(err, errBlocked):
		return &wire.Close{Code: wire.Blocked, Reason: err.Error()}
	case errors.Is(err, errStops):
		return &wire.Close{Code: wire.GoingAway, RetryAfter: jitter(time.Second, 5*time.Second), Reason: err.Error()}
	}
	return overloaded(err.Error())
}

func overloaded(reason string) *wire.Close {
	return &wire.Close{Code: wire.Overloaded, RetryAfter: jitter(2*time.Second, 10*time.Second), Reason: reason}
}

// jitter is at random between least and most.
func jitter(least, most time.Duration) time.Duration {
	return least + rand.N(most-least+1)
}

func (l *Listener) awaitWhole(ctx context.Context) *wire.Close {
	select {
	case <-l.whole:
		return nil
	default:
	}
	t := time.NewTimer(l.times.whole)
	defer t.Stop()
	select {
	case <-l.whole:
		return nil
	case <-ctx.Done():
		return notTaken(errStops)
	case <-t.C:
		return overloaded("the listener does not know yet what is open")
	}
}

// dismiss says why and hangs up.
func (l *Listener) dismiss(conn connection, r io.Reader, why *wire.Close) {
	conn.SetDeadline(time.Now().Add(l.times.close))
	frame, err := wire.Append(nil, why)
	if err != nil {
		return
	}
	if _, err := conn.Write(frame); err == nil {
		conn.CloseWrite()
		drain(r)
	}
}

// drain reads until the other side has hung up or the deadline comes: closing a
// socket with unread bytes would reset it, and our last words could be lost.
func drain(r io.Reader) { io.Copy(io.Discard, io.LimitReader(r, 1<<20)) }
