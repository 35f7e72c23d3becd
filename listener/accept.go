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
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// A door counts strangers: connections of one address that have not signed in.
type door struct {
	most int

	mu     sync.Mutex
	within map[string]int
}

func (d *door) enter(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.within[address] >= d.most {
		return false
	}
	d.within[address]++
	return true
}

func (d *door) leave(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.within[address]--; d.within[address] <= 0 {
		delete(d.within, address)
	}
}

// addressOf is what strangers are counted by: an IPv4 address, or an IPv6
// network of 64 bits, for one machine has as many addresses in it as it likes.
func addressOf(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
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

const maxAcceptBackOff = time.Second

// accept takes connections until ctx ends. It returns an error only if the
// listening socket is gone before that.
func (l *Listener) accept(ctx context.Context, tcp net.Listener) error {
	wait := 5 * time.Millisecond
	for {
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := tcp.Accept()
		if err == nil {
			wait = 5 * time.Millisecond
			l.admit(ctx, conn)
			continue
		}
		<-l.slots
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept agents: %w", err)
		}
		l.cfg.Log.Warn("accept agents", "listener", l.cfg.Name, "err", err, "wait", wait)
		sleep(ctx, wait)
		wait = min(2*wait, maxAcceptBackOff)
	}
}

// admit serves a connection unless there are too many, of all or of its address.
func (l *Listener) admit(ctx context.Context, raw net.Conn) {
	address := addressOf(raw.RemoteAddr())
	reason := ""
	switch most := l.cfg.Limits.Sessions + l.cfg.Limits.Handshakes; {
	case l.count.connections.Load() >= int64(most):
		reason = "too many connections"
	case !l.door.enter(address):
		reason = "too many connections that have not signed in"
	}
	if reason != "" {
		<-l.slots
		raw.Close()
		l.refuse("listener", address, reason)
		return
	}
	l.count.connections.Add(1)
	l.sessions.Go(func() {
		defer l.count.connections.Add(-1)
		defer raw.Close()
		l.serve(ctx, raw, address)
	})
}

// serve is one connection from its first byte to its last. It comes with one of
// the slots for handshakes, which it holds until it has shaken hands, and counts
// as a stranger until its first message.
func (l *Listener) serve(ctx context.Context, raw net.Conn, address string) {
	leave := sync.OnceFunc(func() { l.door.leave(address) })
	defer leave()
	conn, id, err := l.shake(ctx, raw)
	<-l.slots
	if err != nil {
		if reason := refusedBecause(err); reason != "" {
			l.cfg.Log.Debug("handshake failed", "address", address, "err", err)
			l.refuse("listener", address, reason)
		}
		return
	}
	l.converse(ctx, conn, raw, carrierTCP, id, address, leave)
}

// A connection is what carries a session: TLS over TCP, or a carrier over HTTPS.
type connection interface {
	net.Conn
	CloseWrite() error
}

// converse serves a connection whose device is known. Raw is what is closed to
// cut it, without any goodbye that could take time.
func (l *Listener) converse(ctx context.Context, conn connection, raw net.Conn, carrier uint8, id wire.Identity, address string, leave func()) {
	r := bufio.NewReaderSize(conn, readBuffer)
	first, err := l.firstMessage(ctx, conn, r)
	leave()
	if err != nil {
		l.refuse("listener", address, "no sign-in after the handshake")
		l.dismiss(conn, r, &wire.Close{Code: wire.Protocol, Reason: err.Error()})
		return
	}
	s := newSession(l, conn, raw, carrier, id.Device, address)
	if no := l.signIn(ctx, s, first); no != nil {
		l.refuse("listener", address, no.Reason)
		l.dismiss(conn, r, no)
		return
	}
	s.run(r)
}

// refuse counts a stranger who was turned away.
func (l *Listener) refuse(where, address, reason string) {
	l.count.refused.Add(1)
	l.status.refuse(where, address, reason)
}

func (l *Listener) shake(ctx context.Context, raw net.Conn) (*tls.Conn, wire.Identity, error) {
	l.count.handshakes.Add(1)
	defer l.count.handshakes.Add(-1)
	conn := tls.Server(raw, l.tls)
	raw.SetDeadline(time.Now().Add(l.times.handshake))
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Now()) })()
	if err := conn.HandshakeContext(context.Background()); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			err = errStops
		}
		return nil, wire.Identity{}, err
	}
	id, err := wire.IdentityOf(conn.ConnectionState().PeerCertificates[0])
	return conn, id, err
}

// tlsConfig admits devices of the site that speak the protocol.
func tlsConfig(cfg *Config) *tls.Config {
	return withClientCAs(cfg.ClientCAs, &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: cfg.Certificate,
		ClientAuth:     tls.RequireAndVerifyClientCert,
		NextProtos:     []string{wire.ALPN},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != wire.ALPN {
				return errProtocolName
			}
			id, err := wire.IdentityOf(cs.PeerCertificates[0])
			if err != nil {
				return err
			}
			if id.Site != cfg.Site {
				return errOtherSite
			}
			return nil
		},
	})
}

var (
	errProtocolName = errors.New("connection does not name the protocol " + wire.ALPN)
	errOtherSite    = errors.New("certificate is of another site")
)

// refusedBecause puts a failed handshake into few words, so that it can be
// counted; it is empty for a connection that just ended, such as a load
// balancer's probe, and when the listener stops.
func refusedBecause(err error) string {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, errStops):
		return ""
	case errors.As(err, &verify):
		return "certificate is not valid here"
	case strings.Contains(err.Error(), "client didn't provide a certificate"): // crypto/tls has no name for it
		return "no certificate"
	case errors.As(err, &record):
		return "not TLS"
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
	if _, tcp := conn.(*tls.Conn); !tcp {
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
		KeepAlive: l.cfg.KeepAlive, Beacon: beacon, Spread: l.cfg.Spread})
	now := time.Now()
	old, cancels, err := l.table.signIn(s.device, s, in, l.cfg.Limits.Sessions, now, func() {
		l.presence.set(s.device, true, reasonSignedIn, s.carrier, now)
	})
	if err != nil {
		return l.turnAway(err)
	}
	l.count.signIns.Add(1)
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
