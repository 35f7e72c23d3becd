package outpost_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/bugle-fleet/bugle/cmd/bugle/outpost"
)

// childName is the environment variable that makes the test's program a listener,
// with its configuration.
const childName = "OUTPOST_TEST_CHILD"

func TestMain(m *testing.M) {
	if setting := os.Getenv(childName); setting != "" {
		if err := beListener(setting); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beListener serves until stdin ends.
func beListener(setting string) error {
	var cfg outpost.Config
	if err := json.Unmarshal([]byte(setting), &cfg); err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	o, err := outpost.Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return o.Close()
}

// A child is a listener in a process of its own.
type child struct {
	w   *world
	cmd *exec.Cmd
	in  io.WriteCloser
}

// spawn continues a listener in a process of its own.
func (p *post) spawn() *child {
	p.w.t.Helper()
	p.stop()
	cfg := p.cfg
	cfg.Log = nil
	b, err := json.Marshal(cfg)
	if err != nil {
		p.w.t.Fatal(err)
	}
	c := &child{w: p.w, cmd: exec.Command(os.Args[0])}
	c.cmd.Env, c.cmd.Stderr = append(os.Environ(), childName+"="+string(b)), p.w.logs
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		p.w.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		p.w.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		p.w.t.Fatal(err)
	}
	p.w.t.Cleanup(c.kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		p.w.t.Fatalf("listener said %q: %v", line, err)
	}
	return c
}

// kill ends it as kill -9 does.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	}
}
