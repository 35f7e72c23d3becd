package listener

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// maxGrowth is what an attack may cost the listener, in KiB.
const maxGrowth = 64 << 10

// An attack is many connections that do the same, on one of the ports, each
// again as soon as it is over, until done.
type attack struct {
	name string
	port string // tcp or https
	one  func(h *hostile, c net.Conn)
}

// hostile is what attackers share.
type hostile struct {
	l    *lab
	done chan struct{}
	bomb []byte

	dialled atomic.Int64 // connections of this attack
}

// slowBytes sends a byte now and then, for ever.
func (h *hostile) slowBytes(c net.Conn, first string) {
	for i := 0; wait(h.done, 200*time.Millisecond); i++ {
		b := byte('x')
		if i < len(first) {
			b = first[i]
		}
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
	}
}

func (h *hostile) garbage(c net.Conn) {
	b := make([]byte, 64<<10)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	c.Write(b)
	io.Copy(io.Discard, c)
}

// hello is the beginning of a handshake, a byte now and then.
func (h *hostile) slowHello(c net.Conn) {
	h.slowBytes(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
}

func (h *hostile) halfOpen(c net.Conn) { io.Copy(io.Discard, c) }

func (h *hostile) noCertificate(c net.Conn) {
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{wire.ALPN}})
	conn.Write([]byte("let me in"))
	io.Copy(io.Discard, conn)
}

// as makes a session of a device that means no good.
func (h *hostile) as(c net.Conn) *tls.Conn {
	conn := tls.Client(c, h.l.pki.client(1<<20+rand.Uint32N(100)))
	hello, _ := wire.Append(nil, &wire.SignIn{Version: wire.Version})
	conn.Write(hello)
	go io.Copy(io.Discard, conn)
	return conn
}

func (h *hostile) endlessFrame(c net.Conn) {
	conn := h.as(c)
	conn.Write(append(binary.BigEndian.AppendUint32(nil, wire.MaxFrame-4), byte(wire.TypeInventory)))
	h.slowBytes(conn, "")
}

func (h *hostile) endlessFrames(c net.Conn) {
	conn := h.as(c)
	f, _ := wire.Append(nil, &wire.PolicyRequest{})
	for wait(h.done, 0) {
		if _, err := conn.Write(bytes.Repeat(f, 100)); err != nil {
			return
		}
	}
}

func (h *hostile) hugeLength(c net.Conn) {
	conn := h.as(c)
	conn.Write([]byte{0xff, 0xff, 0xff, 0xff, byte(wire.TypeInventory)})
	for wait(h.done, 0) {
		if _, err := conn.Write(make([]byte, 16<<10)); err != nil {
			return
		}
	}
}

func (h *hostile) postBomb(c net.Conn) {
	paths := []string{wire.JoinPath, "/renew", "/logs", "/"}
	req, _ := http.NewRequest(http.MethodPost, "https://listener.test"+paths[rand.IntN(len(paths))], bytes.NewReader(h.bomb))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if req.Write(conn) == nil {
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
	}
}

func (h *hostile) endlessBody(c net.Conn) {
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", wire.JoinPath)
	for wait(h.done, 0) {
		if _, err := fmt.Fprintf(conn, "2000\r\n%s\r\n", strings.Repeat(" ", 8<<10)); err != nil {
			return
		}
	}
}

func (h *hostile) slowHeaders(c net.Conn) {
	h.slowBytes(tls.Client(c, &tls.Config{InsecureSkipVerify: true}), "GET /livez HTTP/1.1\r\nHost: ")
}

func (h *hostile) endlessHeaders(c net.Conn) {
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	fmt.Fprintf(conn, "GET /livez HTTP/1.1\r\n")
	for i := 0; wait(h.done, 0); i++ {
		if _, err := fmt.Fprintf(conn, "X-%d: %s\r\n", i, strings.Repeat("x", 4<<10)); err != nil {
			return
		}
	}
}

