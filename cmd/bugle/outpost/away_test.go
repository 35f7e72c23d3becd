package outpost_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A listener that is started while its site is away serves agents by what the site
// said last: they sign in, tasks that were open are sent and run, what they report
// waits for the site; who was blocked is refused.
func TestListenerStartsWithoutItsSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	closed := []string{w.cfg.ListenTCP, w.cfg.ListenHTTP}
	f, shut := w.lone("shut", closed, east)
	s := shut.awaits(w, "signed in", func(s agent.Status) bool { return s.Connected })
	g := w.gated("late", east)
	w.write(console.Path(console.PathDeviceBlock, fmt.Sprint(s.Device)))
	shut.awaits(w, "cut off", func(s agent.Status) bool { return !s.Connected })

	g.shut.Store(true)
	east.stop()
	east.start()
	var push console.PushReply
	w.call("POST", console.PathOperations, console.PushRequest{Kind: "scan.quick", Devices: []string{"late"}}, &push)
	w.succeedsAt(east, "other") // so it knows of the push before
	w.stop()
	east.stop()
	east.start()

	f.only(shut, closed)
	got := shut.awaits(w, "answered", answered)
	if got.Connected || !refusedAsBlocked(got) {
		t.Errorf("the blocked device is met with %q, connected %t", got.LastError, got.Connected)
	}
	g.shut.Store(false)
	g.awaits(w, "signed in", func(s agent.Status) bool { return s.Connected && s.Listener == "EAST01" })
	w.until("the task has run", func() bool { return g.ran.Load() == 1 })

	w.start()
	w.until("the site knows", func() bool { return w.operation(push.Operation).States["succeeded"] == 1 })
	w.until("the device is online at the site", func() bool { return w.presenceOf(g.device).Online })
	w.succeedsAt(east, "another")
	if n := g.ran.Load(); n != 1 {
		t.Errorf("the task has run %d times", n)
	}
}

// succeedsAt joins a machine at a listener and lets it do something.
func (w *world) succeedsAt(at *post, name string) {
	w.t.Helper()
	_, m := w.lone(name, []string{w.cfg.ListenTCP, w.cfg.ListenHTTP}, at)
	m.awaits(w, "signed in", func(s agent.Status) bool { return s.Connected })
	var push console.PushReply
	w.call("POST", console.PathOperations, console.PushRequest{Kind: "scan.quick", Devices: []string{name}}, &push)
	w.until("it has succeeded", func() bool { return w.operation(push.Operation).States["succeeded"] == 1 })
}

// A gated machine is one whose network can be shut, for new connections.
type gated struct {
	*machine
	device uint32
	shut   atomic.Bool
	ran    atomic.Int32
}

// gated starts a machine that joins at a listener, and waits until it is signed in
// there.
func (w *world) gated(name string, at *post) *gated {
	w.t.Helper()
	g := &gated{machine: &machine{name: name, dir: filepath.Join(w.dir, name)}}
	id, err := agent.Join(w.t.Context(), agent.JoinConfig{Dir: g.dir, Site: at.cfg.ListenHTTP, Name: name, Version: "1",
		Token: w.token(console.TokenRequest{Uses: 1})})
	if err != nil {
		w.t.Fatal(err)
	}
	g.device = id.Device
	site := []string{w.cfg.ListenTCP, w.cfg.ListenHTTP}
	a, err := agent.Open(g.dir, agent.Config{Version: "1", Log: w.log(name), Scanner: "builtin",
		Users: func() ([]string, error) { return nil, nil },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if g.shut.Load() || address == site[0] || address == site[1] {
				return nil, errNotReached
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		Actions: []action.Description{{Kind: "scan.quick", Timeout: time.Minute, Action: action.Func(func(context.Context, action.Request) action.Outcome {
			g.ran.Add(1)
			return action.Outcome{State: task.Succeeded}
		})}}})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(a.Run(ctx), a.Close()) }()
	w.t.Cleanup(sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
	}))
	g.awaits(w, "signed in", func(s agent.Status) bool { return s.Connected })
	return g
}
