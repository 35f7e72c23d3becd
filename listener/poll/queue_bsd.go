//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package poll

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A queue is a kqueue, edge-triggered. The kernel tells descriptors; which tokens
// they stand for is kept here, for what it would keep itself must be a pointer.
type queue struct {
	fd int

	mu     sync.Mutex
	tokens map[uint64]uint64
}

func newQueue() (*queue, error) {
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd)
	return &queue{fd: fd, tokens: make(map[uint64]uint64)}, nil
}

func (q *queue) add(fd int, token uint64) error {
	q.mu.Lock()
	q.tokens[uint64(fd)] = token
	q.mu.Unlock()
	var changes [2]unix.Kevent_t
	unix.SetKevent(&changes[0], fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR)
	unix.SetKevent(&changes[1], fd, unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_CLEAR)
	_, err := unix.Kevent(q.fd, changes[:], nil, nil)
	return os.NewSyscallError("kevent", err)
}

// take returns what there is now.
func (q *queue) take(events []event) (n int, err error) {
	var raw [atOnce]unix.Kevent_t
	for {
		n, err = unix.Kevent(q.fd, nil, raw[:min(len(events), len(raw))], &unix.Timespec{})
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, os.NewSyscallError("kevent", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range raw[:n] {
		e := &raw[i]
		why := Readable
		if e.Filter == unix.EVFILT_WRITE {
			why = Writable
		}
		if e.Flags&(unix.EV_EOF|unix.EV_ERROR) != 0 {
			why |= Readable | Writable | HungUp
		}
		events[i] = event{q.tokens[uint64(e.Ident)], why}
	}
	return n, nil
}

func sysRead(fd int, b []byte) (int, error)  { return unix.Read(fd, b) }
func sysWrite(fd int, b []byte) (int, error) { return unix.Write(fd, b) }
func noticeDead(int)                         {}
