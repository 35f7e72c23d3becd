package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A network joins machines and listeners by links in memory, which fail as real
// ones do. Names stand for addresses: a listener is found under its host name.
type network struct {
	mu      sync.Mutex
	sockets map[string]*socket // by host:port
	away    map[route]bool     // a dial of these is answered by nobody
	links   []*link            // that may still carry something
	next    byte               // of the addresses
}

// A route is from a machine to a listener's address.
type route struct{ from, to string }

func newNetwork() *network {
	return &network{sockets: make(map[string]*socket), away: make(map[route]bool)}
}

// A socket is where a listener accepts connections.
type socket struct {
	n       *network
	address string
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// backlog is how many connections wait to be accepted.
const backlog = 64

// listen takes an address, which must be free.
func (n *network) listen(address string) (*socket, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sockets[address] != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, syscall.EADDRINUSE)
	}
	s := &socket{n: n, address: address, conns: make(chan net.Conn, backlog), closed: make(chan struct{})}
	n.sockets[address] = s
	return s, nil
}

// Accept implements [net.Listener].
func (s *socket) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (s *socket) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.n.mu.Lock()
		defer s.n.mu.Unlock()
		if s.n.sockets[s.address] == s {
			delete(s.n.sockets, s.address)
		}
	})
	return nil
}

// Addr implements [net.Listener].
func (s *socket) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 10123} }

// dial connects a machine to a listener. If the way is away it waits for ctx, as
// for a host that does not answer.
func (n *network) dial(ctx context.Context, from, to string) (net.Conn, error) {
	n.mu.Lock()
	away, s := n.away[route{from, to}], n.sockets[to]
	n.mu.Unlock()
	if away {
		<-ctx.Done()
		return nil, fmt.Errorf("dial %s: %w", to, ctx.Err())
	}
	if s == nil {
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	l := n.connect(from, to)
	select {
	case s.conns <- l.far:
		return l.near, nil
	case <-s.closed:
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s: %w", to, ctx.Err())
	}
}

func (n *network) connect(from, to string) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	l := &link{route: route{from, to}}
	up, down := newFlow(), newFlow()
	local := &net.TCPAddr{IP: net.IPv4(10, 0, 1, n.next), Port: 40000}
	l.near = &conn{read: down, write: up, local: local, remote: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 10123}}
	l.far = &conn{read: up, write: down, local: l.near.remote, remote: local}
	live := n.links[:0]
	for _, old := range n.links {
		if !old.over() {
			live = append(live, old)
		}
	}
	n.links = append(live, l)
	return l
}

// of returns the live links of a machine, or of a listener.
func (n *network) of(name string) (links []*link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		if (l.from == name || l.to == name) && !l.over() {
			links = append(links, l)
		}
	}
	return links
}

// set says whether a machine finds nobody at an address.
func (n *network) set(from, to string, away bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away[route{from, to}] = away
}

// A link is one connection: near is the machine's end, far the listener's.
type link struct {
	route
	near, far *conn
}

func (l *link) flows() [2]*flow { return [2]*flow{l.near.write, l.far.write} }

func (l *link) over() bool { return l.near.isClosed() && l.far.isClosed() }

// reset breaks the link: both ends learn of it.
func (l *link) reset() {
	for _, f := range l.flows() {
		f.change(func() { f.broken = true })
	}
}

// stall lets nothing through, in both directions, until it was taken back as often:
// what is sent meanwhile comes late, unless a deadline ends it.
func (l *link) stall(still bool) {
	by := 1
	if !still {
		by = -1
	}
	for _, f := range l.flows() {
		f.change(func() { f.still += by })
	}
}

// vanish makes one end forget the link, without a word to the other one.
func (l *link) vanish(near bool) {
	l.stall(true)
	end := l.far
	if near {
		end = l.near
	}
	end.read.change(func() { end.read.lost = true })
	end.write.change(func() { end.write.refused = true })
}

// cut breaks the link behind so many more bytes in one direction; hit is called
// when that happens.
func (l *link) cut(up bool, after int, hit func()) {
	f := l.far.write
	if up {
		f = l.near.write
	}
	f.change(func() { f.left, f.cut = after, func() { hit(); l.reset() } })
}

// slow sets how long each byte is under way.
func (l *link) slow(d time.Duration) {
	for _, f := range l.flows() {
		f.change(func() { f.delay = d })
	}
}

// A flow is one direction of a link.
type flow struct {
	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, when anything changes
	parcels []parcel
	held    int // bytes in parcels
	ended   bool
	gone    bool // the reader has closed
	broken  bool // reset
	lost    bool // the reader's end is gone, and nobody told the writer
	refused bool // the writer's end is gone
	still   int  // how many reasons there are to let nothing through
	delay   time.Duration
	cut     func() // called behind left more bytes
	left    int
	record  []byte // the first bytes that were sent, for whoever listens
}

// A parcel is bytes that arrive together.
type parcel struct {
	due time.Time
	b   []byte
}

