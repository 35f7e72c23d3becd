package poll

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A queue is an epoll instance, edge-triggered.
type queue struct{ fd int }

func newQueue() (*queue, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &queue{fd}, nil
}

func (q *queue) add(fd int, token uint64) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(token), Pad: int32(token >> 32)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(q.fd, unix.EPOLL_CTL_ADD, fd, &e))
}

// take returns what there is now.
func (q *queue) take(events []event) (n int, err error) {
	var raw [atOnce]unix.EpollEvent
	for {
		n, err = unix.EpollWait(q.fd, raw[:min(len(events), len(raw))], 0)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, os.NewSyscallError("epoll_wait", err)
	}
	for i, e := range raw[:n] {
		events[i] = event{uint64(uint32(e.Pad))<<32 | uint64(uint32(e.Fd)), reasonsOf(e.Events)}
	}
	return n, nil
}

func reasonsOf(mask uint32) (why Events) {
	if mask&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		why |= Readable
	}
	if mask&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		why |= HungUp
	}
	if mask&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		why |= Writable
	}
	return why
}
