package load

import (
	"net"
	"time"
)

// A Conn is an agent's TCP connection that knows when what was read last had come to
// this machine, if the system tells: on Linux. How long it lay there because other
// agents of this process had the processor is not the server's time.
//
// Read and Came are for one goroutine at a time.
type Conn struct {
	*net.TCPConn
	stamps
}

// NewConn makes a connection of tcp, which is still to be closed by its owner.
func NewConn(tcp *net.TCPConn) *Conn {
	c := &Conn{TCPConn: tcp}
	c.begin(tcp)
	return c
}

// Came returns when the last bytes of the last Read had come; now, if it is not known.
func (c *Conn) Came() time.Time {
	if at := c.last(); !at.IsZero() {
		return at
	}
	return time.Now()
}
