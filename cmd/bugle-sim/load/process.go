package load

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"time"

	"github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"
)

// A Process is a server that this program has started, or one whose number it was
// told.
type Process struct {
	PID int
	cmd *exec.Cmd     // nil if it is another's
	end chan struct{} // closed when it has ended
	err error         // how, once end is closed
}

// Watch returns a process that somebody else has started.
func Watch(pid int) *Process { return &Process{PID: pid} }

// StartOn starts cmd on one processor, or wherever it likes if cpu is negative. Only
// Linux can keep a process on a processor.
func StartOn(cmd *exec.Cmd, cpu int) (*Process, error) {
	return started(cmd, pinned(cpu, cmd.Start))
}

// StartAhead starts cmd so that it waits less for a processor than this process does,
// if the system permits that and is Linux.
func StartAhead(cmd *exec.Cmd) (*Process, error) { return started(cmd, ahead(cmd.Start)) }

func started(cmd *exec.Cmd, err error) (*Process, error) {
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &Process{PID: cmd.Process.Pid, cmd: cmd, end: make(chan struct{})}
	go func() { p.err = cmd.Wait(); close(p.end) }()
	return p, nil
}

// Ended is closed when a process has ended that StartOn started.
func (p *Process) Ended() <-chan struct{} { return p.end }

// stopWait is how long a process may take to end in good order.
const stopWait = 20 * time.Second

// Stop ends the process if StartOn started it, in good order if it obeys in time.
func (p *Process) Stop() error {
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		_ = p.cmd.Process.Kill()
	}
	select {
	case <-p.end:
		return p.err
	case <-time.After(stopWait):
		_ = p.cmd.Process.Kill()
		<-p.end
		return fmt.Errorf("%s did not end in %v and was killed", p.cmd.Path, stopWait)
	}
}

// Usage is what the process has used.
func (p *Process) Usage() (Usage, error) { return usage(p.PID) }

// Files is how many files the process has open, connections among them.
func (p *Process) Files() (int, error) {
	of, err := process.NewProcess(int32(p.PID))
	if err != nil {
		return 0, fmt.Errorf("count files of process %d: %w", p.PID, err)
	}
	n, err := of.NumFDs()
	if err != nil {
		return 0, fmt.Errorf("count files of process %d: %w", p.PID, err)
	}
	return int(n), nil
}

// ResetPeak lets the peak of the process begin anew, where the system can do that.
func (p *Process) ResetPeak() error { return resetPeak(p.PID) }

// ListeningAt returns the process of this machine that listens at the port of a URL.
func ListeningAt(of string) (pid int, err error) {
	u, err := url.Parse(of)
	if err != nil {
		return 0, fmt.Errorf("find process: %w", err)
	}
	sockets, err := net.Connections("tcp")
	if err != nil {
		return 0, fmt.Errorf("find process: %w", err)
	}
	for _, s := range sockets {
		if s.Status == "LISTEN" && fmt.Sprint(s.Laddr.Port) == u.Port() && s.Pid > 0 {
			return int(s.Pid), nil
		}
	}
	return 0, fmt.Errorf("find process: none of this machine is known to listen at %s", of)
}
