package lock

import (
	"os"

	"github.com/bugle-fleet/bugle/journal"
)

// Take takes the lock that a file stands for; the file is made if there is none.
// The error is [journal.ErrLocked] if anybody has it, alone or shared, also this
// process.
func Take(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return hold(f, true)
}

// Share takes the lock that a file stands for together with others who share it.
// It writes nothing: the error wraps os.ErrNotExist if there is no such file. It
// is [journal.ErrLocked] if somebody has the lock alone.
func Share(name string) (unlock func(), err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return hold(f, false)
}

// hold locks a file, which is closed if it cannot be.
func hold(f *os.File, alone bool) (unlock func(), err error) {
	taken, err := lock(f, alone)
	switch {
	case err != nil:
		err = &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	case !taken:
		err = journal.ErrLocked
	default:
		return func() { f.Close() }, nil // which frees it
	}
	f.Close()
	return nil, err
}
