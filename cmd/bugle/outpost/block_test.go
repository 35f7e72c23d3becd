package outpost_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/console"
)

// A device that is blocked at the site loses its session at a listener that runs
// apart and is refused at every other one, by TCP and by HTTPS, until it is
// unblocked.
func TestBlockedAtEveryListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east, west := w.listener("EAST01"), w.listener("WEST01")
	site := []string{w.cfg.ListenTCP, w.cfg.ListenHTTP}
	w.blocked("tcp", site, east, west)
	w.blocked("websocket", slices.Concat(site, []string{east.cfg.ListenTCP, west.cfg.ListenTCP}), east, west)
}

// blocked blocks and unblocks a device that comes by a carrier, and never to what is
// closed.
func (w *world) blocked(carrier string, closed []string, east, west *post) {
	w.t.Helper()
	f, m := w.lone(carrier, slices.Concat(closed, west.ports()), east)
	s := m.awaits(w, "signed in", func(s agent.Status) bool { return s.Connected })
	if s.Carrier != carrier || s.Listener != "EAST01" {
		w.t.Fatalf("signed in at %s by %s, not by %s", s.Listener, s.Carrier, carrier)
	}
	w.until("it knows WEST01 from its policy", func() bool {
		b, err := os.ReadFile(filepath.Join(m.dir, "policy.bin"))
		return err == nil && bytes.Contains(b, []byte("WEST01"))
	})
	w.write(console.Path(console.PathDeviceBlock, fmt.Sprint(s.Device)))
	begun := time.Now()
	m.awaits(w, "cut off", func(s agent.Status) bool { return !s.Connected && refusedAsBlocked(s) })
	w.t.Logf("%s: cut off after %s", carrier, time.Since(begun).Round(time.Millisecond))
	w.until("the view has the reason", func() bool { p := w.presenceOf(s.Device); return !p.Online && p.Reason == "blocked" })
	for _, at := range []*post{east, west} {
		f.only(m, slices.Concat(closed, without(at, east, west)))
		got := m.awaits(w, "refused", answered)
		if got.Connected || !refusedAsBlocked(got) || !strings.Contains(got.LastError, at.address(carrier)) {
			w.t.Errorf("%s: at %s the device is met with %q, connected %t", carrier, at.o.Name(), got.LastError, got.Connected)
		}
	}
	w.write(console.Path(console.PathDeviceUnblock, fmt.Sprint(s.Device)))
	for _, at := range []*post{west, east} {
		w.until("signed in again at "+at.o.Name(), func() bool { // it may be told of it a moment later than the administrator
			f.only(m, slices.Concat(closed, without(at, east, west)))
			return m.awaits(w, "answered", answered).Connected
		})
	}
}

// answered tells that a process has been let in or not.
func answered(s agent.Status) bool { return s.Connected || s.LastError != "" }

func refusedAsBlocked(s agent.Status) bool { return strings.Contains(s.LastError, "blocked") }

// ports are where agents reach a listener.
func (p *post) ports() []string { return []string{p.cfg.ListenTCP, p.cfg.ListenHTTP} }

func (p *post) address(carrier string) string {
	if carrier == "tcp" {
		return p.cfg.ListenTCP
	}
	return p.cfg.ListenHTTP
}

// without are the ports of all listeners but one.
func without(one *post, all ...*post) (ports []string) {
	for _, p := range all {
		if p != one {
			ports = append(ports, p.ports()...)
		}
	}
	return ports
}

// lone starts one agent that joins at a listener and does not reach what is closed.
func (w *world) lone(name string, closed []string, at *post) (*fleet, *machine) {
	w.t.Helper()
	f := &fleet{w: w, closed: closed, ran: map[string]int{}, ended: map[string]int{}}
	m := &machine{name: name, dir: filepath.Join(w.dir, name)}
	_, err := agent.Join(w.t.Context(), agent.JoinConfig{Dir: m.dir, Site: at.cfg.ListenHTTP, Name: m.name, Version: "1",
		Token: w.token(console.TokenRequest{Uses: 1})})
	if err != nil {
		w.t.Fatal(err)
	}
	f.start(m)
	f.agents = append(f.agents, m)
	w.t.Cleanup(f.stop)
	return f, m
}

// only starts a machine anew that reaches other addresses than before.
func (f *fleet) only(m *machine, closed []string) {
	f.end([]*machine{m})
	f.closed = closed
	f.start(m)
}

// awaits waits until the status that the agent writes is ok, and returns it.
func (m *machine) awaits(w *world, what string, ok func(agent.Status) bool) (s agent.Status) {
	w.t.Helper()
	w.until(m.name+" is "+what, func() (is bool) {
		var err error
		s, err = agent.ReadStatus(m.dir)
		return err == nil && ok(s)
	})
	return s
}

// write makes a call that becomes an event.
func (w *world) write(path string) {
	w.t.Helper()
	var a console.Written
	w.call("POST", path, console.ReasonRequest{Reason: "test"}, &a)
}

func (w *world) presenceOf(number uint32) (d console.Device) {
	w.t.Helper()
	for _, d := range w.devices() {
		if d.Number == number {
			return d
		}
	}
	return d
}
