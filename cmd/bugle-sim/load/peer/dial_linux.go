package peer

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// portLate lets the system choose the port when the connection is made and not when
// the socket gets its address, so that ports are shared between destinations and those
// of ended connections can be used again.
func portLate(_, _ string, c syscall.RawConn) (err error) {
	if failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); failed != nil {
		return failed
	}
	return err
}

// giveUpAfter ends a connection on which the other system leaves something unanswered
// for so long; 0 is for what the system thinks right.
func giveUpAfter(c *net.TCPConn, wait time.Duration) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(wait.Milliseconds()))
	}); failed != nil {
		return failed
	}
	return err
}
