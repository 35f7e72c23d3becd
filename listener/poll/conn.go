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

// A Conn is a TCP connection that can be parked. It is for one goroutine at a time,
// but for Close, Cut and the addresses.
type Conn struct {
	tcp    *net.TCPConn
	remote net.Addr
	parked bool

	mu   sync.Mutex // held while fd is used
	fd   int        // -1: closed, or not parked yet
	cut  bool
	out  []byte // what the kernel had no room for
	torn error  // why nothing can be written any more
}

// NewConn makes a connection of a TCP connection, which it owns from then on.
func NewConn(tcp *net.TCPConn) *Conn {
	return &Conn{tcp: tcp, remote: tcp.RemoteAddr(), fd: -1}
}

// Park takes the socket from Go's poller. Nothing may be under way on it. Deadlines
// count no more.
func (c *Conn) Park() error {
	raw, err := c.tcp.SyscallConn()
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
	c.fd, c.parked = fd, true
	c.tcp.Close()
	c.tcp = nil
	return nil
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
	if !c.parked {
		return c.tcp.Read(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, net.ErrClosed
	}
	return readFD(c.fd, b)
}

// Write implements [net.Conn]. Once the connection is parked it takes everything,
// or nothing with an error.
func (c *Conn) Write(b []byte) (int, error) {
	if !c.parked {
		return c.tcp.Write(b)
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
		if n, c.torn = writeFD(c.fd, b); c.torn != nil {
			return 0, c.torn
		}
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
	if !c.parked {
		return c.tcp.CloseWrite()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return shutdownFD(c.fd, true)
}

// Cut ends the connection for both sides and leaves its socket open: whoever reads
// or has turns learns of it. It may be called by anybody at any time.
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
	if c.parked {
		return nil
	}
	return c.tcp.LocalAddr()
}

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetLinger is [net.TCPConn.SetLinger], until the connection is parked.
func (c *Conn) SetLinger(seconds int) error {
	if c.parked {
		return nil
	}
	return c.tcp.SetLinger(seconds)
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
	if c.parked {
		return nil
	}
	return set(c.tcp, t)
}
