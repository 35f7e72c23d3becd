package poll

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"
)

// errWait says that there is nothing to be read now.
type errWait struct{}

func (errWait) Error() string   { return "nothing to be read now" }
func (errWait) Timeout() bool   { return true }
func (errWait) Temporary() bool { return true }

// ErrWait is what Read of a parked connection returns when there is nothing to be
// read. It is a [net.Error] that is temporary.
var ErrWait net.Error = errWait{}

// A Conn is a TCP connection that can be parked. Reading, writing, parking, what is about a
// turn ([Conn.Allow], [Conn.Left], [Conn.More], [Conn.Wrote], [Conn.Flush], [Conn.Pending]),
// and closing it once it is parked are for one goroutine at a time; all else is for anybody.
type Conn struct {
	mu  sync.Mutex // held while fd is used, and when it or what is below it changes
	fd  int32      // -1: closed, or not parked yet
	cut bool
	tcp *net.TCPConn // nil once it is parked

	// Of the one goroutine.
	more bool  // there is more than may be read in this turn
	sure bool  // in this turn the kernel tells again of what comes after a short read
	dry  bool  // there was one
	said bool  // something was written since Wrote was asked
	left int32 // bytes that may be read in this turn
	kept *kept // nil while everything could be written
}

// What a connection keeps of which few have anything.
type kept struct {
	out  []byte // what the kernel had no room for
	torn error  // why nothing can be written any more
}

// MaxPending is how much is kept of what the kernel has no room for. Whoever writes
// only while nothing is pending, and at most half of this, never comes near it.
const MaxPending = 4 << 20

// unheard is after which time without an acknowledgement of what was written, or an
// answer to a keep-alive of TCP, the kernel counts a parked connection as dead, where
// it can be told so: on Linux.
const unheard = 90 * time.Second

// ErrPending is returned by Write when too much is pending.
var ErrPending = errors.New("the other side does not read")

// NewConn makes a connection of a TCP connection, which it owns from then on.
func NewConn(tcp *net.TCPConn) *Conn {
	return &Conn{tcp: tcp, fd: -1}
}

// Park takes the socket from Go's poller. Nothing may be under way on it. Deadlines
// count no more.
func (c *Conn) Park() error {
	raw, err := c.blocking().SyscallConn()
	if err != nil {
		return fmt.Errorf("park connection: %w", err)
	}
	fd := -1
	if e := raw.Control(func(p uintptr) { fd, err = dup(int(p)) }); e != nil || err != nil {
		return fmt.Errorf("park connection: %w", errors.Join(e, err))
	}
	noticeDead(fd)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		closeFD(fd)
		return fmt.Errorf("park connection: %w", net.ErrClosed)
	}
	c.fd = int32(fd)
	c.tcp.Close()
	c.tcp = nil
	return nil
}

// blocking is the connection until it is parked, then nil.
func (c *Conn) blocking() *net.TCPConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tcp
}

// Allow begins a turn in which n bytes may be read: then Read says [ErrWait]. It also
// says so, without asking the kernel, behind a read that filled less than its buffer,
// for of what comes later the loop tells again; not if why holds [HungUp], of which it
// does not.
func (c *Conn) Allow(n int, why Events) {
	c.left, c.more = int32(min(n, math.MaxInt32)), false
	c.sure, c.dry = why&HungUp == 0, false
}

// Left is how many bytes may still be read in this turn.
func (c *Conn) Left() int {
	return int(c.left)
}

// More tells whether Read has said so although there may be something.
func (c *Conn) More() bool {
	return c.more
}

// Wrote tells whether something was written since it was asked last.
func (c *Conn) Wrote() bool {
	said := c.said
	c.said = false
	return said
}

func (c *Conn) poll(p poller, token uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return p.add(int(c.fd), token)
}

// MaxRead is how much one Read takes of a parked connection: who asks for a record of
// TLS has at most as much behind it.
const MaxRead = 16 << 10

