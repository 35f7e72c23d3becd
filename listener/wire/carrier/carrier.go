package carrier

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Where the HTTPS port has the two carriers.
const (
	WebSocketPath = "/agent/ws"
	PollPath      = "/agent/poll"
)

// Subprotocol is the WebSocket's.
const Subprotocol = "bugle.v1"

// MaxChunk is the most bytes in one WebSocket message or one chunk of a long
// poll.
const MaxChunk = 64 << 10

// A Conn is one end of a connection. Its methods may be called by several
// goroutines at once, Read and Write by one each.
type Conn interface {
	net.Conn
	// CloseWrite ends the stream to the other side, which reads io.EOF when it has
	// read all that was written before.
	CloseWrite() error
}

// A Refused is the error of a dial when there is an HTTP server, but it does not
// give a connection.
type Refused struct {
	Carrier string // "websocket" or "long poll"
	Status  int    // the HTTP status that it gave
	Want    int    // the one that a listener gives
}

func (e *Refused) Error() string {
	return fmt.Sprintf("%s: server answered %d instead of %d", e.Carrier, e.Status, e.Want)
}

// address is what net.Addr says of a peer that is known by a text.
type address string

func (address) Network() string  { return "https" }
func (a address) String() string { return string(a) }

// A deadline is a moment that may move. Its zero value has not been set.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelFunc
}

// context returns one that is done when the deadline has passed. It is good for
// one call: a deadline that has passed may be set anew.
func (d *deadline) context() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fresh()
	return d.ctx
}

func (d *deadline) fresh() {
	if d.ctx == nil {
		d.ctx, d.cancel = context.WithCancel(context.Background())
	}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() || d.ctx != nil && d.ctx.Err() != nil {
		d.ctx = nil // it has passed, or is about to: whoever waits is not helped any more
	}
	d.timer = nil
	d.fresh()
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		d.cancel()
	default:
		d.timer = time.AfterFunc(wait, d.cancel)
	}
}

func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
}

// passed turns the end of ctx into the error of package net.
func passed(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return os.ErrDeadlineExceeded
	}
	return err
}

// discard ends an answer whose body nobody needs.
func discard(r *http.Response) {
	if r != nil && r.Body != nil {
		r.Body.Close()
	}
}
