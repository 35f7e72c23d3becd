package tlsrecord

import (
	"bytes"
	"crypto/cipher"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A ProtocolError says what the other side did wrong. It has been told the alert,
// and nothing more is said to it.
type ProtocolError struct {
	Alert tls.AlertError
	Why   string
}

// Error implements error.
func (e *ProtocolError) Error() string { return "read TLS record: " + e.Why }

// Unwrap returns the alert.
func (e *ProtocolError) Unwrap() error { return e.Alert }

// ErrExhausted is returned when [MaxRecords] were sent or received: the keys have
// done their work, and new ones take a new handshake.
var ErrExhausted = errors.New("TLS keys have protected as many records as they may")

// MaxRecords is how many records are sent, and how many received, with the keys of
// one connection: less than the 2^24.5 that RFC 8446, 5.5 allows for AES-GCM.
const MaxRecords = 1 << 24

// maxUseless is how many records without data are received one after the other.
const maxUseless = 16

// A Conn is an established TLS 1.3 connection on the server's side, of which nothing
// is left but what its records need. It is for one goroutine at a time, except for
// the deadlines and addresses.
//
// Read returns what the underlying connection returns if that is a timeout, as
// poll.ErrWait is, and may be called again; any other error is final. Write is as
// that of the underlying connection, and every error is final.
type Conn struct {
	raw     net.Conn
	rare    *rare // nil while there is nothing in it
	in, out half
	most    uint32 // records in each direction
	suite   uint8
	useless uint8
}

// rare is what a connection seldom has.
type rare struct {
	plain   []byte // opened, and not read yet
	sealed  []byte // received, and not whole or not opened yet
	noRead  error  // why nothing can be read any more, behind plain
	noWrite error
}

// rarely returns c.rare to put something into.
func (c *Conn) rarely() *rare {
	if c.rare == nil {
		c.rare = new(rare)
	}
	return c.rare
}

// Over returns a connection that goes on over raw, to which all is moved that c
// has. Of c only the deadlines and addresses may be used from then on.
func (c *Conn) Over(raw net.Conn) *Conn {
	moved := *c
	moved.raw = raw
	c.rare = nil // is moved's, and not to be cleared
	c.forget(net.ErrClosed)
	return &moved
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if n := c.takePlain(p); n > 0 {
		return n, nil
	}
	if c.rare != nil && c.rare.noRead != nil {
		return 0, c.rare.noRead
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	var in []byte
	if c.rare != nil {
		in = s.buf[:copy(s.buf[:], c.rare.sealed)]
	}
	for {
		n, rest, err := c.open(p, in, &s.nonce)
		if n > 0 || err != nil {
			c.keep(rest, err)
			if n > 0 {
				err = nil // it comes again
			}
			return n, err
		}
		if len(rest) < len(in) {
			in = s.buf[:copy(s.buf[:], rest)]
		}
		m, err := c.raw.Read(s.buf[len(in):])
		in = s.buf[:len(in)+m]
		if m == 0 && err != nil {
			return 0, c.readFailed(in, err)
		}
	}
}

func (c *Conn) takePlain(p []byte) int {
	if c.rare == nil {
		return 0
	}
	n := copy(p, c.rare.plain)
	clear(c.rare.plain[:n])
	if c.rare.plain = c.rare.plain[n:]; len(c.rare.plain) == 0 {
		c.rare.plain = nil
		c.tidy()
	}
	return n
}

// tidy gives c.rare back if there is nothing in it.
func (c *Conn) tidy() {
	if r := c.rare; r != nil && r.plain == nil && r.sealed == nil && r.noRead == nil && r.noWrite == nil {
		c.rare = nil
	}
}

// keep keeps what is left for the next Read, or the error that it is to return.
func (c *Conn) keep(rest []byte, err error) {
	if len(rest) > 0 && err == nil {
		r := c.rarely()
		r.sealed = append(r.sealed[:0], rest...)
		return
	}
	if c.rare != nil {
		c.rare.sealed = nil
	}
	if err != nil {
		c.rarely().noRead = err
	}
	c.tidy()
}

// readFailed keeps what came of the next record if err says that there may be more.
func (c *Conn) readFailed(in []byte, err error) error {
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		c.keep(in, nil)
		return err
	}
	if err == io.EOF && len(in) > 0 {
		err = io.ErrUnexpectedEOF
	}
	c.keep(nil, err)
	return err
}

// open opens records of in until p is full or none is whole, and returns how much is
// in p, and what is left of in.
func (c *Conn) open(p, in []byte, nonce *[ivSize]byte) (n int, rest []byte, err error) {
	var a cipher.AEAD
	for n < len(p) {
		record, bad := next(in)
		if bad != nil {
			return n, nil, c.fail(bad)
		}
		if record == nil {
			break
		}
		if c.in.count >= c.most {
			return n, nil, c.exhausted()
		}
		if a == nil {
			if a, err = c.in.aead(&suites[c.suite]); err != nil {
				return n, nil, c.fail(&ProtocolError{internalError, err.Error()})
			}
		}
		in = in[len(record):]
		data, err := c.openOne(a, nonce, record)
		if err != nil {
			return n, nil, err
		}
		m := copy(p[n:], data)
		if n += m; m < len(data) {
			c.rarely().plain = bytes.Clone(data[m:])
		}
	}
	return n, in, nil
}

// openOne returns the data of a record, if there is some.
func (c *Conn) openOne(a cipher.AEAD, nonce *[ivSize]byte, record []byte) ([]byte, error) {
	typ, data, bad := c.in.open(a, nonce, record)
	if bad != nil {
		return nil, c.fail(bad)
	}
	switch {
	case typ == typeData && len(data) > 0:
		c.useless = 0
		return data, nil
	case typ == typeAlert && len(data) == 2:
		if alert := tls.AlertError(data[1]); alert == closeNotify {
			return nil, io.EOF
		} else if alert != userCanceled {
			c.rarely().noWrite = alert
			return nil, &net.OpError{Op: "remote error", Err: alert}
		}
	case typ == typeHandshake:
		return nil, c.fail(&ProtocolError{unexpectedMessage, "a handshake message, such as a KeyUpdate, came behind the handshake"})
	case typ != typeData:
		return nil, c.fail(&ProtocolError{unexpectedMessage, fmt.Sprintf("a record is of type %d", typ)})
	}
	if c.useless++; c.useless > maxUseless {
		return nil, c.fail(&ProtocolError{unexpectedMessage, "too many records without data"})
	}
	return nil, nil
}

// fail tells the other side what it did wrong, as its last word.
func (c *Conn) fail(bad *ProtocolError) error {
	c.alert(bad.Alert, bad)
	return bad
}

// exhausted ends the connection because its keys have done their work.
func (c *Conn) exhausted() error {
	c.alert(closeNotify, ErrExhausted)
	c.rarely().noRead = ErrExhausted
	return ErrExhausted
}

var errShutdown = errors.New("write TLS record: the connection is closed for writing")

// CloseWrite says that nothing more comes. It leaves the underlying connection open.
func (c *Conn) CloseWrite() error { return c.alert(closeNotify, errShutdown) }

// alert sends an alert, if anything may be sent. From then on Write returns after.
func (c *Conn) alert(a tls.AlertError, after error) error {
	if c.rare != nil && c.rare.noWrite != nil {
		return nil
	}
	level := byte(2)
	if a == closeNotify {
		level = 1
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	aead, err := c.out.aead(&suites[c.suite])
	if err == nil {
		_, err = c.raw.Write(c.out.seal(aead, s, typeAlert, []byte{level, byte(a)}))
	}
	c.rarely().noWrite = after
	return err
}

// Write implements [net.Conn].
func (c *Conn) Write(b []byte) (n int, err error) {
	if c.rare != nil && c.rare.noWrite != nil {
		return 0, c.rare.noWrite
	}
	a, err := c.out.aead(&suites[c.suite])
	if err != nil {
		return 0, fmt.Errorf("write TLS record: %w", err)
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for len(b) > 0 {
		if c.out.count >= c.most {
			return n, c.exhausted()
		}
		m := min(len(b), maxPlaintext)
		if _, err := c.raw.Write(c.out.seal(a, s, typeData, b[:m])); err != nil {
			c.rarely().noWrite = err
			return n, err
		}
		n += m
		b = b[m:]
	}
	return n, nil
}

// Close forgets the keys and all that was not read, and closes the underlying
// connection. It says nothing to the other side; see CloseWrite.
func (c *Conn) Close() error {
	c.forget(net.ErrClosed)
	return c.raw.Close()
}

// forget leaves nothing of c but err, for whoever reads or writes.
func (c *Conn) forget(err error) {
	if c.rare != nil {
		clear(c.rare.plain)
	}
	c.in, c.out = half{}, half{}
	c.rare = &rare{noRead: err, noWrite: err}
}

// LocalAddr implements [net.Conn].
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error { return c.raw.SetDeadline(t) }

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.raw.SetWriteDeadline(t) }
