package listener

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/poll"
)

// A lobby holds the connections to one port of whom it is not known yet who they
// are. When it is full, whoever has kept the listener waiting the longest has to
// go, so that others who hesitate keep nobody out.
type lobby struct {
	most int                  // connections
	each int                  // of one address
	slow func() time.Duration // that one may keep us waiting, once another wants its place

	cut func(*visitor) // is told of one that had to go

	mu   sync.Mutex
	in   map[*visitor]struct{}
	of   map[string]int // how many of each address
	left chan struct{}  // one slot: somebody has left
}

func newLobby(most, each int, slow func() time.Duration, cut func(*visitor)) *lobby {
	return &lobby{most: most, each: each, slow: slow, cut: cut,
		in: make(map[*visitor]struct{}), of: make(map[string]int), left: make(chan struct{}, 1)}
}

const (
	tooManyOfAddress = "too many connections that have not signed in"
	tooSlow          = "kept the listener waiting while others wanted in"
	lookAgain        = 100 * time.Millisecond // for one who has become slow
)

// enter lets v in, and waits for room if that takes a while, for v is served
// before any that connected later. It is false if there are too many of its
// address, or ctx ends.
func (b *lobby) enter(ctx context.Context, v *visitor) bool {
	for {
		ok, full := b.try(v)
		if !full {
			return ok
		}
		t := time.NewTimer(lookAgain)
		select {
		case <-b.left:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
		t.Stop()
	}
}

func (b *lobby) try(v *visitor) (ok, full bool) {
	b.mu.Lock()
	var out *visitor
	switch {
	case b.of[v.address] >= b.each:
		out = b.slowest(v.address)
		ok = out != nil
	case len(b.in) >= b.most:
		out = b.slowest("")
		ok, full = out != nil, out == nil
	default:
		ok = true
	}
	if out != nil {
		b.remove(out)
	}
	if ok {
		b.in[v] = struct{}{}
		b.of[v.address]++
	}
	b.mu.Unlock()
	if out != nil {
		out.reset()
		b.cut(out)
	}
	return ok, full
}

// slowest returns who has kept us waiting the longest, of one address or of all,
// and longer than is fine. With mu held.
func (b *lobby) slowest(address string) (slowest *visitor) {
	now, longest := time.Now(), b.slow()
	for v := range b.in {
		if address != "" && v.address != address {
			continue
		}
		if d := v.keptWaiting(now); d > longest {
			slowest, longest = v, d
		}
	}
	return slowest
}

// leave gives the place of v back, if it has one.
func (b *lobby) leave(v *visitor) {
	b.mu.Lock()
	_, had := b.in[v]
	if had {
		b.remove(v)
	}
	b.mu.Unlock()
}

func (b *lobby) remove(v *visitor) {
	delete(b.in, v)
	if b.of[v.address]--; b.of[v.address] == 0 {
		delete(b.of, v.address)
	}
	select {
	case b.left <- struct{}{}:
	default:
	}
}

func (b *lobby) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.in)
}

// Bounds of what a visitor may send.
const (
	shakeBytes   = 64 << 10 // in a handshake
	visitorBytes = 1 << 20  // over HTTPS without a certificate
)

// A visitor is a connection as it came, before TLS. Until it is known who it is,
// what it sends and how long that takes is counted. While it shakes hands it
// computes only in its turn.
type visitor struct {
	net.Conn
	address string
	turns   chan struct{}

	known   atomic.Bool  // nothing is counted any more
	shaken  atomic.Bool  // the handshake is over
	left    atomic.Int64 // bytes that it may still send
	busy    atomic.Int32 // answers under way for which it waits, not we
	since   atomic.Int64 // when we began to wait for it, Unix nanoseconds, or 0
	waited  atomic.Int64 // how long we did before, nanoseconds
	hasTurn bool         // of the goroutine that shakes hands
}

func newVisitor(raw net.Conn, turns chan struct{}) *visitor {
	v := &visitor{Conn: raw, address: addressOf(raw.RemoteAddr()), turns: turns}
	v.left.Store(shakeBytes)
	return v
}

var errTooMuch = errors.New("too many bytes before it is known who sends them")

// Read implements [net.Conn].
func (v *visitor) Read(p []byte) (int, error) {
	if v.known.Load() {
		return v.Conn.Read(p)
	}
	shaking := !v.shaken.Load()
	if shaking {
		v.rest()
	}
	begun := time.Now()
	v.since.Store(begun.UnixNano())
	n, err := v.Conn.Read(p)
	v.waited.Add(int64(time.Since(begun)))
	v.since.Store(0)
	if v.left.Add(-int64(n)) < 0 && !v.known.Load() {
		v.reset()
		return 0, errTooMuch
	}
	if shaking && err == nil {
		v.turn()
	}
	return n, err
}

// Write implements [net.Conn].
func (v *visitor) Write(p []byte) (int, error) {
	if !v.shaken.Load() {
		v.rest()
	}
	return v.Conn.Write(p)
}

func (v *visitor) turn() {
	v.turns <- struct{}{} // soon, for nobody waits for a peer in its turn
	v.hasTurn = true
}

func (v *visitor) rest() {
	if v.hasTurn {
		v.hasTurn = false
		<-v.turns
	}
}

// shook ends the handshake.
func (v *visitor) shook() {
	v.rest()
	v.left.Store(visitorBytes)
	v.shaken.Store(true)
}

// know ends the counting: it is a device's, or a listener's.
func (v *visitor) know() { v.known.Store(true) }

func (v *visitor) keptWaiting(now time.Time) time.Duration {
	if v.busy.Load() > 0 {
		return 0
	}
	d := time.Duration(v.waited.Load())
	if since := v.since.Load(); since != 0 {
		d += now.Sub(time.Unix(0, since))
	}
	return d
}

// reset hangs up without a word, and leaves nothing behind in the kernel.
func (v *visitor) reset() {
	if c, ok := v.Conn.(*poll.Conn); ok {
		c.Abort()
		return
	}
	if tcp, ok := v.Conn.(interface{ SetLinger(int) error }); ok {
		tcp.SetLinger(0)
	}
	v.Conn.Close()
}
