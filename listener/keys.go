package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/tlsrecord"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// A Park says what is kept of the TLS connection of a parked session.
type Park string

const (
	// ParkTLS keeps the connection of crypto/tls.
	ParkTLS Park = "tls"
	// ParkKeys keeps two keys and two counters (package tlsrecord). A connection for
	// which that is not possible is kept as with ParkTLS.
	ParkKeys Park = "keys"
)

// Check says what cannot work.
func (p Park) Check() error {
	if p != ParkTLS && p != ParkKeys {
		return fmt.Errorf("%q is neither %s nor %s", string(p), ParkTLS, ParkKeys)
	}
	return nil
}

// keyed is a visitor that shakes hands so that only the keys need be kept.
type keyed struct {
	*tlsrecord.Handshake
	v *visitor
}

func (k keyed) lend(giveBack func())      { k.v.lend(giveBack) }
func (k keyed) identify(id wire.Identity) { k.v.identify(id) }
func (k keyed) identity() *wire.Identity  { return k.v.identity() }
func (k keyed) shook()                    { k.v.shook() }

// meet shakes hands with a device. What it returns carries the session.
func (l *Listener) meet(ctx context.Context, v *visitor) (connection, wire.Identity, error) {
	if _, canPark := v.Conn.(*poll.Conn); !canPark || l.cfg.Park != ParkKeys {
		conn, id, err := l.identified(ctx, v, l.tls)
		return conn, id, err
	}
	h := tlsrecord.NewHandshake(v)
	first, id, err := l.identified(ctx, keyed{h, v}, h.Config(l.tls))
	if err != nil {
		return nil, id, err
	}
	conn, err := h.TakeOver(first)
	if errors.Is(err, errors.ErrUnsupported) {
		l.kept.Do(func() {
			l.cfg.Log.Warn("not only the keys of connections can be kept: parked sessions need more memory", "listener", l.cfg.Name, "err", err)
		})
		return first, id, nil
	}
	return conn, id, err
}

func (l *Listener) identified(ctx context.Context, v visiting, config *tls.Config) (*tls.Conn, wire.Identity, error) {
	conn, err := l.shake(ctx, v, config)
	if err != nil {
		return nil, wire.Identity{}, err
	}
	shown := conn.ConnectionState().PeerCertificates
	if id := v.identity(); len(shown) == 0 && id != nil {
		return conn, *id, nil
	}
	id, err := wire.IdentityOf(shown[0])
	return conn, id, err
}

// isOverTCP tells whether nothing is between conn and the socket but TLS.
func isOverTCP(conn connection) bool {
	switch conn.(type) {
	case *tls.Conn, *tlsrecord.Conn:
		return true
	}
	return false
}

// bare is what carries a session over a parked socket: if only keys are kept, then
// without what watched over it before it was known whose it is.
func bare(conn connection, socket *poll.Conn) connection {
	if c, ok := conn.(*tlsrecord.Conn); ok {
		return c.Over(socket)
	}
	return conn
}

// forget leaves nothing of the keys of a connection that is over.
func forget(conn connection) {
	if c, ok := conn.(*tlsrecord.Conn); ok {
		c.Close()
	}
}

// noteTLS counts an agent that broke TLS like one that breaks our protocol. It has got
// an alert, if it is not for records that hold nothing.
func (s *session) noteTLS(err error) {
	_, broke := errors.AsType[*tlsrecord.ProtocolError](err)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "local error" { // of crypto/tls
		broke = true
	}
	if broke || errors.Is(err, errEmptyRecords) {
		s.l.cfg.Log.Warn("agent broke TLS", "device", s.device, "address", s.address, "err", err)
		s.l.status.message(msgProtocol, s.device, err.Error())
		s.l.refuse("listener", s.address, "protocol error")
	}
}
