//go:build !linux

package load

import (
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

func pinned(_ int, start func() error) error { return start() }

func ahead(start func() error) error { return start() }

// KeepOff keeps this process off a processor, where the system can do that.
func KeepOff(int) error { return nil }

func resetPeak(int) error { return nil }

// usage knows no peak: it is what is resident now.
func usage(pid int) (u Usage, err error) {
	of, err := process.NewProcess(int32(pid))
	if err != nil {
		return u, fmt.Errorf("measure process %d: %w", pid, err)
	}
	t, err := of.Times()
	if err != nil {
		return u, fmt.Errorf("measure process %d: %w", pid, err)
	}
	m, err := of.MemoryInfo()
	if err != nil {
		return u, fmt.Errorf("measure process %d: %w", pid, err)
	}
	return Usage{CPU: time.Duration((t.User + t.System) * float64(time.Second)), RSS: m.RSS, Peak: m.RSS}, nil
}
