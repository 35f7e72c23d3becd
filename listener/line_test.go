package listener

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testLobby is a lobby, and what becomes of those who come.
type testLobby struct {
	*lobby
	t            *testing.T
	mu           sync.Mutex
	cut, refused []*visitor
}

func newTestLobby(t *testing.T, most, each, room int, slow time.Duration) *testLobby {
	b := &testLobby{t: t}
	note := func(all *[]*visitor) func(*visitor) {
		return func(v *visitor) {
			b.mu.Lock()
			defer b.mu.Unlock()
			*all = append(*all, v)
		}
	}
	b.lobby = newLobby(most, each, func() int { return room }, func() time.Duration { return slow }, note(&b.cut), note(&b.refused))
	return b
}

// comes is one from an address; served is closed when it has a place.
func (b *testLobby) comes(address string) (v *visitor, far net.Conn, served chan struct{}) {
	v, far = comesFrom(b.t, address)
	served = make(chan struct{})
	b.enter(v, func(*visitor) { close(served) })
	return v, far, served
}

func has(served chan struct{}) bool {
	select {
	case <-served:
		return true
	default:
		return false
	}
}

func TestLobbyCutsTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestLobby(t, 3, 2, 9, time.Second)
		first, _, served := b.comes("192.0.2.1")
		talks, far, served2 := b.comes("192.0.2.2")
		if !has(served) || !has(served2) {
			t.Fatal("no place")
		}
		pass(700 * time.Millisecond)
		if _, _, served := b.comes("192.0.2.1"); !has(served) {
			t.Fatal("no place")
		}
		far.Write([]byte("x")) // takes nothing off what it kept us waiting
		_, _, again := b.comes("192.0.2.1")
		pass(200 * time.Millisecond)
		talks.busy.Add(1) // it waits for us
		_, _, late := b.comes("192.0.2.3")
		if has(again) || has(late) {
			t.Fatal("one was let in while none was slow")
		}
		pass(100*time.Millisecond + lookAgain)
		if len(b.cut) != 1 || b.cut[0] != first || has(again) == has(late) {
			t.Fatalf("%d were cut", len(b.cut))
		}
		b.leave(first) // as its own goroutine does
		if b.len() != 3 || b.of["192.0.2.1"] > 2 || b.waits() != 1 {
			t.Fatalf("%d are in, %v, %d wait", b.len(), b.of, b.waits())
		}
		if _, err := first.Conn.Write([]byte("x")); err == nil {
			t.Fatal("the one that was cut is still connected")
		}
		b.close()
	})
}

// Those who do not hesitate lose their places to nobody: others wait.
func TestLobbyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestLobby(t, 1, 9, 9, time.Second)
		in, _, _ := b.comes("192.0.2.1")
		in.busy.Add(1)
		v, _, served := b.comes("192.0.2.2")
		v.busy.Add(1)
		pass(time.Minute)
		if has(served) || len(b.cut) != 0 {
			t.Fatal("two in a lobby for one")
		}
		begun := time.Now()
		b.leave(in)
		if !has(served) || !time.Now().Equal(begun) {
			t.Fatal("the place that became free was not taken at once")
		}
		_, far, third := b.comes("192.0.2.2")
		b.close()
		b.leave(v)
		if has(third) || len(b.refused) != 0 {
			t.Fatal("one got a place after the end, or it was said that it is too many")
		}
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Fatal("who waits at the end is still connected")
		}
		if _, _, late := b.comes("192.0.2.3"); has(late) {
			t.Fatal("one came in after the end")
		}
	})
}

// A crowd behind one address is served to its end, in its order, and keeps nobody
// else waiting for more than a turn.
func TestLobbyServesAddressesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestLobby(t, 3, 2, 1000, time.Hour)
		var crowd []chan struct{}
		var in []*visitor
		for range 100 {
			v, _, served := b.comes("192.0.2.1")
			crowd, in = append(crowd, served), append(in, v)
		}
		if _, _, served := b.comes("192.0.2.2"); !has(served) { // for the crowd has its two
			t.Fatal("another address has no place")
		}
		second, _, other := b.comes("192.0.2.3")
		for i := range 100 {
			if !has(crowd[i]) || i+2 < 100 && has(crowd[i+2]) {
				t.Fatalf("%d is not served in its order", i)
			}
			b.leave(in[i])
			if i == 1 {
				if !has(other) {
					t.Fatal("another address waits for more than a turn")
				}
				b.leave(second)
			}
		}
		if len(b.cut)+len(b.refused) != 0 {
			t.Fatal("one was turned away")
		}
		b.close()
	})
}

