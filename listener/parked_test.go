package listener

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// parkedBench serves parked sessions, or skips where there are none.
func parkedBench(t *testing.T, wait times, edit func(*Config), updates ...Update) *bench {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOn(t, tcp, nil, func() (net.Conn, error) { return net.Dial("tcp", tcp.Addr().String()) }, wait, quick(edit))
	b.tell(updates...)
	b.tell(Whole{})
	b.awaitStats(func(s Stats) bool { return s.Whole })
	if b.l.loop == nil {
		t.Skip("sessions have goroutines on this system")
	}
	return b
}

func (b *bench) awaitParked(n int) {
	b.t.Helper()
	b.awaitStats(func(Stats) bool { return b.l.loop.Len() == n })
}

func TestSessionsAreParked(t *testing.T) {
	b := parkedBench(t, patient, nil)
	for d := range uint32(5) {
		b.signIn(d + 1).alone()
	}
	b.awaitParked(5)
	b.signIn(3).alone() // displaces the one before
	b.awaitParked(5)
	if err := b.stop(); err != nil {
		t.Error(err)
	}
	if n := b.l.loop.Len(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestParkedTimesOut(t *testing.T) {
	b := parkedBench(t, patient, func(c *Config) { c.KeepAlive = 100 * time.Millisecond })
	a := b.signIn(7)
	a.alone() // each message gives it time anew
	a.expectClose(wire.Idle)
	b.box.awaitPresence(t, 7, false, reasonTimedOut)
	b.awaitParked(0)
}

// TestParkedReadsPieces sends frames byte by byte, and many in one record.
func TestParkedReadsPieces(t *testing.T) {
	b := parkedBench(t, patient, nil)
	a := b.signIn(7)
	f, err := wire.Append(nil, &wire.KeepAlive{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range f {
		a.raw(f[i : i+1])
	}
	expect[*wire.KeepAliveAck](a)
	const many = 1000
	var all []byte
	for range many {
		all = append(all, f...)
	}
	for len(all) > 0 {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(min(len(all), 9000))))
		a.raw(all[:n.Int64()+1])
		all = all[n.Int64()+1:]
	}
	for range many {
		expect[*wire.KeepAliveAck](a)
	}
	long := make([]wire.Fact, 60)
	for i := range long {
		long[i] = wire.Fact{Name: string(rune('a'+i%26)) + time.Duration(i).String(), Value: string(make([]byte, 1000))}
	}
	a.send(&wire.Inventory{ID: 9, At: time.Now(), Facts: long})
	if got := expect[*wire.InventoryAck](a); got.ID != 9 {
		t.Errorf("inventory %d is acknowledged", got.ID)
	}
}

// TestParkedReadsOn sends as many messages at once as a turn handles, and some more
// or less, each in a record of its own, and one that is answered.
func TestParkedReadsOn(t *testing.T) {
	b := parkedBench(t, patient, nil)
	ask, err := wire.Append(nil, &wire.KeepAlive{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{turnMessages - 1, turnMessages, turnMessages + 1, 3 * turnMessages} {
		raw, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		together := &gathering{Conn: raw}
		conn := tls.Client(together, b.pki.client(7))
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		a := b.agent(conn, raw)
		a.send(&wire.SignIn{Version: wire.Version})
		expect[*wire.Welcome](a)
		together.hold(true)
		for range n {
			a.raw([]byte{0, 0, 0, 1, 201}) // of a type that nobody knows yet
		}
		a.raw(ask)
		together.hold(false)
		expect[*wire.KeepAliveAck](a)
	}
}

// A gathering connection keeps what is written, and lets it go at once.
type gathering struct {
	net.Conn
	mu      sync.Mutex
	holds   bool
	written []byte
}

func (g *gathering) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.holds {
		return g.Conn.Write(b)
	}
	g.written = append(g.written, b...)
	return len(b), nil
}

func (g *gathering) hold(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds = on
	g.Conn.Write(g.written)
	g.written = nil
}

// TestParkedIsPaced sends more than a session may: it waits, and loses nothing.
func TestParkedIsPaced(t *testing.T) {
	b := parkedBench(t, patient, func(c *Config) { c.Limits.MessageRate, c.Limits.MessageBurst = 500, 20 })
	a := b.signIn(7)
	for range 100 {
		a.send(&wire.KeepAlive{})
	}
	for range 100 {
		expect[*wire.KeepAliveAck](a)
	}
	other := b.signIn(8)
	other.alone()
}

// TestParkedWaitsForRoom fills the spool: nobody reads on until there is room, and
// then everything is taken once.
func TestParkedWaitsForRoom(t *testing.T) {
	closed := make(chan struct{})
	open := sync.OnceFunc(func() { close(closed) })
	b := parkedBench(t, patient, func(c *Config) {
		c.Limits.PendingRows = 3
		drop := c.Drop
		c.Drop = func(f box.Contents, from, to time.Time) error {
			<-closed
			return drop(f, from, to)
		}
	})
	t.Cleanup(open)
	const agents, each = 3, 6
	var all []*agent
	for d := range uint32(agents) {
		a := b.signIn(d + 1)
		all = append(all, a)
		for i := range each {
			a.send(report(task.ID{byte(i + 1)}, task.Succeeded))
		}
	}
	b.awaitStats(func(s Stats) bool { return s.PendingResults == 3 })
	open()
	for d, a := range all {
		got := make(map[task.ID]int)
		for range each {
			got[expect[*wire.ResultAck](a).Operation]++
		}
		if len(got) != each {
			t.Errorf("device %d has %d results acknowledged of %d", d+1, len(got), each)
		}
		a.alone()
		if n := len(rowsOf(b.box.all(), uint32(d+1))); n != each {
			t.Errorf("device %d has %d rows in the files, want %d", d+1, n, each)
		}
	}
}

// TestParkedStops ends a stop although agents neither read nor hang up.
func TestParkedStops(t *testing.T) {
	b := parkedBench(t, times{handshake: patience, signIn: patience, whole: patience, write: patience, close: 300 * time.Millisecond, slow: patience}, nil)
	for d := range uint32(3) {
		raw, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		deaf(t, raw, b.pki.client(d+1)).send(&wire.SignIn{Version: wire.Version})
	}
	b.awaitParked(3)
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

// TestParkedPolicyIsSlow lets the site answer nothing for more sessions than there
// are workers: others are served all the same.
func TestParkedPolicyIsSlow(t *testing.T) {
	answer := make(chan struct{})
	open := sync.OnceFunc(func() { close(answer) })
	const slow = turnWorkers + 8
	b := parkedBench(t, patient, func(c *Config) {
		c.Policy = func(device uint32, _ string) (Policy, error) {
			if device <= slow {
				<-answer
			}
			return Policy{ETag: "e", Signed: []byte("policy")}, nil
		}
	})
	t.Cleanup(open)
	var all []*agent
	for d := range uint32(slow) {
		a := b.signIn(d + 1)
		a.send(&wire.PolicyRequest{})
		all = append(all, a)
	}
	other := b.signIn(slow + 1)
	other.alone()
	other.send(&wire.PolicyRequest{})
	expect[*wire.Policy](other)
	b.tell(b.pki.operation(time.Hour, 1, slow+1))
	other.expectTask(b.pki, slow+1)
	all[0].expectTask(b.pki, 1)
	open()
	for _, a := range all {
		expect[*wire.Policy](a)
		a.alone()
	}
}

// TestParkedIntervalOfPolicy raises the interval by policy: it counts for the very
// next message. One without policy times out meanwhile.
func TestParkedIntervalOfPolicy(t *testing.T) {
	var raised atomic.Bool
	b := parkedBench(t, patient, func(c *Config) {
		c.KeepAlive = 100 * time.Millisecond
		c.KeepAliveOf = func(device uint32) time.Duration {
			if device == 7 && raised.Load() {
				return time.Hour
			}
			return 0
		}
		c.Policy = func(uint32, string) (Policy, error) {
			raised.Store(true)
			return Policy{ETag: "e", Signed: []byte("policy")}, nil
		}
	})
	a := b.signIn(7)
	a.send(&wire.PolicyRequest{})
	expect[*wire.Policy](a)
	b.signIn(8).expectClose(wire.Idle)
	a.alone()
}

// TestParkedKeepsAll writes as much as may wait for an agent to one that reads nothing
// yet: what its line does not take is kept, and its session goes on.
func TestParkedKeepsAll(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	theirs, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours, err := tcp.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(theirs.(*net.TCPConn).SetReadBuffer(4<<10), ours.(*net.TCPConn).SetWriteBuffer(4<<10)); err != nil {
		t.Fatal(err)
	}
	p := &parked{socket: poll.NewConn(ours.(*net.TCPConn))}
	p.driver = p
	defer p.socket.Close()
	if err := p.socket.Park(); err != nil {
		t.Skip("sessions have goroutines on this system: ", err)
	}
	p.set(idleListener(t), p.socket, carrierTCP, 7, "")
	part := p.encode(&wire.Policy{ETag: "e", Part: 1, Of: 1, Chunk: make([]byte, 60<<10)})
	all := 0
	for all+len(part) <= queueBytes {
		p.enqueue(part)
		all += len(part)
	}
	if !p.write(time.Now()) || p.hasEnded() {
		t.Error("the session has ended")
	}
	if kept := p.socket.Pending(); kept < all/2 || kept > all {
		t.Errorf("%d of %d bytes are kept", kept, all)
	}
}
