//go:build !windows

package main

import (
	"fmt"
	"syscall"
)

// openFiles is how many files this process may open. Go has raised the limit as far
// as it may already.
func openFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read limit of open files: %w", err)
	}
	return uint64(limit.Cur), nil
}
