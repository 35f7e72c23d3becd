//go:build unix

package action

import (
	"os/exec"
	"syscall"
)

// openFlags open a file only if it is not a link, and never wait for a writer.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// ownGroup lets the end of cmd be the end of its children too.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
