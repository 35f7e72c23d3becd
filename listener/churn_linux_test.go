package listener

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// What a listener holds of those that come and go.
type held struct {
	// At rest these are what they were.
	Connections, Sessions, Parked, Online, Changed, Lobby, WebLobby  int
	Operations, Waves, Blocked, Pending, Renewing, Fallback, Signing int
	Frames                                                           int64 // bytes that are cached
	Goroutines, Descriptors                                          int

	// These are bounded.
	Addresses, SignIns, Connects, Asks, Joins, Cancels, Said, Refused int

	Heap uint64 // bytes, after garbage was collected
}

// held is exact only while nobody comes or goes.
func (l *Listener) held() (h held) {
	l.table.mu.Lock()
	h.Sessions, h.Operations, h.Blocked = len(l.table.sessions), len(l.table.ops), len(l.table.blocked)
	h.Waves, h.Cancels = len(l.table.agenda), len(l.table.cancels.heap)
	l.table.mu.Unlock()
	l.presence.mu.Lock()
	h.Online, h.Changed = len(l.presence.online), len(l.presence.changed)
	l.presence.mu.Unlock()
	l.budgets.mu.Lock()
	h.Addresses = len(l.budgets.of)
	l.budgets.mu.Unlock()
	l.status.mu.Lock()
	h.Said, h.Refused = len(l.status.said), len(l.status.refused)
	l.status.mu.Unlock()
	for n, j := range map[*int]*joins{&h.SignIns: &l.signIns, &h.Connects: &l.connects, &h.Asks: &l.asks, &h.Joins: &l.joins} {
		j.mu.Lock()
		*n = len(j.addresses)
		j.mu.Unlock()
	}
	h.Lobby, h.WebLobby = l.lobby.len(), l.webLobby.len()
	h.Connections = int(l.count.connections.Load())
	h.Pending = l.results.held() + l.facts.held() + l.status.held()
	h.Renewing = len(l.renewals.waiting)
	h.Frames = frameCache - l.table.room.Load()
	if l.loop != nil {
		h.Parked = l.loop.Len()
	}
	l.fallback.mu.Lock()
	h.Fallback = l.fallback.sessions
	l.fallback.mu.Unlock()
	stacks := make([]byte, 4<<20) // NumGoroutine also counts some that have ended
	h.Goroutines = bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("goroutine ")) - bytes.Count(stacks, []byte(" in goroutine "))
	stacks = nil
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		h.Descriptors = len(files)
	}
	runtime.GC()
	runtime.GC() // what pools held at the first is free at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.Heap = m.HeapAlloc
	return h
}

// like is h with all that may differ at rest as it is in begun.
func (h held) like(begun held) held {
	rest := h
	rest.Goroutines, rest.Descriptors, rest.Heap = begun.Goroutines, begun.Descriptors, begun.Heap
	rest.Addresses, rest.SignIns, rest.Connects, rest.Asks, rest.Joins = begun.Addresses, begun.SignIns, begun.Connects, begun.Asks, begun.Joins
	rest.Cancels, rest.Said, rest.Refused = begun.Cancels, begun.Said, begun.Refused
	return rest
}

// The runtime has a goroutine of its own for finalizers now and then.
const ofRuntime = 2

// heapSlack is what a heap may grow by, whatever happens: it is of a few bytes
// for each sign-in of a churn.
const heapSlack = 1 << 20

// flat checks what a listener holds at rest, from the end of the first round on.
func flat(t *testing.T, begun held, rounds []held, lim Limits) {
	t.Helper()
	for i, h := range rounds {
		if h.Goroutines > begun.Goroutines+ofRuntime || h.Descriptors > begun.Descriptors {
			t.Errorf("round %d: %d goroutines and %d descriptors, there were %d and %d", i, h.Goroutines, h.Descriptors, begun.Goroutines, begun.Descriptors)
		}
		perDevice := max(maxJoinAddresses, 2*lim.Sessions)
		if h.Addresses > maxBudgets+1 || h.SignIns > perDevice || h.Connects > perDevice || h.Asks > perDevice || h.Joins > maxJoinAddresses ||
			h.Cancels > maxCancels || h.Said > maxRepeated || h.Refused > 2*maxRefused {
			t.Errorf("round %d: more than the bounds: %+v", i, h)
		}
		rest := h.like(begun)
		if rest != begun {
			t.Errorf("round %d: something is left: %+v, there was %+v", i, rest, begun)
		}
	}
	if len(rounds) < 2 {
		return
	}
	second, last := rounds[1].Heap, rounds[len(rounds)-1].Heap
	if limit := max(second+second/20, second+heapSlack); last > limit {
		t.Errorf("the heap grew from %d to %d bytes", second, last)
	}
}

