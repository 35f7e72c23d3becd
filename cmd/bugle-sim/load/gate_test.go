package load

import (
	"net"
	"testing"
)

// As many agents as the gate is wide compute their first words at once. One that has
// spoken, or has left, makes room for another, once.
func TestGate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	g, first, second := NewGate(), NewConn(out.(*net.TCPConn)), new(Conn)
	g.Enter(first)
	g.Enter(second)
	for range gateWidth - 2 {
		g.Enter(new(Conn))
	}
	select {
	case g <- struct{}{}:
		t.Fatal("a full gate lets another one in")
	default:
	}
	in := make(chan struct{})
	go func() {
		g.Enter(new(Conn))
		close(in)
	}()
	for range 2 {
		if _, err := first.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	<-in // in the place of the first
	second.Leave()
	second.Leave()
	new(Conn).Leave() // was never in
	if len(g) != gateWidth-1 {
		t.Errorf("%d are in, want %d", len(g), gateWidth-1)
	}
}
