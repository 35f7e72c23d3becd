package poll

import (
	"errors"
	"fmt"
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

// A Conn is a TCP connection that can be parked. Reading, writing and parking are for
// one goroutine at a time; all else is for anybody.
type Conn struct {
	remote net.Addr

	mu   sync.Mutex   // held while fd is used
	tcp  *net.TCPConn // nil once it is parked
	fd   int          // -1: closed, or not parked yet
	cut  bool
	out  []byte // what the kernel had no room for
	torn error  // why nothing can be written any more
	left int    // bytes that may be read in this turn
	more bool   // and there were more
}

// MaxPending is how much is kept of what the kernel has no room for. Whoever writes
// only while nothing is pending never comes near it.
const MaxPending = 1 << 20

// ErrPending is returned by Write when too much is pending.
var ErrPending = errors.New("the other side does not read")

// NewConn makes a connection of a TCP connection, which it owns from then on.
func NewConn(tcp *net.TCPConn) *Conn {
	return &Conn{tcp: tcp, remote: tcp.RemoteAddr(), fd: -1}
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		closeFD(fd)
		return fmt.Errorf("park connection: %w", net.ErrClosed)
	}
	c.fd = fd
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

// Allow begins a turn in which n bytes may be read: then Read says [ErrWait].
func (c *Conn) Allow(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.more = n, false
}

// More tells whether Read has said so although there may be something.
func (c *Conn) More() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.more
}

func (c *Conn) poll(p poller, token uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return p.add(c.fd, token)
}

// Read implements [net.Conn].
func (c *Conn) Read(b []byte) (int, error) {
	if tcp := c.blocking(); tcp != nil {
		return tcp.Read(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd < 0:
		return 0, net.ErrClosed
	case c.left <= 0:
		c.more = true
		return 0, ErrWait
	}
	n, err := readFD(c.fd, b)
	c.left -= n
	return n, err
}

// Write implements [net.Conn]. Once the connection is parked it takes everything,
// or nothing with an error, from which on every Write fails.
func (c *Conn) Write(b []byte) (int, error) {
	if tcp := c.blocking(); tcp != nil {
		return tcp.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, net.ErrClosed
	}
	if c.torn != nil {
		return 0, c.torn
	}
	n := 0
	if len(c.out) == 0 {
		n, c.torn = writeFD(c.fd, b)
	} else if len(c.out)+len(b) > MaxPending {
		c.torn = ErrPending
	}
	if c.torn != nil {
		return 0, c.torn
	}
	c.out = append(c.out, b[n:]...)
	return len(b), nil
}

// Flush writes what was kept, as far as there is room.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 || c.fd < 0 || c.torn != nil {
		return c.torn
	}
	n, err := writeFD(c.fd, c.out)
	if c.torn = err; err != nil {
		return err
	}
	if c.out = c.out[n:]; len(c.out) == 0 {
		c.out = nil
	}
	return nil
}

// Pending is how many bytes are kept that the kernel had no room for.
func (c *Conn) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out)
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
	return shutdownFD(c.fd, true)
}

// Cut ends the connection for both sides and leaves a parked socket open: whoever
// reads or has turns learns of it.
func (c *Conn) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	if c.fd >= 0 {
		_ = shutdownFD(c.fd, false)
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
		fd := c.fd
		c.fd, c.out = -1, nil
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

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

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
