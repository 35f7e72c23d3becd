package load

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stamps reads a connection together with the kernel's times of receipt.
type stamps struct {
	raw syscall.RawConn // nil if there are no stamps
	at  time.Time

	// Of the Read under way.
	into  []byte
	n     int
	err   error
	extra [64]byte // room for a control message with a stamp
	read  func(fd uintptr) (done bool)
}

func (s *stamps) begin(tcp *net.TCPConn) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
	if err != nil || set != nil {
		return
	}
	s.raw, s.read = raw, s.receive
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (int, error) {
	if c.raw == nil || len(p) == 0 {
		return c.TCPConn.Read(p)
	}
	c.into = p
	err := c.raw.Read(c.read)
	c.into = nil
	switch {
	case err != nil:
		return 0, err
	case c.err != nil:
		return 0, os.NewSyscallError("recvmsg", c.err)
	case c.n == 0:
		return 0, io.EOF
	}
	return c.n, nil
}

// receive is one try to read; false lets it wait for something to be there.
func (s *stamps) receive(fd uintptr) bool {
	for {
		var extra int
		s.n, extra, _, _, s.err = syscall.Recvmsg(int(fd), s.into, s.extra[:], 0)
		switch s.err {
		case nil:
			s.at = stampIn(s.extra[:extra])
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			return true
		}
	}
}

// stampIn returns the time in a control message, zero if there is none.
func stampIn(b []byte) time.Time {
	if len(b) < unix.CmsgLen(int(unsafe.Sizeof(unix.Timespec{}))) {
		return time.Time{}
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_TIMESTAMPNS {
		return time.Time{}
	}
	t := (*unix.Timespec)(unsafe.Pointer(&b[unix.CmsgLen(0)]))
	return time.Unix(t.Unix())
}

func (s *stamps) last() time.Time { return s.at }
