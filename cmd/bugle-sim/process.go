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