// A churn is devices that come and go in fake time, and operations for them.
type churn struct {
	b       *bench
	devices int
	each    int           // sign-ins of a device in a round
	active  time.Duration // of a round; then it rests

	dropped atomic.Int64 // files
	tasks   atomic.Int64 // that devices got
	ends    [endings]atomic.Int64
}

// How a session ends.
const (
	endBye       = iota
	endDrop      // the connection is cut
	endSilence   // nothing is heard
	endDisplaced // the device signs in a second time
	endProtocol  // the agent sends what it must not
	endMute      // the agent never signs in
	endings
)

// TestChurn lets devices come and go for a day, in fake time, in every way, while
// operations come and go too. When all have gone nothing of them is left. The long
// form is more than a million sign-ins.
func TestChurn(t *testing.T) {
	rounds, c := 5, churn{devices: 500, each: 2}
	if longLab() {
		rounds, c.devices, c.each = 10, 10_000, 11
	}
	const day = 24 * time.Hour
	c.active = day/time.Duration(rounds) - 30*time.Minute
	bubble(t, func(cfg *Config) {
		cfg.KeepAlive = 4 * time.Minute
		cfg.Drop = func(box.Contents, time.Time, time.Time) error { c.dropped.Add(1); return nil }
	}, func(t *testing.T, b *bench) {
		c.b = b
		rovers := c.rovers()
		pass(time.Minute)
		b.signIn(1).conn.Close() // opens what is kept open
		pass(time.Minute)
		begun := b.l.held()
		var all []held
		for i := range rounds {
			c.round(rovers)
			pass(30 * time.Minute)
			all = append(all, b.l.held())
			say(t, map[string]any{"churn": i + 1, "sign-ins": b.l.Stats().SignIns, "tasks": c.tasks.Load(), "files": c.dropped.Load(),
				"ends": c.told(), "held": all[i]})
		}
		flat(t, begun, all, b.l.cfg.Limits)
		if got, least := b.l.Stats().SignIns, uint64(rounds*c.devices*c.each*8/10); got < least {
			t.Errorf("%d sign-ins, want %d at least", got, least)
		}
	})
}

func (c *churn) told() (ends []int64) {
	for i := range c.ends {
		ends = append(ends, c.ends[i].Load())
	}
	return ends
}

// round lets every device come and go, and returns when all have gone.
func (c *churn) round(rovers []*rover) {
	done := make(chan struct{})
	site := start(func() error { c.site(done); return nil })
	var all sync.WaitGroup
	for _, r := range rovers {
		all.Go(func() { r.roam(c) })
	}
	all.Wait()
	close(done)
	site()
}

// site opens and ends operations, and blocks a device now and then.
func (c *churn) site(done <-chan struct{}) {
	p := c.b.pki
	for i := 0; wait(done, time.Minute); i++ {
		op := p.operation(time.Duration(1+rand.IntN(20))*time.Minute, c.some()...)
		op.Held, op.Priority = i%3 == 0, uint8(i%4)
		c.b.tell(op)
		if op.Held {
			c.b.tell(ReleaseWave{ID: op.id(p.t), Wave: 1, Devices: op.Targets, At: time.Now(), Spread: 3 * time.Minute})
		}
		blocked := uint32(1 + rand.IntN(c.devices))
		c.b.tell(BlockDevice{blocked})
		if !wait(done, 4*time.Minute) {
			done = nil // the rest is for all that was begun
		}
		c.b.tell(UnblockDevice{blocked})
		if i%2 == 0 {
			c.b.tell(p.cancelled(op, 10*time.Minute))
		}
		if done == nil {
			return
		}
	}
}

// some are a tenth of the devices.
func (c *churn) some() (devices []uint32) {
	first := rand.IntN(10)
	for d := first; d < c.devices; d += 10 {
		devices = append(devices, uint32(d+1))
	}
	return devices
}

// A rover is a device that comes and goes.
type rover struct {
	device uint32
	from   *net.TCPAddr
	config *tls.Config // nil: without TLS, which would take most of the time

	open []task.ID // operations that it knows and has not answered finally
}

// rovers are all devices of a churn, each at an address of its own. One of fifty
// comes over TLS, and resumes its session when it can.
func (c *churn) rovers() []*rover {
	all := make([]*rover, c.devices)
	for i := range all {
		r := &rover{device: uint32(i + 1), from: &net.TCPAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Port: 40000}}
		if i%50 == 0 {
			r.config = c.b.pki.client(r.device)
			r.config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		all[i] = r
	}
	return all
}

