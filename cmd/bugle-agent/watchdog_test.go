//go:build unix

package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// systemd listens on a socket; notified waits for one message.
func systemd(t *testing.T) (notified func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		b := make([]byte, 256)
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

// The watchdog is told as long as the agent is alive, and not while it is stuck.
func TestWatch(t *testing.T) {
	notified := systemd(t)
	t.Setenv("WATCHDOG_USEC", "3000")
	asked, answer := make(chan bool), make(chan bool)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool)
	go func() {
		defer close(done)
		watch(ctx, func() { asked <- true; <-answer })
	}()
	for range 3 {
		<-asked
		answer <- true
		if s := notified(); s != "WATCHDOG=1" {
			t.Errorf("told %q", s)
		}
	}
	<-asked // stuck from here on: the next that is heard is ours
	notify("OURS")
	if s := notified(); s != "OURS" {
		t.Errorf("told %q while the agent was stuck", s)
	}
	cancel()
	close(answer)
	<-done
}

func TestNobodyWatches(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	notify("READY=1")
	watch(t.Context(), func() { t.Error("asked whether it lives") })
	t.Setenv("WATCHDOG_USEC", strings.Repeat("9", 30))
	watch(t.Context(), func() { t.Error("asked whether it lives") })
}