// Beyond the room that there is the longest line loses its last.
func TestLobbyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestLobby(t, 1, 1, 4, time.Hour)
		b.comes("192.0.2.9")
		var crowd []*visitor
		for range 6 {
			v, _, _ := b.comes("192.0.2.1")
			crowd = append(crowd, v)
		}
		if b.waits() != 4 || !slices.Equal(b.refused, crowd[4:]) {
			t.Fatalf("%d wait, %d were refused", b.waits(), len(b.refused))
		}
		b.comes("192.0.2.2")
		b.comes("192.0.2.3")
		if b.waits() != 4 || !slices.Equal(b.refused[2:], []*visitor{crowd[3], crowd[2]}) {
			t.Fatal("the crowd makes no room for others")
		}
		fourth, _, _ := b.comes("192.0.2.2")
		if b.refused[len(b.refused)-1] != fourth {
			t.Fatal("of lines that are as long the newcomer's is not the one that loses its last")
		}
		b.close()
	})
}

// Who comes from ever new addresses leaves nothing behind, served or not.
func TestLobbyForgetsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestLobby(t, 1, 1, 4, time.Hour)
		first, _, _ := b.comes("192.0.2.9")
		for i := range 100 {
			b.comes("198.51.100." + strconv.Itoa(i))
		}
		if len(b.lines) != 4 || b.turns.Len() != 4 || b.waits() != 4 || len(b.refused) != 96 {
			t.Errorf("%d lines and %d turns of %d who wait, %d were refused", len(b.lines), b.turns.Len(), b.waits(), len(b.refused))
		}
		b.leave(first)
		if len(b.lines) != 3 || b.turns.Len() != 3 || b.waits() != 3 {
			t.Errorf("%d lines and %d turns of %d who wait", len(b.lines), b.turns.Len(), b.waits())
		}
		b.close()
	})
}

// The time that an answer takes is not the client's, although the server reads on
// meanwhile.
func TestAnswersAreOurTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, far := comesFrom(t, "192.0.2.1") // and is read from
		synctest.Wait()
		request := (&http.Request{}).WithContext(context.WithValue(t.Context(), connectionKey{}, &counted{visitor: v}))
		kept := func(want time.Duration) {
			t.Helper()
			if d := v.keptWaiting(time.Now()); d != want {
				t.Errorf("kept us waiting for %s, want %s", d, want)
			}
		}
		done := awaited(request)
		time.Sleep(10 * time.Second)
		kept(0)
		done()
		kept(0)
		time.Sleep(2 * time.Second)
		kept(2 * time.Second)
		if _, err := far.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		kept(2 * time.Second)
		time.Sleep(time.Second)
		kept(3 * time.Second) // and begins to be waited for again
		v.Close()
	})
}

func TestLobbyUnderLoad(t *testing.T) {
	b := newTestLobby(t, 20, 10, 50, 0)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 200 {
				v, _, served := b.comes([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}[i%3])
				if b.len() > 20 || b.waits() > 50 {
					t.Error("too many")
				}
				if i%2 == 0 && has(served) {
					v.Close()
					b.leave(v)
				}
			}
		})
	}
	all.Wait()
	b.close()
	n := 0
	for _, of := range b.of {
		n += of
	}
	if n != len(b.in) || n > 20 || b.waits() != 0 || b.turns.Len() != 0 {
		t.Fatalf("%d are in, %d by address, %d wait", len(b.in), n, b.waits())
	}
}

// A fleet behind one address that comes back at once is served to the last, and
// nobody has to come twice.
func TestCrowdOfOneAddress(t *testing.T) {
	const agents = 150
	b := newBench(t, func(c *Config) {
		c.Limits.Handshakes, c.Limits.PerAddress, c.Limits.StrangerBurst, c.Limits.StrangerRate = 8, 4, 8, 1e-9
	})
	b.l.pace.took(time.Millisecond) // whatever else this machine does, there is room for all
	clients := make([]*tls.Config, agents)
	for i := range clients {
		clients[i] = b.pki.client(uint32(i + 1))
	}
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			if _, err := b.visit(c); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s := b.l.Stats(); s.SignIns != agents || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}
