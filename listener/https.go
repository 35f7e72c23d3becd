package listener

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
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
		Handler:           excusing(l.Handler()),
		ReadHeaderTimeout: l.times.handshake,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: httpsStreams},
		ConnContext:       withConnection,
		ErrorLog:          slog.NewLogLogger(l.cfg.Log.Handler(), slog.LevelDebug),
	}
	g := newGate(l, https)
	srv.TLSConfig = g.config // says that HTTP/2 is spoken, too
	served := start(func() error {
		err := srv.Serve(g)
		stop() // that has happened already, or the socket failed
		return err
	})
	return func() error {
		last, cancel := context.WithTimeout(context.Background(), httpsStop)
		defer cancel()
		if srv.Shutdown(last) != nil {
			srv.Close()
		}
		g.under.Wait()
		if err := served(); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve https: %w", err)
		}
		return nil
	}
}

// A gate is the HTTPS port as [http.Server] sees it: connections come out of it
// that have shaken hands, so that both ports let strangers in alike.
type gate struct {
	net.Listener
	l      *Listener
	config *tls.Config

	ctx    context.Context // of the socket
	cancel context.CancelFunc
	ready  chan net.Conn
	failed chan error // how accepting ended
	under  sync.WaitGroup
}

func newGate(l *Listener, socket net.Listener) *gate {
	g := &gate{Listener: socket, l: l, config: httpsConfig(&l.cfg, l.verified), ready: make(chan net.Conn), failed: make(chan error, 1)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	admit := func(raw net.Conn) {
		if !l.shed(raw, l.webLobby) {
			v := newVisitor(raw, l.turns)
			v.socket, _ = raw.(*net.TCPConn)
			l.letIn(v, l.webLobby, g.serve)
		}
	}
	go func() { g.failed <- l.accept(g.ctx, socket, admit) }()
	return g
}

// Accept implements [net.Listener].
func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.ready:
		return c, nil
	case err := <-g.failed:
		g.failed <- err
		return nil, cmp.Or(err, net.ErrClosed)
	}
}

// Close implements [net.Listener].
func (g *gate) Close() error {
	g.cancel()
	g.l.webLobby.close()
	return g.Listener.Close()
}

func (g *gate) serve(v *visitor) {
	g.under.Go(func() {
		c := &counted{visitor: v}
		c.release = func() {
			if g.l.webLobby.leave(v) && c.closed && !c.excused.Load() && v.keptWaiting(time.Now()) >= g.l.times.handshake/2 {
				g.l.refuse("listener", v.address, noRequest)
			}
		}
		if !g.l.pays(v) {
			c.Close()
			return
		}
		conn, err := g.l.shake(g.ctx, c, g.config)
		if err != nil {
			c.excused.Store(true)
			g.l.shakeFailed(v, err)
			answerPlain(err)
			c.Close()
			return
		}
		g.l.recognise(c, conn)
		c.SetDeadline(time.Time{})
		select {
		case g.ready <- conn:
		case <-g.ctx.Done():
			c.Close()
		}
	})
}

// answerPlain answers who speaks HTTP without TLS.
func answerPlain(err error) {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || record.Conn == nil {
		return
	}
	switch string(record.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		io.WriteString(record.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nthis port is for HTTPS\n")
	}
}

// recognise finds out who has connected, if a certificate says so. There may be
// no place for one more of them: then it stays a stranger.
func (l *Listener) recognise(c *counted, conn *tls.Conn) {
	state := conn.ConnectionState()
	if len(state.PeerCertificates) == 0 {
		return
	}
	if id, no := l.identify(&state); no == nil {
		l.moveDevice(c, id)
	} else if l.cfg.Outpost != nil {
		if name, ok := l.cfg.Outpost(state.PeerCertificates); ok {
			if moved, _ := c.move(nil, func() (func(), bool) { return l.fallback.outposts.place(name) }); moved {
				l.budgets.give(c.address, time.Now())
			}
		}
	}
}

func (l *Listener) moveDevice(c *counted, id wire.Identity) bool {
	moved, ok := c.move(&id, func() (func(), bool) { return l.fallback.connections.place(id.Device) })
	now := time.Now()
	if moved && !l.table.isBlocked(id.Device) && l.connects.allow(strconv.FormatUint(uint64(id.Device), 10), now) {
		l.budgets.give(c.address, now)
	}
	return ok
}

// A counted connection holds a place among those of strangers, until it is known
// whose it is, and gives its place back when it is closed.
type counted struct {
	*visitor
	excused atomic.Bool // a request has come, or it was said why none will

	mu      sync.Mutex
	moved   bool           // it has a place among those of devices, or of listeners
	device  *wire.Identity // if it is one's: a connection shows one certificate
	closed  bool
	release func() // gives the place back
}

func (c *counted) Close() error {
	defer c.leave()
	return c.visitor.Close()
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
	if c.device == nil {
		return device, false
	}
	return *c.device, true
}

// move gives the connection another place, for it is known whose it is; take
// returns how that place is given back, or false if there is none. Moved is true
// the first time.
func (c *counted) move(device *wire.Identity, take func() (release func(), ok bool)) (moved, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved || c.closed {
		return false, true
	}
	release, ok := take()
	if ok {
		c.release()
		c.moved, c.device, c.release = true, device, release
		c.know()
	}
	return ok, ok
}

// awaited notes that it is the client who waits, until done.
func awaited(r *http.Request) (done func()) {
	c, ok := r.Context().Value(connectionKey{}).(*counted)
	if !ok {
		return func() {}
	}
	c.busy.Add(1)
	return c.answered
}

type connectionKey struct{}

const noRequest = "no request after the handshake"

// excusing notes that a request has come.
func excusing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*counted); ok {
			c.excused.Store(true)
		}
		next.ServeHTTP(w, r)
	})
}

// withConnection lets a request find its connection.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}
