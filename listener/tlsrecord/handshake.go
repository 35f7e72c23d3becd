package tlsrecord

import (
	"bytes"
	"crypto/fips140"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A Handshake is a connection over which crypto/tls shakes hands as a server, so
// that its work can be taken over afterwards. It hands crypto/tls one record at a
// time, however many have come. It is used once.
//
//	h := tlsrecord.NewHandshake(raw)
//	first := tls.Server(h, h.Config(base))
//	err := first.Handshake()
//	...
//	conn, err := h.TakeOver(first) // first is used no more
type Handshake struct {
	net.Conn

	ahead  *[readAhead]byte // nil while nothing is in it
	unread []byte           // of ahead
	left   int              // bytes of the record that is being handed out

	client, server secret
	tickets        uint32
	odd            string // why it cannot be taken over
}

// readAhead is how much is read at once. It holds any record's header.
const readAhead = 4 << 10

var aheads = sync.Pool{New: func() any { return new([readAhead]byte) }}

// maxTicket is the size of the largest ticket that surely fits one record.
const maxTicket = maxPlaintext - 64

// A secret is one that traffic keys are derived from. The longest is of SHA-384.
type secret struct {
	bytes [48]byte
	n     int
}

// NewHandshake makes one of a connection of which nothing was read yet.
func NewHandshake(raw net.Conn) *Handshake { return &Handshake{Conn: raw} }

// Config returns what crypto/tls is to shake hands by: as base says, and so that
// this handshake can be taken over. Tickets are those of base, whose keys may change
// at any time. Keys that are set on what base.GetConfigForClient returns do not
// count, but its WrapSession and UnwrapSession do.
func (h *Handshake) Config(base *tls.Config) *tls.Config {
	c := base.Clone()
	choose := base.GetConfigForClient
	if choose == nil {
		h.watch(c, base)
		return c
	}
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen, err := choose(hello)
		if err != nil {
			return nil, err
		}
		if chosen == nil {
			chosen = base
		}
		mine := chosen.Clone()
		h.watch(mine, base)
		return mine, nil
	}
	return c
}

// watch makes c tell h what it has to know.
func (h *Handshake) watch(c, base *tls.Config) {
	c.KeyLogWriter = (*keyLog)(h)
	wrap := c.WrapSession
	if wrap == nil {
		wrap = base.EncryptTicket
	}
	c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		ticket, err := wrap(state, session)
		if h.tickets++; len(ticket) > maxTicket {
			h.odd = "a ticket is in several records"
		}
		return ticket, err
	}
	if c.UnwrapSession == nil {
		c.UnwrapSession = base.DecryptTicket
	}
}

// A keyLog takes two secrets out of what crypto/tls says, and passes nothing on.
type keyLog Handshake

// Write implements [io.Writer]. It is called with one line at a time: a label, the
// client's random and the secret.
func (k *keyLog) Write(line []byte) (int, error) {
	var into *secret
	label, rest, _ := bytes.Cut(line, []byte(" "))
	switch string(label) {
	case "CLIENT_TRAFFIC_SECRET_0":
		into = &k.client
	case "SERVER_TRAFFIC_SECRET_0":
		into = &k.server
	default:
		return len(line), nil
	}
	_, text, _ := bytes.Cut(bytes.TrimSuffix(rest, []byte("\n")), []byte(" "))
	if into.n != 0 || hex.DecodedLen(len(text)) > len(into.bytes) {
		k.odd = "a secret is not as expected"
		return len(line), nil
	}
	n, err := hex.Decode(into.bytes[:], text)
	if err != nil {
		k.odd = "a secret is not as expected"
	}
	into.n = n
	return len(line), nil
}

// Read implements [net.Conn]: what it returns is of one record.
func (h *Handshake) Read(p []byte) (int, error) {
	if h.left == 0 {
		if err := h.begin(); err != nil {
			return 0, err
		}
	}
	p = p[:min(len(p), h.left)]
	if len(h.unread) == 0 {
		n, err := h.Conn.Read(p)
		h.left -= n
		return n, err
	}
	n := copy(p, h.unread)
	h.left -= n
	if h.unread = h.unread[n:]; len(h.unread) == 0 {
		h.giveBack()
	}
	return n, nil
}

// begin reads until the next record's header is there. If the connection ends before
// that, what has come is handed out.
func (h *Handshake) begin() error {
	if h.ahead == nil {
		h.ahead = aheads.Get().(*[readAhead]byte)
	}
	n := copy(h.ahead[:], h.unread)
	for h.unread = h.ahead[:n]; n < headerSize; h.unread = h.ahead[:n] {
		m, err := h.Conn.Read(h.ahead[n:])
		if n += m; m > 0 || err == nil {
			continue
		}
		if n == 0 {
			h.giveBack()
			return err
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			return err
		}
		h.left = n
		return nil
	}
	h.left = headerSize + int(binary.BigEndian.Uint16(h.unread[3:]))
	return nil
}

func (h *Handshake) giveBack() {
	aheads.Put(h.ahead)
	h.ahead, h.unread = nil, nil
}

// TakeOver goes on with a connection that has shaken hands over h and by its
// [Handshake.Config], and over which nothing was read or written since. What
// crypto/tls has not been handed yet is read from the new connection. If the error is
// [errors.ErrUnsupported], first is as it was, and can be used over h instead; of the
// secrets nothing is left in h either way.
func (h *Handshake) TakeOver(first *tls.Conn) (*Conn, error) {
	defer h.forget()
	c, err := h.takeOver(first.ConnectionState())
	if err != nil {
		return nil, fmt.Errorf("take over TLS connection: %w", err)
	}
	if len(h.unread) > 0 {
		c.keep(h.unread, nil)
		h.giveBack()
	}
	return c, nil
}

func (h *Handshake) takeOver(state tls.ConnectionState) (*Conn, error) {
	place, known := suiteOf(state.CipherSuite)
	switch s := &suites[place]; {
	case !state.HandshakeComplete:
		return nil, errors.New("it has not shaken hands")
	case state.Version != tls.VersionTLS13:
		return nil, fmt.Errorf("%w: %s", errors.ErrUnsupported, tls.VersionName(state.Version))
	case !known:
		return nil, fmt.Errorf("%w: %s", errors.ErrUnsupported, tls.CipherSuiteName(state.CipherSuite))
	case fips140.Enabled():
		return nil, fmt.Errorf("%w: in FIPS mode", errors.ErrUnsupported)
	case h.client.n != s.hash().Size() || h.server.n != s.hash().Size():
		return nil, fmt.Errorf("%w: crypto/tls has not told the secrets", errors.ErrUnsupported)
	case h.odd != "" || h.left != 0:
		return nil, fmt.Errorf("%w: %s", errors.ErrUnsupported, h.odd)
	}
	c := &Conn{raw: h.Conn, suite: place, most: MaxRecords}
	var err error
	if c.in, err = newHalf(&suites[place], h.client.bytes[:h.client.n], 0); err != nil {
		return nil, err
	}
	if c.out, err = newHalf(&suites[place], h.server.bytes[:h.server.n], h.tickets); err != nil {
		return nil, err
	}
	return c, nil
}

func (h *Handshake) forget() { h.client, h.server = secret{}, secret{} }
