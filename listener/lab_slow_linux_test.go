package listener

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// TestSlowAgents pushes to agents that read, alone and beside two that do not:
// one that never reads and one that reads a byte a second. Both have more to get
// than their sockets hold, and come back whenever they are cut.
func TestSlowAgents(t *testing.T) {
	agents, rounds, pushes, backlog := 40, 1, 2, 300
	if longLab() {
		agents, rounds, pushes, backlog = 1000, 5, 20, 1000
	}
	l := newLab(t)
	w := l.watch(0, agents)
	stopped, crawling := uint32(agents+1), uint32(agents+2)
	for range backlog {
		l.open("logs.collect", 7<<10, stopped, crawling)
	}
	type round struct{ Alone, Beside float64 }
	var figures struct {
		Agents, Pushes int
		P99, P50       []round // milliseconds
		Ratio          float64
		Cut            uint64
	}
	figures.Agents, figures.Pushes = agents, pushes
	w.push() // warm
	var alone, beside []time.Duration
	for range rounds {
		a := w.pushes(pushes)
		stop := l.slow(stopped, crawling)
		b := w.pushes(pushes)
		stop()
		figures.P99 = append(figures.P99, round{percentile(a, 99), percentile(b, 99)})
		figures.P50 = append(figures.P50, round{percentile(a, 50), percentile(b, 50)})
		alone, beside = append(alone, a...), append(beside, b...)
	}
	figures.Ratio = percentile(beside, 99) / percentile(alone, 99)
	figures.Cut = l.order(order{}).Stats.TooSlow
	if n := w.lost.Load(); n != 0 {
		t.Errorf("%d honest sessions ended", n)
	}
	say(t, map[string]any{"slow agents": figures})
}

func (w *watch) pushes(n int) (took []time.Duration) {
	for range n {
		took = append(took, w.push()...)
	}
	return took
}

// slow signs two agents in that hardly read, again and again until stop. It
// returns once the listener is stuck with both: it has sent what their sockets
// hold.
func (l *lab) slow(stopped, crawling uint32) (stop func()) {
	l.t.Helper()
	done := make(chan struct{})
	var all sync.WaitGroup
	before := l.order(order{}).Stats.SignIns
	for device, read := range map[uint32]func(net.Conn){
		stopped:  func(net.Conn) { <-done },
		crawling: func(c net.Conn) { crawl(c, done) },
	} {
		config := l.pki.client(device)
		all.Go(func() {
			for wait(done, 0) {
				l.slowly(config, done, read)
			}
		})
	}
	for l.order(order{}).Stats.SignIns < before+2 {
		time.Sleep(10 * time.Millisecond)
	}
	for last := uint64(0); ; {
		now := l.order(order{}).Stats.Pushes
		if now == last {
			break
		}
		last = now
		time.Sleep(50 * time.Millisecond)
	}
	return func() { close(done); all.Wait() }
}

// slowly is one session of an agent that hardly reads.
func (l *lab) slowly(config *tls.Config, done <-chan struct{}, read func(net.Conn)) {
	raw, err := dialFrom("127.0.0.1", l.tcp)
	if err != nil {
		return
	}
	slowOn(raw, config, done, read)
}

// crawl reads a byte a second.
func crawl(c net.Conn, done <-chan struct{}) {
	b := make([]byte, 1)
	for wait(done, time.Second) {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// slowOn is slowly on a connection that stands. It closes it.
func slowOn(raw net.Conn, config *tls.Config, done <-chan struct{}, read func(net.Conn)) {
	defer raw.Close()
	raw.(*net.TCPConn).SetReadBuffer(4 << 10)
	conn := tls.Client(raw, config)
	hello, _ := wire.Append(nil, &wire.SignIn{Version: wire.Version, Agent: "slow"})
	if _, err := conn.Write(hello); err != nil {
		return
	}
	ended := make(chan struct{})
	go func() { // a session that is cut is seen by writing, for nothing is read
		defer close(ended)
		f, _ := wire.Append(nil, &wire.KeepAlive{})
		for wait(done, time.Second) {
			if _, err := conn.Write(f); err != nil {
				raw.Close()
				return
			}
		}
	}()
	go read(raw)
	select {
	case <-ended:
	case <-done:
	}
	raw.Close()
	<-ended
}

// wait waits; false means that done was closed.
func wait(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return false
	case <-t.C:
		return true
	}
}
