// Package ports opens the ports at which agents come.
//
// A fleet's connections are idle for most of the time, so that the probes by which
// TCP finds out that a peer has vanished are nearly all that goes over them: by Go's
// usual, one every 15 seconds, 10,000 idle agents cost 670 packets a second and as
// many answers. Here the first one goes out after a minute of silence, and a peer
// that answers none of three, 30 seconds apart, is gone. An agent that hangs is not
// found that way; the listener hears of that by its own keep-alive.
package ports

import (
	"context"
	"net"
	"time"
)

// keepAlive is how idle connections are probed. Where the kernel bounds how long a
// peer may leave bytes unanswered too (TCP_USER_TIMEOUT), whichever is over first
// ends the connection.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 30 * time.Second, Count: 3}

// Listen listens for TCP connections at address, HOST:PORT.
func Listen(address string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: keepAlive}
	return config.Listen(context.Background(), "tcp", address)
}
