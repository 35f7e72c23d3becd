package agent

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// childDir in the environment makes the test binary an agent that a test kills.
const childDir = "BUGLE_TEST_AGENT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child runs the agent in dir. Its action leaves a line in the file ran, and
// does not end while there is a file named block.
func child(dir string) {
	go func() { // it must not outlive the test
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	ran := action.Func(func(ctx context.Context, _ action.Request) action.Outcome {
		f := must(os.OpenFile(filepath.Join(dir, "ran"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600))
		f.WriteString("ran\n")
		f.Close()
		if _, err := os.Stat(filepath.Join(dir, "block")); err == nil {
			<-ctx.Done()
		}
		return action.Outcome{State: task.Succeeded}
	})
	a, err := Open(dir, Config{Scanner: "builtin", Users: alone, Actions: []action.Description{
		{Kind: "test.once", Action: ran}, {Kind: "test.again", AtLeastOnce: true, Action: ran}}})
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	a.Run(context.Background())
}

// listen lets agents connect by TCP, and returns the address.
func (s *site) listen() string {
	s.wait = patience // this is no bubble
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	s.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns <- c
		}
	}()
	return ln.Addr().String()
}

// spawn starts a child; the returned function kills it as a power cut would.
func (s *site) spawn(dir string) (kill func()) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	must(cmd.StdinPipe())
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	dead := false
	kill = func() {
		if !dead {
			dead = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	s.t.Cleanup(kill)
	return kill
}

func runs(dir string) int {
	b, _ := os.ReadFile(filepath.Join(dir, "ran"))
	return strings.Count(string(b), "\n")
}

func TestKilledWhileATaskRuns(t *testing.T) {
	s := newSite(t, 0)
	dir := s.device(s.listen())
	if err := os.WriteFile(filepath.Join(dir, "block"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kill := s.spawn(dir)
	m := s.order("test.once", nil)
	p := s.accept().welcome()
	p.send(m)
	p.expect(operationOf(m), task.Delivered, task.Running)
	kill()
	s.spawn(dir)
	p = s.accept().welcome()
	p.send(m)
	r := p.result()
	for !r.State.Final() {
		r = p.result()
	}
	if r.State != task.Failed || r.Detail != detailInterrupted {
		t.Errorf("ended %s %q", r.State, r.Detail)
	}
	if n := runs(dir); n > 1 {
		t.Errorf("ran %d times", n)
	}
}

func TestKilledBeforeAnAcknowledgement(t *testing.T) {
	s := newSite(t, 0)
	dir := s.device(s.listen())
	kill := s.spawn(dir)
	m := s.order("test.once", nil)
	p := s.accept()
	p.acks = false
	p.welcome().send(m)
	p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
	kill()
	s.spawn(dir)
	p = s.accept().welcome()
	p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
	p.send(m)
	p.expect(operationOf(m), task.Succeeded)
	if n := runs(dir); n != 1 {
		t.Errorf("ran %d times", n)
	}
}

// Killed at any moment after the task was sent.
func TestKilledAnywhere(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	ends := map[string]int{}
	for range 8 {
		s := newSite(t, 0)
		dir := s.device(s.listen())
		kill := s.spawn(dir)
		m := s.order("test.once", nil)
		p := s.accept().welcome()
		p.send(m)
		// How far it comes is left to chance; nothing here depends on it.
		time.Sleep(time.Duration(rng.Int64N(int64(8 * time.Millisecond))))
		kill()
		before := runs(dir)
		s.spawn(dir)
		p = s.accept().welcome()
		p.send(m)
		r := p.result()
		for !r.State.Final() {
			r = p.result()
		}
		after := runs(dir)
		if after > 1 || r.State == task.Succeeded && after != 1 || r.State != task.Succeeded && r.Detail != detailInterrupted {
			t.Errorf("seed %d: ran %d times before and %d in all, ended %s %q", seed, before, after, r.State, r.Detail)
		}
		switch {
		case r.State == task.Failed:
			ends["while it ran"]++
		case before == 0:
			ends["before it started"]++
		default:
			ends["after it ended"]++
		}
	}
	t.Logf("seed %d: killed %v", seed, ends)
}
