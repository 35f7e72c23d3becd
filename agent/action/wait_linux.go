package action

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// ended waits until the program has ended, and leaves it to be waited for, so that
// its number stays its own; false means that this system cannot do that.
func (t tree) ended() bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, t.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// runOpen lets a program start from the file that was looked at, whatever has its
// name meanwhile.
func runOpen(cmd *exec.Cmd, f *os.File) {
	const first = "/proc/self/fd/3"
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		return
	}
	cmd.Path, cmd.ExtraFiles = first, []*os.File{f}
}
