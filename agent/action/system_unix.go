//go:build unix

package action

import (
	"os"
	"os/exec"
	"syscall"
)

// openFlags open a file only if it is not a link, and never wait for a writer.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// ownTree puts a program that is about to start into a group of its own.
func ownTree(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// A tree is a program with all that it started and that stayed in its group.
type tree struct{ pid int }

// treeOf returns the tree of a program that was just started.
func treeOf(cmd *exec.Cmd) tree { return tree{cmd.Process.Pid} }

// kill ends the whole tree. Until the program is waited for, the number of its
// group is not anybody else's.
func (t tree) kill() { syscall.Kill(-t.pid, syscall.SIGKILL) }

func (t tree) close() {}

// ownerOf returns the numbers of the user and of the group that own a file.
func ownerOf(info os.FileInfo) (user, group uint32, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return st.Uid, st.Gid, true
}
