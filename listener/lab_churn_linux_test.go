package listener

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// TestChurnOverSockets lets devices come and go over TCP, with full handshakes and
// resumed ones, as fast as they can: when all have gone nothing of them is left.
// The short form counts visits, so that no device comes more often than deviceSignIns,
// and none is refused. The long form takes ten minutes.
func TestChurnOverSockets(t *testing.T) {
	rounds, during, devices, want := 3, time.Duration(0), 4*travelWorkers, int64(travelWorkers*(leastVisits+1))
	if longLab() {
		rounds, during, devices, want = 10, time.Minute, 4000, 0
	}
	l := newLab(t)
	travellers := l.travellers(devices)
	travellers.travel(0) // opens what the listener keeps open
	begun := l.settled(held{}).Held
	var all []held
	for i := range rounds {
		cpu, since := l.order(order{}).CPU, time.Now()
		came, resumed := travellers.travel(during)
		took := time.Since(since)
		a := l.settled(begun)
		all = append(all, a.Held)
		say(t, map[string]any{"churn over sockets": i + 1, "sign-ins": came, "of them resumed": resumed, "a second": float64(came) / took.Seconds(),
			"CPU us each": float64((a.CPU - cpu).Microseconds()) / float64(max(came, 1)), "resident KiB": a.Resident, "held": a.Held})
		if came == 0 || resumed == 0 {
			t.Fatalf("%d sign-ins, %d of them resumed", came, resumed)
		}
		if want != 0 && came != want {
			t.Errorf("%d sign-ins, want %d", came, want)
		}
	}
	flat(t, begun, all, Limits{Sessions: 20_000})
}

// settled waits until the listener holds what it did at rest; nothing if that is not
// known yet.
func (l *lab) settled(begun held) (a account) {
	for limit := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		a = l.order(order{Hold: true, Settle: true})
		h := a.Held
		calm := begun == held{} || h.Goroutines <= begun.Goroutines+ofRuntime && h.Descriptors <= begun.Descriptors
		if h.like(begun) == begun && calm || time.Now().After(limit) {
			return a
		}
	}
}

// travellers are devices that come and go over TCP.
type travellers struct {
	l       *lab
	full    []*tls.Config // of each device
	again   []*tls.Config // the same, with what resumes its session
	came    atomic.Int64
	resumed atomic.Int64
}

const (
	travelWorkers = 32
	leastVisits   = 6 // of each worker; one of them comes twice
)

func (l *lab) travellers(n int) *travellers {
	v := &travellers{l: l}
	for i := range n {
		c := l.pki.client(uint32(i + 1))
		again := c.Clone()
		again.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		v.full, v.again = append(v.full, c), append(v.again, again)
	}
	return v
}

// travel lets them come and go for a while, and each worker leastVisits times if it is
// shorter. No device comes twice at once, unless it displaces itself.
func (v *travellers) travel(during time.Duration) (came, resumed int64) {
	v.came.Store(0)
	v.resumed.Store(0)
	until := time.Now().Add(during)
	var all sync.WaitGroup
	for w := range travelWorkers {
		all.Go(func() {
			for n, i := 0, w; n < leastVisits || time.Now().Before(until); n++ {
				v.come(i, n)
				if i += travelWorkers; i >= len(v.full) {
					i = w % len(v.full)
				}
			}
		})
	}
	all.Wait()
	return v.came.Load(), v.resumed.Load()
}

// come is the nth session of a worker: how it ends goes by that.
func (v *travellers) come(i, n int) {
	config := v.full[i]
	if n%2 == 1 {
		config = v.again[i]
	}
	raw, conn := v.signIn(fmt.Sprintf("127.0.3.%d", 1+i%8), config)
	if conn == nil {
		return
	}
	defer raw.Close()
	switch n % 5 {
	case 0:
		tell(conn, &wire.Bye{})
		awaitEnd(conn)
	case 1:
		raw.(*net.TCPConn).SetLinger(0)
	case 2:
		if second, c := v.signIn("127.0.3.9", v.again[i]); c != nil {
			awaitEnd(conn)
			second.Close()
		}
	case 3:
		tell(conn, &wire.KeepAliveAck{})
		awaitEnd(conn)
	}
}

// signIn is nil if the listener says no.
func (v *travellers) signIn(from string, config *tls.Config) (raw net.Conn, conn *tls.Conn) {
	raw, err := dialFrom(from, v.l.tcp)
	if err != nil {
		return nil, nil
	}
	conn = tls.Client(raw, config)
	raw.SetDeadline(time.Now().Add(patience))
	if tell(conn, &wire.SignIn{Version: wire.Version, Agent: "traveller"}) == nil {
		if m, _, err := wire.ReadFrom(bufio.NewReader(conn), nil); err == nil && m.Type() == wire.TypeWelcome {
			v.came.Add(1)
			if conn.ConnectionState().DidResume {
				v.resumed.Add(1)
			}
			return raw, conn
		}
	}
	raw.Close()
	return nil, nil
}
