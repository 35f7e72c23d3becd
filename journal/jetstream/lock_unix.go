//go:build unix

package jetstream

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bugle-fleet/bugle/journal"
)

// lock takes the lock that the file stands for, or returns
// [journal.ErrLocked]. The system frees it when the process ends, however it ends.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil {
		return func() { f.Close() }, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, journal.ErrLocked
	}
	return nil, &os.PathError{Op: "lock", Path: name, Err: err}
}

func syncFolder(f *os.File) error { return f.Sync() }
