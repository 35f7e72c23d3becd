package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// What the agents of the laboratory run are executables that write into a file of
// their agent when they start and end: that file is the truth, whatever agent,
// listener and site make of it. It need not be on disk: processes are killed here,
// not machines.

// The kinds of the laboratory. All but again start once, whatever happens.
const (
	kindQuick   = "command.quick"
	kindSlow    = "command.slow"
	kindAgain   = "command.again"
	kindDurable = "definitions.download" // stands in policy too; only for agents that are children
)

// truthScript says first when it is and how old its process is. EPOCHREALTIME
// needs no other program, so that it is the time of the script's first step.
const truthScript = `#!/bin/bash
now=$EPOCHREALTIME
read -r up _ </proc/uptime
read -r stat </proc/$$/stat
truth=${BUGLE_KINDS%%/*}/truth
echo "start $BUGLE_OPERATION $BUGLE_KIND $now $up ${stat##*) }" >>"$truth"
%s
echo "end $BUGLE_OPERATION $BUGLE_KIND $EPOCHREALTIME" >>"$truth"
`

// layKinds writes the kinds into a folder beside the truth of an agent.
func layKinds(dir string) error {
	for _, k := range []struct{ name, manifest, work string }{
		{"quick", `{"version":1}`, ""},
		{"slow", `{"version":1,"timeoutSeconds":600}`, "/bin/sleep 1.$((RANDOM % 10))"},
		{"again", `{"version":1,"atLeastOnce":true}`, "/bin/sleep 1.$((RANDOM % 10))"},
	} {
		script := fmt.Sprintf(truthScript, k.work)
		if err := errors.Join(os.WriteFile(filepath.Join(dir, k.name), []byte(script), 0o700),
			os.WriteFile(filepath.Join(dir, k.name+".json"), []byte(k.manifest), 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// A soldier is an agent in a process of its own: the program that is shipped, or,
// for a clock that is wrong, a child that runs the same package.
type soldier struct {
	name    string
	number  uint32 // of its device
	dir     string
	mu      sync.Mutex    // who kills and starts it
	child   *childSetting // nil for the program that is shipped
	process *process
	control io.WriteCloser // of a child
	logs    strings.Builder
	kills   []time.Time
}

func (s *soldier) kinds() string { return filepath.Join(s.dir, "kinds") }

// childSetting is what a child is told.
type childSetting struct {
	Dir, Name, Site, Token string
	Kinds                  string
	Via                    map[string]string // where to dial instead; empty: nowhere
	Skew                   time.Duration     // of the wall clock
}

// channelAgentName is the environment variable that makes an agent of the test's
// program.
const channelAgentName = "LAB_CHANNEL_AGENT"

func init() { children[channelAgentName] = beAgent }

// command is how a soldier is started.
func (l *channelLab) command(s *soldier) *exec.Cmd {
	if s.child == nil {
		return exec.Command(binary(l.t, "bugle-agent"), "run", "--dir", filepath.Join(s.dir, "agent"), "--name", s.name,
			"--site", l.front+":10443", "--token", l.token, "--scanner", "builtin", "--kinds", s.kinds())
	}
	setting, err := json.Marshal(s.child)
	if err != nil {
		l.t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	return exec.Command("env", channelAgentName+"="+string(setting), own, "-test.run=^$")
}

// enlist starts a soldier, again if it was killed.
func (l *channelLab) enlist(s *soldier) {
	cmd := l.command(s)
	if s.child != nil {
		var err error
		if s.control, err = cmd.StdinPipe(); err != nil {
			l.t.Error(err)
			return
		}
	}
	s.process = l.run(cmd)
}

// fell is kill -9 of a soldier's process.
func (s *soldier) fell() {
	s.process.kill()
	s.kills = append(s.kills, time.Now())
	s.keepLog()
}

func (s *soldier) keepLog() {
	fmt.Fprintf(&s.logs, "%s--- killed at %s\n", s.process.said(), time.Now().Format(time.StampMilli))
}

// skew sets the wall clock of a child while it runs.
func (s *soldier) skew(by time.Duration) {
	s.child.Skew = by
	fmt.Fprintln(s.control, by) // fails only if it was killed; then it starts with that
}

// beAgent is the child's program. It reads from stdin how wrong its clock is from
// now on, and ends with it.
func beAgent(text string) error {
	var set childSetting
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, cancel := context.WithCancel(context.Background())
	var skew atomic.Int64
	skew.Store(int64(set.Skew))
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			if d, err := time.ParseDuration(in.Text()); err == nil {
				skew.Store(int64(d))
				log.Info("clock set", "skew", d)
			}
		}
		cancel()
	}()
	for {
		_, err := agent.Join(ctx, agent.JoinConfig{Dir: set.Dir, Site: set.Site, Token: set.Token, Name: set.Name, Version: "1", Dial: set.dial})
		if err == nil {
			break
		}
		if !errors.Is(err, agent.ErrUnreachable) || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	begun := time.Now()
	a, err := agent.Open(set.Dir, agent.Config{Version: "1", Log: log, Scanner: "builtin", Kinds: set.Kinds, Dial: set.dial,
		RetryCarrier: 5 * time.Second,
		Users:        func() ([]string, error) { return nil, nil },
		Actions:      []action.Description{{Kind: kindDurable, Timeout: time.Minute, Action: action.Func(set.download)}},
		Clocks: func() agent.Moment {
			now := time.Now()
			return agent.Moment{Wall: now.Round(0).Add(time.Duration(skew.Load())), Mono: now.Sub(begun)}
		}})
	if err != nil {
		return err
	}
	return errors.Join(a.Run(ctx), a.Close())
}

func (c *childSetting) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if via, ok := c.Via[address]; ok {
		address = via
	}
	if address == "" {
		return nil, errors.New("no route")
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// download is the durable kind of the children.
func (c *childSetting) download(ctx context.Context, r action.Request) action.Outcome {
	cmd := exec.CommandContext(ctx, filepath.Join(c.Kinds, "quick"))
	cmd.Env = []string{"BUGLE_OPERATION=" + r.Operation.String(), "BUGLE_KIND=" + r.Kind, "BUGLE_KINDS=" + c.Kinds}
	if out, err := cmd.CombinedOutput(); err != nil {
		return action.Outcome{State: task.Failed, Detail: fmt.Sprint(err, ": ", string(out))}
	}
	return action.Outcome{State: task.Succeeded}
}
