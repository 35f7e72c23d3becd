package listener

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

func TestSpreadOf(t *testing.T) {
	for _, c := range []struct {
		agents int
		rate   float64
		least  time.Duration
		want   time.Duration
	}{
		{25_000, 1000, 5 * time.Second, 25 * time.Second},
		{10_000, 1000, 5 * time.Second, 10 * time.Second},
		{4_000, 1000, 5 * time.Second, 5 * time.Second},
		{0, 1000, 5 * time.Second, 5 * time.Second},
		{25_000, 1000, time.Minute, time.Minute},
		{1_000_000, 1000, 5 * time.Second, mostSpread},
	} {
		if got := spreadOf(c.agents, c.rate, c.least); got != c.want {
			t.Errorf("%d agents at %g a second, at least %s: %s, want %s", c.agents, c.rate, c.least, got, c.want)
		}
	}
}

func TestPace(t *testing.T) {
	var p pace
	if p.mean() != firstGuess || p.rate(1, 2) != 1000 || p.rate(1, 1) != 750 || p.rate(2, 2) != 1500 {
		t.Fatalf("at first %s, %g, %g and %g a second", p.mean(), p.rate(1, 2), p.rate(1, 1), p.rate(2, 2))
	}
	p.took(500 * time.Microsecond)
	if p.rate(1, 2) != 2000 {
		t.Fatalf("%g a second", p.rate(1, 2))
	}
	for range 10 * paceWeight {
		p.took(2 * time.Millisecond)
	}
	if r := p.rate(1, 2); r < 499 || r > 501 {
		t.Fatalf("%g a second", r)
	}
	p.took(100 * time.Millisecond) // once
	if r := p.rate(1, 2); r < 490 {
		t.Fatalf("%g a second after one whose turn was interrupted", r)
	}
	for range 20 * paceWeight {
		p.took(100 * time.Millisecond)
	}
	if r := p.rate(1, 2); r > 11 {
		t.Fatalf("%g a second on a machine that has become slow", r)
	}
	for range 20 * paceWeight {
		p.took(0)
	}
	for range 20 * paceWeight {
		p.took(2 * time.Millisecond)
	}
	if r := p.rate(1, 2); r > 501 {
		t.Fatalf("%g a second after handshakes that cost nothing", r)
	}
	p = pace{}
	p.took(0)
	if p.mean() <= 0 {
		t.Fatal("a handshake costs nothing")
	}
}

// What agents are told follows how many they are and what they cost.
func TestWelcomeSpread(t *testing.T) {
	var agents atomic.Int64
	b := newBench(t, func(c *Config) { c.Agents = func() int { return int(agents.Load()) } })
	spread := func() time.Duration {
		a := b.mustConnect(7)
		a.send(&wire.SignIn{Version: wire.Version})
		return expect[*wire.Welcome](a).Spread
	}
	if got := spread(); got != 5*time.Second {
		t.Fatalf("spread over %s", got)
	}
	if b.l.Stats().HandshakeCost == firstGuess {
		t.Fatal("no handshake was measured")
	}
	agents.Store(1 << 30)
	if got := spread(); got != mostSpread {
		t.Fatalf("spread over %s", got)
	}
	agents.Store(0)
	b.l.count.mostAgents.Store(1 << 30) // were here before
	if got := spread(); got != mostSpread || b.l.Stats().Spread != got {
		t.Fatalf("spread over %s", got)
	}
}

func TestRoom(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Sessions = 5000 })
	b.l.pace.took(time.Second)
	if n := b.l.room(); n != minimumRoom {
		t.Errorf("room for %d where a handshake takes a second", n)
	}
	b.l.pace = pace{}
	b.l.pace.took(time.Microsecond)
	if n := b.l.room(); n != 5000 {
		t.Errorf("room for %d where it takes nothing", n)
	}
	b.l.pace = pace{}
	b.l.pace.took(10 * time.Millisecond)
	if n, most := b.l.room(), int(mostWait.Seconds()*b.l.rate()); n != min(most, 5000) {
		t.Errorf("room for %d", n)
	}
	b.l.scarce.Store(true)
	if b.l.room() != 0 {
		t.Error("there is room without descriptors")
	}
}
