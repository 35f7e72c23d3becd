package main

import (
	"fmt"
	"os"

	"github.com/shirou/gopsutil/v4/process"
)

// residentBytes is how much memory this process holds.
func residentBytes() (uint64, error) {
	p, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return 0, fmt.Errorf("measure memory: %w", err)
	}
	m, err := p.MemoryInfo()
	if err != nil {
		return 0, fmt.Errorf("measure memory: %w", err)
	}
	return m.RSS, nil
}

// filesPerAgent are a connection and the lock of a folder.
const (
	filesPerAgent = 2
	filesBeside   = 256
)

// enoughFiles says so early if this process may not open as many files as n agents
// need.
func enoughFiles(n int) error {
	limit, err := openFiles()
	if err != nil {
		return err
	}
	if need := uint64(filesPerAgent*n + filesBeside); limit < need {
		return fmt.Errorf("%d agents need %d open files and this process may have %d: raise the limit (ulimit -n) or run several with fewer agents", n, need, limit)
	}
	return nil
}
