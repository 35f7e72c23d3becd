package powerloss

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const device = "/dev/fuse"

// aloneName is the environment variable with the name of the test that runs
// alone.
const aloneName = "POWERLOSS_ALONE"

// Alone runs the test that calls it again, in a process of its own with mount and
// process namespaces of its own: whatever happens to that process, also if the
// tests are killed, its mounts and all that it has started are gone with it. It
// returns true there. In the process that called it returns false, once the other
// has ended; the test has failed then if it failed there. t must be a test and
// not a part of one. Where something is [Missing] the test is skipped. The
// environment, as NAME=VALUE, is added to that of the process.
func Alone(t *testing.T, environment ...string) bool {
	t.Helper()
	if os.Getenv(aloneName) == t.Name() {
		if err := ownMounts(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if why := Missing(); why != "" {
		t.Skip(why)
	}
	limit := "-test.timeout=0"
	if end, ok := t.Deadline(); ok {
		limit = fmt.Sprint("-test.timeout=", max(time.Second, time.Until(end)-5*time.Second))
	}
	cmd := inNamespaces("-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", limit, fmt.Sprint("-test.short=", testing.Short()))
	cmd.Env = append(append(os.Environ(), aloneName+"="+t.Name(), "TMPDIR="+t.TempDir()), environment...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runtime.LockOSThread() // the process is killed when this thread ends
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	said := strings.Join(linesOf(out.Bytes()), "\n")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	t.Log(said)
	return false
}

func inNamespaces(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Missing says what there is not that a test with a mounted disk needs: root,
// /dev/fuse, the right to make namespaces. It is empty if all is there.
var Missing = sync.OnceValue(func() string {
	if os.Geteuid() != 0 {
		return "needs root, to mount a file system"
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return "needs FUSE: " + err.Error()
	}
	f.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := inNamespaces("-test.run=^$").Run(); err != nil {
		return "needs the right to make a mount namespace: " + err.Error()
	}
	return ""
})

// linesOf leaves out what a test binary says of itself.
func linesOf(out []byte) (lines []string) {
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line != "PASS" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- PASS") {
			lines = append(lines, line)
		}
	}
	return lines
}

// ownMounts keeps mounts from being seen elsewhere, and shows the processes of
// this namespace.
func ownMounts() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}
