//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package poll

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// A poller is a queue of the kernel in which sockets are until they are closed. Its
// descriptor is itself waited for by Go's poller, so that no thread sits in it.
type poller struct {
	queue *queue
	file  *os.File // of the queue
	raw   syscall.RawConn
}

func newPoller() (p poller, err error) {
	if p.queue, err = newQueue(); err != nil {
		return p, err
	}
	fd := p.queue.fd
	if err := syscall.SetNonblock(fd, true); err != nil {
		closeFD(fd)
		return p, os.NewSyscallError("fcntl", err)
	}
	p.file = os.NewFile(uintptr(fd), "poll")
	if p.raw, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails if Go's poller cannot wait for it
	}
	if err != nil {
		p.file.Close()
		return p, fmt.Errorf("wait for a queue of the kernel: %w", err)
	}
	return p, nil
}

func (p poller) add(fd int, token uint64) (err error) {
	if e := p.raw.Control(func(uintptr) { err = p.queue.add(fd, token) }); e != nil {
		return e
	}
	return err
}

// wait returns at least one event, or nothing after wake.
func (p poller) wait(events []event) (n int, err error) {
	e := p.raw.Read(func(uintptr) bool {
		n, err = p.queue.take(events)
		return n > 0 || err != nil
	})
	if errors.Is(e, os.ErrDeadlineExceeded) {
		return 0, nil
	}
	return n, errors.Join(e, err)
}

// wake ends all waiting, now and later.
func (p poller) wake() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) }

func (p poller) close() { _ = p.file.Close() }