// roam is the sessions of a round.
func (r *rover) roam(c *churn) {
	gap := c.active / time.Duration(c.each)
	begun := time.Now()
	for i := range c.each {
		time.Sleep(time.Until(begun.Add(time.Duration(i)*gap + rand.N(gap/3))))
		end := rand.IntN(endings)
		c.ends[end].Add(1)
		if end == endDisplaced {
			first := start(func() error { r.session(c, end, gap); return nil })
			time.Sleep(time.Second)
			r.session(c, endBye, time.Second+rand.N(gap/3))
			first()
			continue
		}
		r.session(c, end, rand.N(gap/3))
	}
}

const maxWritten = 4096 // messages of a session that wait for the pipe

// session is one session. It has ended for the listener, too, or will soon.
func (r *rover) session(c *churn, end int, stay time.Duration) {
	raw, conn, err := r.connect(c)
	if err != nil {
		return
	}
	defer raw.Close()
	if end == endMute {
		awaitEnd(conn)
		return
	}
	out := make(chan wire.Message, maxWritten)
	defer close(out)
	go func() { // for the listener may be writing to us, and a pipe holds nothing
		for m := range out {
			tell(conn, m)
		}
	}()
	var known []task.ID
	if end != endDisplaced { // two are there at once
		known = r.open
	}
	out <- &wire.SignIn{Version: wire.Version, Agent: "rover", Open: known}
	until := time.Now().Add(stay)
	if end == endSilence || end == endDisplaced {
		until = until.Add(time.Hour) // the listener ends it
	}
	if open, ended := r.converse(c, conn, out, until, end == endSilence); ended {
		return
	} else if end != endDisplaced {
		r.open = open
	}
	switch end {
	case endBye:
		out <- &wire.Bye{}
		awaitEnd(conn)
	case endProtocol:
		out <- &wire.KeepAliveAck{}
		awaitEnd(conn)
	}
}

// connect comes as a device does.
func (r *rover) connect(c *churn) (raw, conn net.Conn, err error) {
	if r.config == nil {
		near, far := net.Pipe()
		go c.arrive(pipeFrom{far, r.from}, r.device)
		return near, near, nil
	}
	if raw, err = c.b.dial(); err != nil {
		return nil, nil, err
	}
	t := tls.Client(raw, r.config)
	if err := t.Handshake(); err != nil {
		raw.Close()
		return nil, nil, err
	}
	return raw, t, nil
}

// arrive is what becomes of a connection behind its handshake.
func (c *churn) arrive(raw pipeFrom, device uint32) {
	l := c.b.l
	v := newVisitor(raw, l.turns)
	defer v.Close()
	v.shook()
	l.budgets.take(v.address, time.Now())
	if !l.signIns.allow(strconv.FormatUint(uint64(device), 10), time.Now()) {
		return
	}
	l.sessions.Add(1)
	defer l.sessions.Done()
	l.converse(c.b.t.Context(), plain{v}, v, carrierTCP, wire.Identity{Site: "P01", Device: device}, v.address, func() bool { return true })
}

// plain is a connection that is ended only as a whole.
type plain struct{ net.Conn }

func (plain) CloseWrite() error { return nil }

type pipeFrom struct {
	net.Conn
	from net.Addr
}

func (p pipeFrom) RemoteAddr() net.Addr { return p.from }

func tell(conn net.Conn, m wire.Message) error {
	f, err := wire.Append(nil, m)
	if err != nil {
		panic(err)
	}
	conn.SetWriteDeadline(time.Now().Add(time.Minute))
	_, err = conn.Write(f)
	return err
}

func awaitEnd(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(time.Hour))
	r := bufio.NewReader(conn)
	for {
		if m, _, err := wire.ReadFrom(r, nil); err != nil || m.Type() == wire.TypeClose {
			return
		}
	}
}

// converse takes what comes until then, and answers it unless it is to be silent.
// Open are the operations that are not answered finally.
func (r *rover) converse(c *churn, conn net.Conn, out chan<- wire.Message, until time.Time, silent bool) (open []task.ID, ended bool) {
	in := bufio.NewReader(conn)
	for conn.SetReadDeadline(until); ; {
		m, _, err := wire.ReadFrom(in, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return open, false
		}
		if err != nil || m.Type() == wire.TypeClose {
			return open, true
		}
		got, ok := m.(*wire.Task)
		if !ok || silent {
			continue
		}
		c.tasks.Add(1)
		states := []task.State{task.Delivered, task.Succeeded}
		if rand.IntN(4) == 0 {
			states = states[:1]
		}
		signed, err := got.Signed.Task()
		if err != nil {
			c.b.t.Error(err)
			return open, true
		}
		if len(states) == 1 && !slices.Contains(open, signed.Operation) {
			open = append(open, signed.Operation)
		}
		for _, s := range states {
			out <- report(signed.Operation, s)
		}
	}
}
