package load_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// childVar makes this program a child of a test: it says on how many processors it
// may run, and waits for the end of its input.
const childVar = "LOAD_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		if os.Getenv(childVar) == "off" {
			if err := load.KeepOff(0); err != nil {
				fmt.Println(err)
			}
		}
		fmt.Println(runtime.GOMAXPROCS(0))
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	os.Exit(m.Run())
}

// child starts this program on a processor and returns what it says.
func child(t *testing.T, cpu int, does string) (*load.Process, string) {
	t.Helper()
	return childBy(t, func(c *exec.Cmd) (*load.Process, error) { return load.StartOn(c, cpu) }, does)
}

func childBy(t *testing.T, start func(*exec.Cmd) (*load.Process, error), does string) (*load.Process, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVar+"="+does)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	p, err := start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return p, strings.TrimSpace(string(line[:n]))
}

func TestAProcessOnOneProcessor(t *testing.T) {
	p, processors := child(t, 0, "wait")
	if runtime.GOOS == "linux" && processors != "1" {
		t.Errorf("the child may run on %s processors, want 1", processors)
	}
	if runtime.NumCPU() != runtime.GOMAXPROCS(0) {
		t.Error("this process is kept on fewer processors than before")
	}
	u, err := p.Usage()
	if err != nil || u.CPU <= 0 || u.RSS < 1<<16 || u.Peak < u.RSS {
		t.Errorf("usage %+v: %v", u, err)
	}
	if err := p.ResetPeak(); err != nil {
		t.Error(err)
	}
	if v, err := p.Usage(); err != nil || v.CPU < u.CPU || v.Peak > u.Peak+1<<20 {
		t.Errorf("usage %+v: %v", v, err)
	}
	if n, err := p.Files(); err != nil || n < 3 {
		t.Errorf("%d files: %v", n, err)
	}
	_ = p.Stop() // an interrupt is no good end for it
	select {
	case <-p.Ended():
	default:
		t.Error("it has not ended")
	}
	if u, err := p.Usage(); err == nil {
		t.Errorf("it has ended and uses %+v", u)
	}
}

// Whether it is ahead is the system's to permit.
func TestAProcessAhead(t *testing.T) {
	p, processors := childBy(t, load.StartAhead, "wait")
	defer p.Stop()
	if want := fmt.Sprint(runtime.GOMAXPROCS(0)); processors != want {
		t.Errorf("the child may run on %s processors, want %s", processors, want)
	}
	if _, err := load.StartAhead(exec.Command(os.DevNull)); err == nil {
		t.Error("what is no program is started")
	}
}

func TestKeepOff(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.NumCPU() < 2 {
		t.Skip("needs Linux and two processors")
	}
	p, processors := child(t, -1, "off")
	defer p.Stop()
	if want := fmt.Sprint(runtime.NumCPU() - 1); processors != want {
		t.Errorf("%s processors are left, want %s", processors, want)
	}
}

func TestListeningAt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if pid, err := load.ListeningAt("https://" + l.Addr().String()); err != nil || pid != os.Getpid() {
		t.Errorf("process %d (%v), want %d", pid, err, os.Getpid())
	}
	if _, err := load.ListeningAt("https://127.0.0.1:1"); err == nil {
		t.Error("somebody listens at port 1")
	}
}
