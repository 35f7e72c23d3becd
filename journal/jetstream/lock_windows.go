package jetstream

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"

	"github.com/bugle-fleet/bugle/journal"
)

// lock takes the lock that the file stands for, or returns
// [journal.ErrLocked]. The system frees it when the process ends, however it ends.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if err == nil {
		return func() { f.Close() }, nil
	}
	f.Close()
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return nil, journal.ErrLocked
	}
	return nil, &os.PathError{Op: "lock", Path: name, Err: err}
}

// syncFolder does nothing: on Windows a folder cannot be flushed, and NTFS logs
// the names of files itself.
func syncFolder(*os.File) error { return nil }
