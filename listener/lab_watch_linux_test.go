package listener

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// A watch is honest agents that are signed in over TCP: they take pushes and
// keep alive, and note how long that takes.
type watch struct {
	l       *lab
	devices []uint32
	agents  []*honest
	turn    int          // of who asks next
	lost    atomic.Int64 // sessions that ended by themselves
	over    atomic.Bool
	crew    *crew // holds the agents in a process of its own; nil: they are here

	policies atomic.Int64 // received
}

// maxUncollected is how many tasks an agent notes that nobody asks for.
const maxUncollected = 16

type honest struct {
	conn   *tls.Conn
	tasks  chan time.Time
	acks   chan time.Time
	sendMu sync.Mutex
}

// watch signs n agents in, whose numbers begin behind first.
func (l *lab) watch(first, n int) *watch {
	l.t.Helper()
	w := &watch{l: l, devices: make([]uint32, n), agents: make([]*honest, n)}
	var all sync.WaitGroup
	few := make(chan struct{}, 32)
	for i := range n {
		w.devices[i] = uint32(first + i + 1)
		config := l.pki.client(w.devices[i])
		all.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			a, err := l.honest(config)
			if err != nil {
				l.t.Errorf("sign in: %v", err)
				return
			}
			w.agents[i] = a
		})
	}
	all.Wait()
	if l.t.Failed() {
		l.t.FailNow()
	}
	for i, a := range w.agents {
		go w.stay(a, w.devices[i])
	}
	l.t.Cleanup(w.close)
	return w
}

func (l *lab) honest(config *tls.Config) (*honest, error) {
	raw, err := dialFrom("127.0.0.1", l.tcp)
	if err != nil {
		return nil, err
	}
	if l.readBuffer > 0 {
		raw.(*net.TCPConn).SetReadBuffer(l.readBuffer)
	}
	a := &honest{conn: tls.Client(raw, config), tasks: make(chan time.Time, maxUncollected), acks: make(chan time.Time, maxUncollected)}
	return a, a.send(&wire.SignIn{Version: wire.Version, Agent: "honest"})
}

func (a *honest) send(m wire.Message) error {
	f, err := wire.Append(nil, m)
	if err != nil {
		return err
	}
	a.sendMu.Lock()
	defer a.sendMu.Unlock()
	_, err = a.conn.Write(f)
	return err
}

// stay reads, and signs in again if the laboratory says so.
func (w *watch) stay(a *honest, device uint32) {
	for w.read(a); w.l.back && !w.over.Load(); time.Sleep(time.Second) {
		a.conn.Close()
		again, err := w.l.honest(w.l.pki.client(device))
		if err == nil {
			w.read(again)
			again.conn.Close()
		}
	}
}

func (w *watch) read(a *honest) {
	r := bufio.NewReader(a.conn)
	var buf []byte
	for {
		m, b, err := wire.ReadFrom(r, buf)
		if err != nil {
			if !w.over.Load() {
				w.lost.Add(1)
			}
			return
		}
		buf = b
		switch m.(type) {
		case *wire.Task:
			note(a.tasks)
		case *wire.KeepAliveAck:
			note(a.acks)
		case *wire.Policy:
			w.policies.Add(1)
		}
	}
}

func note(at chan time.Time) {
	select {
	case at <- time.Now():
	default:
	}
}

func (w *watch) close() {
	w.over.Store(true)
	for _, a := range w.agents {
		a.conn.Close()
	}
}

// push sends one operation to all, and returns how long each waited for it.
func (w *watch) push() (took []time.Duration) {
	w.l.t.Helper()
	id, begun := w.l.open("scan.quick", 0, w.devices...)
	took = w.collect(begun)
	w.l.order(order{End: id})
	return took
}

// collect returns how long each agent waited for a task.
func (w *watch) collect(begun time.Time) []time.Duration {
	if w.crew != nil {
		return w.crew.order(crewOrder{Begun: begun.UnixNano()}).Took
	}
	return collect(w.l.t, w.agents, func(a *honest) <-chan time.Time { return a.tasks }, begun)
}

// ended is how many sessions ended by themselves.
func (w *watch) ended() int64 {
	if w.crew != nil {
		return w.crew.order(crewOrder{}).Lost
	}
	return w.lost.Load()
}

// keepAlive lets some agents ask, one after the other, and returns how long each
// waited.
func (w *watch) keepAlive(n int) (took []time.Duration) {
	w.l.t.Helper()
	if w.crew != nil {
		return w.crew.order(crewOrder{Asks: n}).Took
	}
	for range min(n, len(w.agents)) {
		a := w.agents[w.turn%len(w.agents)]
		w.turn++
		begun := time.Now()
		if err := a.send(&wire.KeepAlive{}); err != nil {
			w.l.t.Errorf("keep alive: %v", err)
			return took
		}
		took = append(took, collect(w.l.t, []*honest{a}, func(a *honest) <-chan time.Time { return a.acks }, begun)...)
	}
	return took
}

func collect(t testing.TB, agents []*honest, from func(*honest) <-chan time.Time, begun time.Time) (took []time.Duration) {
	t.Helper()
	limit := time.After(patience)
	for _, a := range agents {
		select {
		case at := <-from(a):
			took = append(took, at.Sub(begun))
		case <-limit:
			t.Error("an honest agent got no answer")
			return took
		}
	}
	return took
}

// percentile is in milliseconds.
func percentile(took []time.Duration, p int) float64 {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(took), cmp.Compare[time.Duration])
	return float64(sorted[(len(sorted)-1)*p/100].Microseconds()) / 1000
}
