package listener

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

func TestLastFile(t *testing.T) {
	for limit, want := range map[int]int{20_000: 20_000 - mostKept, 1024: 960, 0: 0} {
		if got := lastFile(limit); got != want {
			t.Errorf("of %d descriptors newcomers get up to %d, want %d", limit, got, want)
		}
	}
}

// awaitAccount waits until ok holds of the listener.
func (l *lab) awaitAccount(what string, ok func(account) bool) {
	l.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		a := l.order(order{Tell: true})
		if ok(a) {
			return
		}
		if time.Now().After(limit) {
			l.t.Fatalf("%s: %+v, %v", what, a.Stats, a.Said)
		}
	}
}

// A process without descriptors turns newcomers away and serves those who are signed
// in; when there are descriptors again, newcomers come in.
func TestNoDescriptors(t *testing.T) {
	l := newLabOf(t, labSetup{})
	b := &bench{t: t, pki: l.pki, dial: func() (net.Conn, error) { return net.Dial("tcp", l.tcp) }}
	in := b.signIn(1)
	for i, spare := range []int{1, 3} { // none is left, or none for newcomers
		before := l.order(order{}).Stats
		l.order(order{Spare: spare})
		turnedAway(t, b)
		in.send(&wire.KeepAlive{})
		expect[*wire.KeepAliveAck](in)
		l.order(order{Spare: -1})
		l.awaitAccount("said", func(a account) bool {
			return a.Stats.NoFiles > before.NoFiles && a.Said[strconv.Itoa(int(msgNoFiles))] > uint64(i) && a.Said[noFiles] > uint64(i)
		})
		for limit := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			if _, err := b.visit(l.pki.client(uint32(10 + i))); err == nil {
				break
			} else if time.Now().After(limit) {
				t.Fatalf("no device can sign in: %v", err)
			}
		}
	}
	in.alone()
}

// turnedAway connects, and stays, until a newcomer is told to go.
func turnedAway(t *testing.T, b *bench) {
	t.Helper()
	told := make(chan struct{}, 1)
	limit := time.After(patience)
	for {
		c, err := b.dial()
		if err != nil {
			continue // it was reset so soon
		}
		defer c.Close()
		go func() {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				select {
				case told <- struct{}{}:
				default:
				}
			}
		}()
		select {
		case <-told:
			return
		case <-limit:
			t.Fatal("newcomers are kept waiting")
		case <-time.After(2 * time.Millisecond):
		}
	}
}
