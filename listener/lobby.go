package listener

import (
	"container/list"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// A lobby holds the connections to one port of whom it is not known yet who they
// are. Beyond those that have a place others wait for one, in a line of each address:
// the lines are served in turn, so that a crowd behind one address keeps nobody
// waiting but itself. Who has a place and has kept the listener waiting the longest
// has to go when another wants it, so that others who hesitate keep nobody out.
type lobby struct {
	most int                  // connections that have a place
	each int                  // of one address
	room func() int           // how many may wait
	slow func() time.Duration // that one may keep us waiting, once another wants its place

	cut    func(*visitor) // is told of one that had to go
	refuse func(*visitor) // is told of one that waited and cannot be served soon

	mu      sync.Mutex
	in      map[*visitor]struct{}
	of      map[string]int // how many of each address
	lines   map[string]*line
	turns   list.List // the lines, in the order of their turns
	waiting int
	longest int // line, or more
	again   *time.Timer
	closed  bool
}

// begunPatience is how many times as long one may keep us waiting that has begun to
// shake hands: in a storm, agents are busy too.
const begunPatience = 3

// A line is who waits of one address, who came first at its head. It is there while
// somebody does: addresses are as many as an attacker likes.
type line struct {
	address string
	wait    []*visitor
	turn    *list.Element
}

func newLobby(most, each int, room func() int, slow func() time.Duration, cut, refuse func(*visitor)) *lobby {
	return &lobby{most: most, each: each, room: room, slow: slow, cut: cut, refuse: refuse,
		in: make(map[*visitor]struct{}), of: make(map[string]int), lines: make(map[string]*line)}
}

const (
	tooManyOfAddress = "too many connections that have not signed in" // over HTTPS
	tooSlow          = "kept the listener waiting while others wanted in"
	tooMany          = "more agents come than can be served soon"
	lookAgain        = 100 * time.Millisecond // for those who have become slow
)

// enter hands v in. Serve is called once it has a place, with the lobby locked; if
// that cannot be soon, or the lobby is closed, v is closed.
func (b *lobby) enter(v *visitor, serve func(*visitor)) {
	v.serve = serve
	b.mu.Lock()
	var out, away []*visitor
	closed := b.closed
	switch {
	case closed:
		away = append(away, v)
	case b.waiting == 0 && len(b.in) < b.most && b.of[v.address] < b.each:
		b.seat(v)
	default:
		l := b.line(v.address)
		away = b.join(l, v)
		out = b.place(len(l.wait) == 1) // else it is not v's turn
	}
	b.mu.Unlock()
	b.dismiss(out, away, closed)
}

// dismiss hangs up, without the lock.
func (b *lobby) dismiss(out, away []*visitor, closed bool) {
	for _, v := range out {
		v.reset()
		b.cut(v)
	}
	for _, v := range away {
		v.reset()
		if !closed {
			b.refuse(v)
		}
	}
}

func (b *lobby) line(address string) *line {
	l := b.lines[address]
	if l == nil {
		l = &line{address: address}
		b.lines[address] = l
		l.turn = b.turns.PushBack(l)
	}
	return l
}

// left is told that one has left a line.
func (b *lobby) left(l *line) {
	if b.waiting--; len(l.wait) == 0 {
		b.turns.Remove(l.turn)
		delete(b.lines, l.address)
	}
}

// join puts v at the end of its line. If there is no room for one more the last of
// the longest line has to go, which may be v.
func (b *lobby) join(l *line, v *visitor) (away []*visitor) {
	l.wait = append(l.wait, v)
	b.waiting++
	b.longest = max(b.longest, len(l.wait))
	if b.waiting <= 1 || b.waiting <= b.room() {
		return nil
	}
	return append(away, b.shorten(l))
}

// shorten takes the last out of the longest line; of those that are as long that is l.
func (b *lobby) shorten(l *line) *visitor {
	if len(l.wait) < b.longest {
		b.longest = len(l.wait)
		for _, other := range b.lines {
			if n := len(other.wait); n > b.longest {
				b.longest, l = n, other
			}
		}
	}
	last := len(l.wait) - 1
	v := l.wait[last]
	l.wait[last] = nil
	l.wait = l.wait[:last]
	b.left(l)
	return v
}

// place gives places to those whose turn it is; out are those who had to go for
// them, if others may be cut. With mu held.
func (b *lobby) place(cut bool) (out []*visitor) {
	skipped := 0 // lines whose addresses have all places they may have
	for skipped < b.turns.Len() {
		first := b.turns.Front()
		l := first.Value.(*line)
		full := len(b.in) >= b.most
		var slow *visitor
		switch {
		case b.of[l.address] >= b.each:
			if cut {
				slow = b.slowest(l.address)
			}
			if slow == nil {
				b.turns.MoveToBack(first)
				skipped++
				continue
			}
		case full:
			if cut {
				slow = b.slowest("")
			}
			if slow == nil {
				b.lookAgain()
				return out
			}
		}
		if slow != nil {
			b.remove(slow)
			out = append(out, slow)
		}
		b.turns.MoveToBack(first)
		v := l.wait[0]
		l.wait[0] = nil
		l.wait = l.wait[1:]
		b.left(l)
		b.seat(v)
		skipped = 0
	}
	if skipped > 0 {
		b.lookAgain()
	}
	return out
}

// seat gives v a place.
func (b *lobby) seat(v *visitor) {
	b.in[v] = struct{}{}
	b.of[v.address]++
	v.serve(v)
}

// lookAgain looks soon for those who have become slow.
func (b *lobby) lookAgain() {
	if b.again != nil || b.closed {
		return
	}
	b.again = time.AfterFunc(lookAgain, func() {
		b.mu.Lock()
		b.again = nil
		var out []*visitor
		if !b.closed {
			out = b.place(true)
		}
		b.mu.Unlock()
		b.dismiss(out, nil, false)
	})
}

// close hangs up on all who wait; nobody gets a place any more.
func (b *lobby) close() {
	b.mu.Lock()
	b.closed = true
	var away []*visitor
	for _, l := range b.lines {
		away = append(away, l.wait...)
	}
	clear(b.lines)
	b.turns.Init()
	b.waiting = 0
	if b.again != nil {
		b.again.Stop()
	}
	b.mu.Unlock()
	b.dismiss(nil, away, true)
}

// slowest returns who has kept us waiting for the longest beyond what is fine, of one
// address or of all. With mu held.
func (b *lobby) slowest(address string) (slowest *visitor) {
	now, limit, longest := time.Now(), b.slow(), time.Duration(0)
	for v := range b.in {
		if address != "" && v.address != address {
			continue
		}
		d := v.keptWaiting(now) - limit
		if v.spoke() {
			d -= (begunPatience - 1) * limit
		}
		// Whose bytes are there already does not keep us waiting: we are busy.
		if d > longest && !hasUnread(v.socket) {
			slowest, longest = v, d
		}
	}
	return slowest
}

// leave gives the place of v back, if it has one.
func (b *lobby) leave(v *visitor) (had bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, had = b.in[v]; had {
		b.remove(v)
		if b.waiting > 0 {
			b.place(false)
		}
	}
	return had
}

func (b *lobby) remove(v *visitor) {
	delete(b.in, v)
	if b.of[v.address]--; b.of[v.address] == 0 {
		delete(b.of, v.address)
	}
}

// waits is how many wait for a place.
func (b *lobby) waits() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting
}