// flowRoom is how many bytes are under way at most. It is more than a stalled link
// comes to hold: a goroutine that waits for a lock which somebody holds who writes
// would stop the time of the bubble.
const flowRoom = 1 << 20

// maxRecord is how many bytes of each direction are kept.
const maxRecord = 8 << 10

// recorded is what the machine sent first on a link.
func (l *link) recorded() []byte {
	f := l.near.write
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]byte(nil), f.record...)
}

func newFlow() *flow { return &flow{changed: make(chan struct{}), delay: time.Millisecond} }

func (f *flow) change(do func()) {
	f.mu.Lock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
}

// watch returns a channel that is closed at the next change.
func (f *flow) watch() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// A conn is one end of a link.
type conn struct {
	read, write   *flow
	local, remote net.Addr

	mu      sync.Mutex
	closed  bool
	readBy  time.Time
	writeBy time.Time
}

var errReset = fmt.Errorf("link: %w", syscall.ECONNRESET)

// await waits until the flow changes, at most until the instants that are not
// zero.
func await(changed <-chan struct{}, instants ...time.Time) {
	var first time.Time
	for _, t := range instants {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(first))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) {
	for {
		changed := c.read.watch()
		closed, by, _ := c.state()
		switch {
		case closed:
			return 0, net.ErrClosed
		case !by.IsZero() && !time.Now().Before(by):
			return 0, os.ErrDeadlineExceeded
		}
		n, due, err := c.read.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		await(changed, by, due)
	}
}

// take returns bytes that have arrived; if none have, when the next do.
func (f *flow) take(b []byte) (n int, due time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.broken, f.lost:
		return 0, due, errReset
	case f.still > 0, len(f.parcels) == 0 && !f.ended:
		return 0, due, nil
	case len(f.parcels) == 0:
		return 0, due, io.EOF
	}
	p := &f.parcels[0]
	if p.due.After(time.Now()) {
		return 0, p.due, nil
	}
	n = copy(b, p.b)
	if p.b = p.b[n:]; len(p.b) == 0 {
		f.parcels = f.parcels[1:]
	}
	f.held -= n
	close(f.changed)
	f.changed = make(chan struct{})
	if f.cut != nil {
		if f.left -= n; f.left < 0 {
			n = max(0, n+f.left)
			go f.cut()
			f.cut, f.broken = nil, true
		}
	}
	return n, due, nil
}

// Write implements [net.Conn].
func (c *conn) Write(b []byte) (written int, err error) {
	for {
		changed := c.write.watch()
		closed, _, by := c.state()
		switch {
		case closed:
			return written, net.ErrClosed
		case !by.IsZero() && !time.Now().Before(by):
			return written, os.ErrDeadlineExceeded
		case len(b) == 0:
			return written, nil
		}
		n, err := c.write.put(b)
		if err != nil {
			return written, err
		}
		if written, b = written+n, b[n:]; len(b) > 0 {
			await(changed, by)
		}
	}
}

// put takes as many bytes as there is room for.
func (f *flow) put(b []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.broken, f.refused, f.gone && f.still == 0:
		return 0, errReset
	case f.ended:
		return 0, net.ErrClosed
	}
	if n = min(len(b), flowRoom-f.held); n > 0 {
		due := time.Now().Add(f.delay)
		if last := len(f.parcels) - 1; last >= 0 && f.parcels[last].due.After(due) {
			due = f.parcels[last].due
		}
		f.parcels = append(f.parcels, parcel{due, append([]byte(nil), b[:n]...)})
		f.record = append(f.record, b[:min(n, maxRecord-len(f.record))]...)
		f.held += n
		close(f.changed)
		f.changed = make(chan struct{})
	}
	return n, nil
}

func (c *conn) state() (closed bool, readBy, writeBy time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed, c.readBy, c.writeBy
}

func (c *conn) isClosed() bool {
	closed, _, _ := c.state()
	return closed
}

func (c *conn) set(do func()) error {
	c.mu.Lock()
	do()
	c.mu.Unlock()
	c.read.change(func() {})
	c.write.change(func() {})
	return nil
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.set(func() { c.closed = true })
	c.write.change(func() { c.write.ended = true })
	c.read.change(func() { c.read.gone = true })
	return nil
}

// LocalAddr implements [net.Conn].
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements [net.Conn].
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements [net.Conn].
func (c *conn) SetDeadline(t time.Time) error {
	return c.set(func() { c.readBy, c.writeBy = t, t })
}

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(t time.Time) error { return c.set(func() { c.readBy = t }) }

// SetWriteDeadline implements [net.Conn].
func (c *conn) SetWriteDeadline(t time.Time) error { return c.set(func() { c.writeBy = t }) }

// errDead is what a process that was killed gets from everything it still tries.
var errDead = errors.New("the process was killed")

// spare takes back a cut that has not happened.
func (l *link) spare() {
	for _, f := range l.flows() {
		f.change(func() { f.cut = nil })
	}
}
