//go:build unix

package box

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// carefully are the flags that keep an open from following a link and from
// waiting for the other end of a pipe.
const carefully = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// links is the number of names that a file has.
func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