// len is how many have a place.
func (b *lobby) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.in)
}

// Bounds of what a visitor may send.
const (
	shakeBytes   = 64 << 10  // in a handshake
	visitorBytes = 128 << 10 // after it: twice the largest join request
)

// A visitor is a connection as it came, before TLS. Until it is known who it is,
// what it sends and how long that takes is counted. While it shakes hands it
// computes only in its turn.
type visitor struct {
	net.Conn

	// Of each read and write, as long as the connection lives: beside Conn.
	known  atomic.Bool // nothing is counted any more
	shaken atomic.Bool // the handshake is over

	socket  *net.TCPConn // below Conn, nil if that is another
	address string
	turns   chan struct{}
	serve   func(*visitor) // once it has a place
	pace    *pace          // is told what its handshake cost; may be nil

	had    atomic.Int32 // turns to compute
	left   atomic.Int64 // bytes that it may still send
	busy   atomic.Int32 // answers under way for which it waits, not we
	since  atomic.Int64 // when we began to wait for it, Unix nanoseconds, or 0
	waited atomic.Int64 // how long we did before, nanoseconds

	// Of the goroutine that shakes hands.
	hasTurn  bool
	turned   time.Time      // when its turn began
	computed time.Duration  // in its turns, so far
	giveBack func()         // what was lent for the handshake; nil if nothing
	is       *wire.Identity // by its ticket, until somebody has asked
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
	since := v.since.Swap(0) // first, so that the time never counts twice
	v.waited.Add(max(0, min(int64(time.Since(begun)), time.Now().UnixNano()-since)))
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
	v.hasTurn, v.turned = true, time.Now()
	v.had.Add(1)
}

// rest ends a turn. Before, all goroutines that can run do: those that want a turn
// come to wait for it, in turns, so that whoever wants something else, such as an
// administrator, has at most a turn before him and not those of a whole storm.
func (v *visitor) rest() {
	if v.hasTurn {
		v.hasTurn = false
		v.computed += time.Since(v.turned)
		runtime.Gosched()
		<-v.turns
	}
}

// lend takes note of what is given back when the handshake is over.
func (v *visitor) lend(giveBack func()) { v.giveBack = giveBack }

func (v *visitor) identify(id wire.Identity) { v.is = &id }

// identity is who it is by its ticket, or nil; it is said once.
func (v *visitor) identity() *wire.Identity {
	id := v.is
	v.is = nil
	return id
}

// shook ends the handshake. In its second turn a client has said who it is, so that
// nearly all was computed that is to be.
func (v *visitor) shook() {
	v.rest()
	if v.giveBack != nil {
		v.giveBack()
		v.giveBack = nil
	}
	if v.had.Load() > 1 && v.pace != nil {
		v.pace.took(v.computed)
	}
	v.left.Store(visitorBytes)
	v.shaken.Store(true)
}

// spoke tells whether it has said something and been answered.
func (v *visitor) spoke() bool { return v.had.Load() > 0 }

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

// answered ends what [visitor.busy] counts: a read that is under way waits for the
// client from now on.
func (v *visitor) answered() {
	if since := v.since.Load(); since != 0 {
		v.since.CompareAndSwap(since, time.Now().UnixNano())
	}
	v.busy.Add(-1)
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
