//go:build unix

package watchdog_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent/watchdog"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	watchdog.Notify("READY=1")
	go watchdog.Watch(ctx, func() {}) // which takes the locks that must be free
	stop()
	watchdog.Notify("STOPPING=1")
}

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
		watchdog.Watch(ctx, func() { asked <- true; <-answer })
	}()
	for range 3 {
		<-asked
		answer <- true
		if s := notified(); s != "WATCHDOG=1" {
			t.Errorf("told %q", s)
		}
	}
	<-asked // stuck from here on: the next that is heard is ours
	watchdog.Notify("OURS")
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
	watchdog.Notify("READY=1")
	watchdog.Watch(t.Context(), func() { t.Error("asked whether it lives") })
	t.Setenv("WATCHDOG_USEC", strings.Repeat("9", 30))
	watchdog.Watch(t.Context(), func() { t.Error("asked whether it lives") })
}
