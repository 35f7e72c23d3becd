package load

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// At most gateWidth agents compute their first words at once; one that has spoken, or
// has left, makes room for another, once.
func TestGate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := NewGate()
	var in, most atomic.Int64
	var all sync.WaitGroup
	for i := range 4 * gateWidth {
		out, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := NewConn(out.(*net.TCPConn))
		t.Cleanup(func() { c.Close() })
		all.Go(func() {
			g.Enter(c)
			if n := in.Add(1); n > most.Load() {
				most.Store(n)
			}
			in.Add(-1)
			if i%2 == 0 {
				if _, err := c.Write([]byte("x")); err != nil {
					t.Error(err)
				}
			}
			c.Leave()
			c.Leave()
		})
	}
	all.Wait()
	if most.Load() > gateWidth || len(g) != 0 {
		t.Errorf("%d were in at once, %d still are", most.Load(), len(g))
	}
	for range gateWidth {
		g.Enter(new(Conn))
	}
	select {
	case g <- struct{}{}:
		t.Error("a full gate lets another one in")
	default:
	}
	new(Conn).Leave() // was never in
}