var attacks = []attack{
	{"garbage", "tcp", (*hostile).garbage}, {"garbage", "https", (*hostile).garbage},
	{"slow hello", "tcp", (*hostile).slowHello}, {"slow hello", "https", (*hostile).slowHello},
	{"slow headers", "https", (*hostile).slowHeaders}, {"endless headers", "https", (*hostile).endlessHeaders},
	{"half-open", "tcp", (*hostile).halfOpen}, {"half-open", "https", (*hostile).halfOpen},
	{"no certificate", "tcp", (*hostile).noCertificate}, {"no certificate", "https", (*hostile).noCertificate},
	{"endless frame", "tcp", (*hostile).endlessFrame}, {"endless frames", "tcp", (*hostile).endlessFrames},
	{"huge length", "tcp", (*hostile).hugeLength}, {"bomb", "https", (*hostile).postBomb}, {"endless body", "https", (*hostile).endlessBody},
}

// run lets many connections attack until stop.
func (a *attack) run(h *hostile, connections int) (stop func()) {
	to := h.l.tcp
	if a.port == "https" {
		to = h.l.https
	}
	done := make(chan struct{})
	h.done = done
	h.dialled.Store(0)
	var all sync.WaitGroup
	for i := range connections {
		from := fmt.Sprintf("127.0.1.%d", 1+i/100)
		all.Go(func() {
			for pause := rand.N(100 * time.Millisecond); wait(h.done, pause); pause = time.Second + rand.N(time.Second) {
				c, err := dialFrom(from, to)
				if err != nil {
					continue
				}
				h.dialled.Add(1)
				over := make(chan struct{})
				go func() {
					select {
					case <-done: // not h's, which may be that of the next attack by now
					case <-over:
					}
					c.Close()
				}()
				a.one(h, c)
				close(over)
			}
		})
	}
	return func() { close(h.done); all.Wait() }
}

// TestHostile attacks a listener in every way on each port, while honest agents
// are served: its memory stays near its level, they lose nothing, and wait no
// longer than they should.
func TestHostile(t *testing.T) {
	agents, connections, during := 5, 12, 20*time.Millisecond
	if longLab() {
		agents, connections, during = 200, 1000, 10*time.Second
	}
	l := newLab(t)
	w := l.watch(0, agents)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 32 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	h := &hostile{l: l, bomb: bomb.Bytes()}
	calm := w.measure(during)
	say(t, map[string]any{"calm": calm})
	for i := range attacks {
		a := &attacks[i]
		before := l.order(order{Settle: true}).Resident
		l.order(order{Peak: true})
		stop := a.run(h, connections)
		for limit := time.Now().Add(patience); h.dialled.Load() < int64(connections) && time.Now().Before(limit); {
			time.Sleep(time.Millisecond)
		}
		under := w.measure(during)
		peak := l.order(order{}).Peak
		stop()
		say(t, map[string]any{"attack": a.name, "port": a.port, "under": under, "connections": h.dialled.Load(),
			"before KiB": before, "growth KiB": peak - before})
		if peak-before > maxGrowth {
			t.Errorf("%s on %s: memory grew by %d KiB, at most %d are taken", a.name, a.port, peak-before, maxGrowth)
		}
		if n := w.lost.Load(); n != 0 {
			t.Fatalf("%s on %s: %d honest sessions ended", a.name, a.port, n)
		}
	}
}

// measured is what honest agents notice, in milliseconds.
type measured struct{ PushP50, PushP99, KeepAliveP50, KeepAliveP99 float64 }

func (w *watch) measure(during time.Duration) measured {
	var push, ask []time.Duration
	for begun := time.Now(); len(push) == 0 || time.Since(begun) < during && !w.l.t.Failed(); {
		push = append(push, w.push()...)
		ask = append(ask, w.keepAlive()...)
	}
	return measured{percentile(push, 50), percentile(push, 99), percentile(ask, 50), percentile(ask, 99)}
}
