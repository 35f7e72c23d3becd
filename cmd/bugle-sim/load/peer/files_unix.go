//go:build !windows

package peer

import (
	"fmt"
	"syscall"
)

// shareFiles lets what this process starts from now on open as many files as this
// process may. Otherwise it would get the limit that this process was started with,
// before Go raised it.
func shareFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read limit of open files: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("set limit of open files: %w", err)
	}
	return nil
}
