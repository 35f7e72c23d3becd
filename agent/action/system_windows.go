package action

import (
	"os"
	"os/exec"
	"unsafe"

	"golang.org/x/sys/windows"
)

const openFlags = 0

func ownTree(*exec.Cmd) {}

// A tree is a program with all that it started after it was put into its job, which
// is right after its start. It ends with this process too.
type tree struct {
	job  windows.Handle
	main *os.Process
}

// treeOf returns the tree of a program that was just started. Without a job, which
// Windows refuses in rare cases, only the program itself can be waited for.
func treeOf(cmd *exec.Cmd) tree {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return tree{0, cmd.Process}
	}
	var limit windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limit.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limit)), uint32(unsafe.Sizeof(limit)))
	lost := cmd.Process.WithHandle(func(process uintptr) { err = windows.AssignProcessToJobObject(job, windows.Handle(process)) })
	if err == nil {
		err = lost
	}
	if err != nil {
		windows.CloseHandle(job)
		job = 0
	}
	return tree{job, cmd.Process}
}

// kill ends the whole tree.
func (t tree) kill() {
	if t.job == 0 {
		t.main.Kill()
		return
	}
	windows.TerminateJobObject(t.job, 1)
}

func (t tree) close() {
	if t.job != 0 {
		windows.CloseHandle(t.job)
	}
}

// ownerOf returns nothing: who may write a file is not in its mode here.
func ownerOf(os.FileInfo) (user, group uint32, ok bool) { return 0, 0, false }
