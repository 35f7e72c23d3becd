package load

import (
	"os/exec"
	"runtime"
	"strings"
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
	const all = "Name:\tbugle\nVmHWM:\t    2048 kB\nRssAnon:\t    1024 kB\nRssFile:\t 3 kB\nRssShmem:\t 1 kB\n"
	m, err := memoryOf([]byte(all))
	if want := (memory{anonymous: 1 << 20, shared: 1 << 10, file: 3 << 10, peak: 2 << 20}); m != want || err != nil {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{"", "RssAnon:\t1 kB\n", strings.Replace(all, "1024", "x", 1), "State:\tZ (zombie)\n"} {
		if _, err := memoryOf([]byte(bad)); err == nil {
			t.Errorf("%q has memory", bad)
		}
	}
}
