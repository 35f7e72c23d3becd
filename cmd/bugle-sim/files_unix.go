//go:build !windows

package main

import (
	"fmt"
	"syscall"
)

// enoughFiles says so early if this process may not open as many files as n
// agents need. Go has raised the limit as far as it may already.
func enoughFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read limit of open files: %w", err)
	}
	if need := uint64(filesPerAgent*n + filesBeside); uint64(limit.Cur) < need {
		return fmt.Errorf("%d agents need %d open files and this process may have %d: raise the limit (ulimit -n) or run several with fewer agents", n, need, limit.Cur)
	}
	return nil
}
