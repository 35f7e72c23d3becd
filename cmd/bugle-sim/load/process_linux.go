package load

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pinned calls start on a thread that is kept on one processor, which what start
// starts inherits.
func pinned(cpu int, start func() error) (err error) {
	if cpu < 0 {
		return start()
	}
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("read processors: %w", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("keep on processor %d: %w", cpu, err)
	}
	err = start()
	if unix.SchedSetaffinity(0, &all) == nil {
		runtime.UnlockOSThread() // else the thread ends with its goroutine
	}
	return err
}

// aheadBy is how much less nice a process is that is to be ahead.
const aheadBy = 5

// ahead calls start on a thread that is less nice, which what start starts inherits.
// Who may not be less nice starts it all the same.
func ahead(start func() error) error {
	runtime.LockOSThread()
	nice, err := niceness()
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, 0, nice-aheadBy) != nil {
		runtime.UnlockOSThread()
		return start()
	}
	err = start()
	if unix.Setpriority(unix.PRIO_PROCESS, 0, nice) == nil {
		runtime.UnlockOSThread() // else the thread ends with its goroutine
	}
	return err
}

// niceness is that of this thread. The kernel says 20 less that much, for no answer of
// a system call is below 0.
func niceness() (int, error) {
	said, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - said, err
}

// KeepOff keeps this process, all its threads and those to come, off a processor,
// which is for the server. It does nothing where there is only one, or where the
// system cannot do that.
func KeepOff(cpu int) error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("read processors: %w", err)
	}
	set.Clear(cpu)
	if cpu < 0 || set.Count() == 0 {
		return nil
	}
	// A thread that is born meanwhile may have the old set: so once more.
	for range 2 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("keep off processor %d: %w", cpu, err)
			}
		}
	}
	runtime.SetDefaultGOMAXPROCS()
	return nil
}

func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// schedClock is the kind of a clock that the scheduler keeps of a process, to the
// nanosecond.
const schedClock = 2

// usage reads what the kernel knows of a process. The clock is that of all its
// threads, also of those that have ended; /proc/PID/stat has it in hundredths of a
// second only.
func usage(pid int) (u Usage, err error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|schedClock, &t); err != nil {
		return u, fmt.Errorf("measure process %d: read its clock: %w", pid, err)
	}
	u.CPU = time.Duration(t.Nano())
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("measure process: %w", err)
	}
	m, err := memoryOf(b)
	if err != nil {
		return u, fmt.Errorf("measure process %d: %w", pid, err)
	}
	u.RSS, u.Mapped = m.anonymous+m.shared, m.file
	u.Peak = max(u.RSS, m.peak-min(m.peak, m.file))
	return u, nil
}

// memory is what /proc/PID/status says of it, in bytes.
type memory struct{ anonymous, shared, file, peak uint64 }

// memoryOf reads /proc/PID/status.
func memoryOf(status []byte) (m memory, err error) {
	of := map[string]*uint64{"RssAnon": &m.anonymous, "RssShmem": &m.shared, "RssFile": &m.file, "VmHWM": &m.peak}
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		to := of[name]
		if to == nil {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 54)
		if err != nil {
			return memory{}, fmt.Errorf("read %s: %w", name, err)
		}
		*to = kib << 10
		delete(of, name)
	}
	if len(of) > 0 {
		return memory{}, fmt.Errorf("its status names no memory; it may have ended")
	}
	return m, nil
}
