package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

const (
	httpsStop    = 2 * time.Second
	httpsStreams = 32 // requests at once on one HTTP/2 connection
)

// serveHTTPS serves the HTTPS port; stop is called if the socket fails. The
// function that it returns ends that: it is called when all sessions are over, for
// the last words of those that are polled are fetched here. Answers under way are
// finished for a moment.
func (l *Listener) serveHTTPS(stop func(), https net.Listener) (end func() error) {
	if https == nil {
		return func() error { return nil }
	}
	srv := &http.Server{
		Handler:           l.Handler(),
		TLSConfig:         httpsConfig(&l.cfg),
		ReadHeaderTimeout: l.times.handshake,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: httpsStreams},
		ConnContext:       withConnection,
		ErrorLog:          slog.NewLogLogger(l.cfg.Log.Handler(), slog.LevelDebug),
	}
	served := start(func() error {
		err := srv.ServeTLS(&fewAtATime{https, make(chan struct{}, l.cfg.Limits.HTTPS)}, "", "")
		stop() // that has happened already, or the socket failed
		return err
	})
	return func() error {
		last, cancel := context.WithTimeout(context.Background(), httpsStop)
		defer cancel()
		if srv.Shutdown(last) != nil {
			srv.Close()
		}
		if err := served(); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve https: %w", err)
		}
		return nil
	}
}

// fewAtATime leaves connections in the backlog while many of strangers are open.
type fewAtATime struct {
	net.Listener
	open chan struct{}
}

func (f *fewAtATime) Accept() (net.Conn, error) {
	f.open <- struct{}{}
	c, err := f.Listener.Accept()
	if err != nil {
		<-f.open
		return nil, err
	}
	return &counted{Conn: c, release: func() { <-f.open }}, nil
}

// A counted connection holds a place among those of strangers, until its device
// is known, and gives its place back when it is closed.
type counted struct {
	net.Conn

	mu      sync.Mutex
	known   bool          // it has a place among those of devices
	device  wire.Identity // if it is known: a connection shows one certificate
	closed  bool
	release func() // gives the place back
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

func (c *counted) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.release()
	}
}

// of returns the device of the connection, if that is known.
func (c *counted) of() (device wire.Identity, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.device, c.known
}

// move gives the connection another place, for it is of a device; take returns
// how that place is given back, or false if there is none.
func (c *counted) move(device wire.Identity, take func() (release func(), ok bool)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known || c.closed {
		return true
	}
	release, ok := take()
	if ok {
		c.release()
		c.known, c.device, c.release = true, device, release
	}
	return ok
}

type connectionKey struct{}

// withConnection lets a request find its connection.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}
