//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package poll

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

func closeFD(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }

func readFD(fd int, b []byte) (int, error) {
	for {
		switch n, err := sysRead(fd, b); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, ErrWait
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// writeFD writes as much as there is room for.
func writeFD(fd int, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := sysWrite(fd, b[n:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case err != nil:
			return n, os.NewSyscallError("write", err)
		default:
			n += m
		}
	}
	return n, nil
}

func shutdownFD(fd int, onlyWrites bool) error {
	how := unix.SHUT_RDWR
	if onlyWrites {
		how = unix.SHUT_WR
	}
	return os.NewSyscallError("shutdown", unix.Shutdown(fd, how))
}
