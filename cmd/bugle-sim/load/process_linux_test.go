package load

import (
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The thread that starts a process ahead is as nice as before; the process is less
// nice if root says so.
func TestAheadIsInheritedAndTakenBack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := niceness()
	if err != nil {
		t.Fatal(err)
	}
	permitted := unix.Setpriority(unix.PRIO_PROCESS, 0, before-aheadBy) == nil
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, before); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ahead(cmd.Start); err != nil {
		t.Fatal(err)
	}
	said, err := unix.Getpriority(unix.PRIO_PROCESS, cmd.Process.Pid)
	if want := before - aheadBy; err != nil || permitted && 20-said != max(-20, want) || !permitted && 20-said != before {
		t.Errorf("the process has %d (%v), this one %d, less nice permitted: %v", 20-said, err, before, permitted)
	}
	if after, err := niceness(); err != nil || after != before {
		t.Errorf("this thread had %d and has %d (%v)", before, after, err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestMemoryOf(t *testing.T) {
	rss, peak, err := memoryOf([]byte("Name:\tbugle\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"))
	if rss != 1<<20 || peak != 2<<20 || err != nil {
		t.Errorf("%d, %d, %v", rss, peak, err)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", "VmRSS:\tx kB\nVmHWM:\t1 kB\n", "State:\tZ (zombie)\n"} {
		if _, _, err := memoryOf([]byte(bad)); err == nil {
			t.Errorf("%q has memory", bad)
		}
	}
}
