// Package watchdog tells systemd how a service stands: sd_notify and its watchdog,
// by the protocol of sd_notify(3). Where systemd did not ask nothing is done.
package watchdog

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// Notify tells systemd a state, such as READY=1 or STOPPING=1.
func Notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}); err == nil {
		conn.Write([]byte(state))
		conn.Close()
	}
}

// Watch tells systemd's watchdog that the service lives, three times as often as it
// asks for, as long as alive returns. It ends with ctx.
func Watch(ctx context.Context, alive func()) {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return
	}
	t := time.NewTicker(time.Duration(usec) * time.Microsecond / 3)
	defer t.Stop()
	for {
		alive()
		Notify("WATCHDOG=1")
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
