package poll

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// noticeDead has the kernel end the connection after [unheard]. One that cannot takes
// as long as it likes.
func noticeDead(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unheard.Milliseconds()))
}

// Nothing here blocks, so the runtime need not be told of a call that it may take long:
// one that is told, and takes as long as a send does, hands the processor to another
// thread and has to get it back. The calls for sockets cost less than read and write.

func sysRead(fd int, b []byte) (int, error) {
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return failed(n, e)
}

func sysWrite(fd int, b []byte) (int, error) {
	n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return failed(n, e)
}

func failed(n uintptr, e unix.Errno) (int, error) {
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
