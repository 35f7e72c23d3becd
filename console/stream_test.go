package console_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
)

// pipes is a listener whose connections are pipes, so that a server and its
// callers can be in a bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (p pipes) Close() error   { close(p); return nil }

func (p pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p <- theirs
	return ours
}

// A stream on which nothing happens for longer than one write may take goes on,
// over both versions of HTTP, for as long as its caller likes.
func TestQuietStreamGoesOn(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.server.Close()
				cert, err := r.authority.ServerCertificate([]string{"127.0.0.1"})
				if err != nil {
					t.Fatal(err)
				}
				s := r.console.Server(&tls.Config{Certificates: []tls.Certificate{cert}})
				l := make(pipes)
				served := make(chan error, 1)
				go func() { served <- s.ServeTLS(l, "", "") }()
				defer func() {
					s.Close()
					<-served
				}()
				c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: protocol == "h2",
					DialContext:     func(context.Context, string, string) (net.Conn, error) { return l.dial(), nil },
					TLSClientConfig: &tls.Config{RootCAs: r.authority.ClientCAs(), Time: r.clock.Now, NextProtos: []string{protocol}}}}
				defer c.CloseIdleConnections()
				q, err := http.NewRequestWithContext(t.Context(), "GET", "https://127.0.0.1:1"+console.PathEventStream, nil)
				if err != nil {
					t.Fatal(err)
				}
				q.Header.Set("Authorization", "Bearer "+r.token)
				p, err := c.Do(q)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Body.Close()
				messages := &sse{t, bufio.NewScanner(p.Body), nil}
				time.AfterFunc(10*time.Minute, func() { r.append(&event.DeviceBlocked{Device: 1}) })
				messages.want("1", "device.blocked")
			})
		})
	}
}