// Read implements [net.Conn].
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	if tcp := c.tcp; tcp != nil {
		c.mu.Unlock()
		return tcp.Read(b)
	}
	defer c.mu.Unlock()
	switch {
	case c.fd < 0:
		return 0, net.ErrClosed
	case c.dry:
		return 0, ErrWait
	case c.left <= 0:
		c.more = true
		return 0, ErrWait
	}
	b = b[:min(len(b), MaxRead)]
	n, err := readFD(int(c.fd), b)
	c.left -= int32(n)
	c.dry = c.sure && n < len(b)
	return n, err
}

// Write implements [net.Conn]. Once the connection is parked it takes everything,
// or nothing with an error, from which on every Write fails.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if tcp := c.tcp; tcp != nil {
		c.mu.Unlock()
		return tcp.Write(b)
	}
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, net.ErrClosed
	}
	c.said = true
	if c.kept != nil {
		return c.kept.add(b)
	}
	n, err := writeFD(int(c.fd), b)
	if err != nil {
		c.kept = &kept{torn: err}
		return 0, err
	}
	if n < len(b) {
		c.kept = &kept{out: bytes.Clone(b[n:])}
	}
	return len(b), nil
}

func (k *kept) add(b []byte) (int, error) {
	if k.torn == nil && len(k.out)+len(b) > MaxPending {
		k.torn = ErrPending
	}
	if k.torn != nil {
		return 0, k.torn
	}
	k.out = append(k.out, b...)
	return len(b), nil
}

// Flush writes what was kept, as far as there is room.
func (c *Conn) Flush() error {
	k := c.kept
	if k == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case k.torn != nil || c.fd < 0:
		return k.torn
	}
	n, err := writeFD(int(c.fd), k.out)
	if k.torn = err; err != nil {
		return err
	}
	if k.out = k.out[n:]; len(k.out) == 0 {
		c.kept = nil
	}
	return nil
}

// Pending is how many bytes are kept that the kernel had no room for.
func (c *Conn) Pending() int {
	if c.kept == nil {
		return 0
	}
	return len(c.kept.out)
}

// CloseWrite tells the other side that nothing more comes.
func (c *Conn) CloseWrite() error {
	if tcp := c.blocking(); tcp != nil {
		return tcp.CloseWrite()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return shutdownFD(int(c.fd), true)
}

// Cut ends the connection for both sides and leaves a parked socket open: whoever
// reads or has turns learns of it.
func (c *Conn) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	if c.fd >= 0 {
		_ = shutdownFD(int(c.fd), false)
	} else if c.tcp != nil {
		c.tcp.Close()
	}
}

// Abort is Cut, and leaves nothing behind in the kernel if the connection is not
// parked yet.
func (c *Conn) Abort() {
	if tcp := c.blocking(); tcp != nil {
		_ = tcp.SetLinger(0)
	}
	c.Cut()
}

// Close implements [net.Conn].
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	switch {
	case c.fd >= 0:
		fd := int(c.fd)
		c.fd, c.kept = -1, nil
		return closeFD(fd)
	case c.tcp != nil:
		return c.tcp.Close()
	}
	return net.ErrClosed
}

// LocalAddr implements [net.Conn]; it is nil once the connection is parked.
func (c *Conn) LocalAddr() net.Addr {
	if tcp := c.blocking(); tcp != nil {
		return tcp.LocalAddr()
	}
	return nil
}

// RemoteAddr implements [net.Conn]; it is nil once the connection is parked.
func (c *Conn) RemoteAddr() net.Addr {
	if tcp := c.blocking(); tcp != nil {
		return tcp.RemoteAddr()
	}
	return nil
}

// SetDeadline implements [net.Conn], until the connection is parked.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline((*net.TCPConn).SetDeadline, t) }

// SetReadDeadline implements [net.Conn], until the connection is parked.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.deadline((*net.TCPConn).SetReadDeadline, t)
}

// SetWriteDeadline implements [net.Conn], until the connection is parked.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.deadline((*net.TCPConn).SetWriteDeadline, t)
}

func (c *Conn) deadline(set func(*net.TCPConn, time.Time) error, t time.Time) error {
	if tcp := c.blocking(); tcp != nil {
		return set(tcp, t)
	}
	return nil
}
