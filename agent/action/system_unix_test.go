//go:build unix

package action

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// makePipe makes something that a scan must not open.
func makePipe(path string) error { return syscall.Mkfifo(path, 0o600) }

// groupSize counts the processes of a group that run.
func groupSize(t testing.TB, group int) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil || runtime.GOOS != "linux" {
		if syscall.Kill(-group, 0) == nil { // this system does not say how many
			return 1
		}
		return 0
	}
	for _, e := range entries {
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, ok := strings.Cut(string(b), ") ") // after the name: state, parent, group
		f := strings.Fields(rest)
		if ok && len(f) > 2 && f[0] != "Z" && f[2] == strconv.Itoa(group) {
			n++
		}
	}
	return n
}

func killGroup(group int) { syscall.Kill(-group, syscall.SIGKILL) }
