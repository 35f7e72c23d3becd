package load

import (
	"net"
	"runtime"
	"sync"
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
	spoken sync.Once
	gate   Gate // in which it is, or nil
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

// A Gate is where agents pass, a few at once, who are connected and have not spoken
// yet. Every agent has a machine of its own, which answers a server at once. Here they
// have one or two processors together: those that come back all at once would all
// compute their first words before any of them answered what a server said to the first
// ones, a second and more later, and its places would be taken by them meanwhile.
type Gate chan struct{}

// gateWidth is how many agents compute their first words at once.
const gateWidth = 16

// NewGate makes a gate that is open.
func NewGate() Gate { return make(Gate, gateWidth) }

// Enter waits for c's turn, which ends with its first Write or with Leave.
func (g Gate) Enter(c *Conn) {
	g <- struct{}{}
	c.gate = g
	runtime.Gosched() // else whoever leaves is followed at once, before those that were answered
}

// Leave ends the turn of a connection, if it has one.
func (c *Conn) Leave() {
	if c.gate != nil {
		c.spoken.Do(func() { <-c.gate })
	}
}

// Write implements [net.Conn].
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.Leave()
	return n, err
}
