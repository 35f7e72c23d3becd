package listener

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	pki  *pki
	done chan struct{}
	bomb []byte
	slow []uint32 // devices that hardly read

	next    atomic.Int64 // of them
	dialled atomic.Int64 // connections
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
	conn := tls.Client(c, h.pki.client(1<<20+rand.Uint32N(100)))
	hello, _ := wire.Append(nil, &wire.SignIn{Version: wire.Version})
	conn.Write(hello)
	go io.Copy(io.Discard, conn)
	return conn
}

// crawling is one of the slow devices: it reads a byte a second.
func (h *hostile) crawling(c net.Conn) {
	device := h.slow[int(h.next.Add(1))%len(h.slow)]
	slowOn(c, h.pki.client(device), h.done, func(c net.Conn) { crawl(c, h.done) })
}

// flood is a device that sends what costs more than it says.
func flood(more func(*forger)) func(*hostile, net.Conn) {
	return func(h *hostile, c net.Conn) {
		f, err := forgerOn(c, h.pki.client(1<<20+rand.Uint32N(100)))
		if err != nil {
			return
		}
		f.message(&wire.SignIn{Version: wire.Version})
		for wait(h.done, 0) && f.flush() {
			for range floodBatch {
				more(f)
			}
		}
	}
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

var floodAttacks = func() (all []attack) {
	for _, name := range slices.Sorted(maps.Keys(floods)) {
		all = append(all, attack{name, "tcp", flood(floods[name])})
	}
	return all
}()

var attacks = append([]attack{
	{"garbage", "tcp", (*hostile).garbage}, {"garbage", "https", (*hostile).garbage},
	{"slow hello", "tcp", (*hostile).slowHello}, {"slow hello", "https", (*hostile).slowHello},
	{"slow headers", "https", (*hostile).slowHeaders}, {"endless headers", "https", (*hostile).endlessHeaders},
	{"half-open", "tcp", (*hostile).halfOpen}, {"half-open", "https", (*hostile).halfOpen},
	{"no certificate", "tcp", (*hostile).noCertificate}, {"no certificate", "https", (*hostile).noCertificate},
	{"endless frame", "tcp", (*hostile).endlessFrame}, {"endless frames", "tcp", (*hostile).endlessFrames},
	{"huge length", "tcp", (*hostile).hugeLength}, {"bomb", "https", (*hostile).postBomb}, {"endless body", "https", (*hostile).endlessBody},
}, floodAttacks...)

// crawlers are run with the slow devices alone.
var crawlers = attack{"crawling", "tcp", (*hostile).crawling}

// run lets many connections attack until done.
func (a *attack) run(h *hostile, to string, connections int) {
	var all sync.WaitGroup
	for i := range connections {
		from := attacker(i / 100)
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
					case <-h.done:
					case <-over:
					}
					c.Close()
				}()
				a.one(h, c)
				close(over)
			}
		})
	}
	all.Wait()
}

// attacker is an address from which a hundred connections attack.
func attacker(i int) string { return fmt.Sprintf("127.0.1.%d", 1+i) }

const (
	attackName = "BUGLE_LISTENER_LAB_ATTACK" // set in the process that attacks
	niceName   = "BUGLE_LISTENER_LAB_NICE"   // how nice that is to the others, who share its processors
)

// An assault is what the process that attacks is told.
type assault struct {
	Keys        labKeys
	Attack      int
	To          string
	Connections int
	Slow        []uint32
}

// A toll is what it tells: once all have connected, and at the end.
type toll struct {
	Connections int64
	CPU         time.Duration
}

// TestLabAttackers is the process that attacks.
func TestLabAttackers(t *testing.T) {
	told := os.Getenv(attackName)
	if told == "" {
		t.Skip("runs only as the attackers of another test")
	}
	var a assault
	if err := json.Unmarshal([]byte(told), &a); err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(os.Getenv(niceName)); err == nil {
		unix.Setpriority(unix.PRIO_PROCESS, 0, n)
	}
	h := &hostile{done: make(chan struct{}), bomb: zipBomb(), pki: a.Keys.pki(t), slow: a.Slow}
	tell := json.NewEncoder(os.NewFile(4, "answers"))
	over := start(func() error { attackOf(a.Attack).run(h, a.To, a.Connections); return nil })
	h.connected(a.Connections)
	tell.Encode(toll{h.dialled.Load(), usedCPU()})
	io.Copy(io.Discard, os.NewFile(3, "orders")) // until the test has enough
	close(h.done)
	over()
	tell.Encode(toll{h.dialled.Load(), usedCPU()})
}

// connected waits until so many connections were made.
func (h *hostile) connected(n int) {
	for limit := time.Now().Add(patience); h.dialled.Load() < int64(n) && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
}

var zipBomb = sync.OnceValue(func() []byte {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 32 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	return bomb.Bytes()
})

// attackOf is one of attacks, or -1: crawlers.
func attackOf(i int) *attack {
	if i < 0 {
		return &crawlers
	}
	return &attacks[i]
}

// attack begins an attack, in a process of its own if its figures matter. The slow
// are devices of [crawlers].
func (l *lab) attack(i, connections int, slow ...uint32) (stop func() toll) {
	l.t.Helper()
	a := assault{Keys: l.pki.keys(l.t), Attack: i, To: l.tcp, Connections: connections, Slow: slow}
	if attackOf(i).port == "https" {
		a.To = l.https
	}
	if !longLab() {
		h := &hostile{done: make(chan struct{}), bomb: zipBomb(), pki: l.pki, slow: slow}
		over := start(func() error { attackOf(i).run(h, a.To, connections); return nil })
		h.connected(connections)
		return func() toll { close(h.done); over(); return toll{h.dialled.Load(), 0} }
	}
	tell, hear, ended := child(l.t, "TestLabAttackers", attackName, a)
	answers := json.NewDecoder(hear)
	var begun, all toll
	if err := answers.Decode(&begun); err != nil {
		l.t.Errorf("attackers: %v", err)
	}
	return func() toll {
		tell.Close()
		if err := answers.Decode(&all); err != nil {
			l.t.Errorf("attackers: %v", err)
		}
		ended()
		return toll{all.Connections, all.CPU - begun.CPU}
	}
}

// TestHostile attacks a listener in every way on each port, while honest agents
// are served: its memory stays near its level, they lose nothing, and wait no
// longer than they should. Others can still come in, also from the address of an
// attacker.
func TestHostile(t *testing.T) {
	agents, connections, during := 5, 12, 10*time.Millisecond
	if longLab() {
		agents, connections, during = 200, 1000, 20*time.Second
	}
	l := newLab(t)
	w := l.watch(0, agents)
	for i, a := range attacks {
		t.Run(a.name+"/"+a.port, func(t *testing.T) { w.attacked(t, i, connections, during) })
	}
}

// TestOneFloods lets one device send what costs more than it says, of each kind: what
// it makes the listener compute is what a device may.
func TestOneFloods(t *testing.T) {
	if !longLab() {
		t.Skip("only measures; TestFloods and TestHostile test it")
	}
	w := newLab(t).watch(0, 200)
	for i := range floodAttacks {
		i += len(attacks) - len(floodAttacks)
		t.Run(attacks[i].name, func(t *testing.T) { w.attacked(t, i, 1, 10*time.Second) })
	}
}

func (w *watch) attacked(t *testing.T, i, connections int, during time.Duration) {
	calm, idle := w.measured(during / 4)
	before := w.l.order(order{Settle: true}).Resident
	w.l.order(order{Peak: true})
	lost := w.ended()
	stop := w.l.attack(i, connections)
	guests := w.l.newcomers(attacker(0), "127.0.2.1")
	begun := time.Now()
	under, busy := w.measured(during)
	now, took := w.l.order(order{}), time.Since(begun)
	came := guests()
	cost := stop()
	a := attacks[i]
	say(t, map[string]any{"attack": a.name, "port": a.port, "calm": calm, "under": under, "connections": cost.Connections,
		"before KiB": before, "growth KiB": now.Peak - before, "listener cores": busy, "calm listener cores": idle, "attackers' cores": cost.CPU.Seconds() / took.Seconds(),
		"from an attacker's address": came[0], "from another": came[1]})
	if now.Peak-before > maxGrowth {
		t.Errorf("memory grew by %d KiB, at most %d are taken", now.Peak-before, maxGrowth)
	}
	if n := w.ended() - lost; n != 0 {
		t.Errorf("%d honest sessions ended", n)
	}
	for _, c := range came {
		if c.SignedIn == 0 {
			t.Errorf("nobody could sign in: %+v", came)
		}
	}
}

// arrivals are devices that came one after the other from an address.
type arrivals struct {
	SignedIn, Attempts int
	P50, Max           float64 // milliseconds from the first attempt
}

// newcomers lets devices sign in from addresses, one after the other at each, each
// as often as it takes; stop returns how they fared, once one more came from each.
func (l *lab) newcomers(addresses ...string) (stop func() []arrivals) {
	done := make(chan struct{})
	all := make([]arrivals, len(addresses))
	var under sync.WaitGroup
	for i, from := range addresses {
		config := make([]*tls.Config, 50)
		for n := range config {
			config[n] = l.pki.client(uint32(1<<19 + 1000*i + n))
		}
		under.Go(func() {
			var took []time.Duration
			for n := 0; n == 0 || wait(done, 50*time.Millisecond); n++ {
				begun := time.Now()
				for all[i].Attempts++; !l.comes(from, config[n%len(config)]) && time.Since(begun) < patience; all[i].Attempts++ {
					time.Sleep(200 * time.Millisecond)
				}
				if d := time.Since(begun); d < patience {
					took = append(took, d)
				}
			}
			all[i].SignedIn, all[i].P50, all[i].Max = len(took), percentile(took, 50), percentile(took, 100)
		})
	}
	return func() []arrivals { close(done); under.Wait(); return all }
}

// comes tells whether a device could sign in; then it leaves.
func (l *lab) comes(from string, config *tls.Config) bool {
	raw, err := dialFrom(from, l.tcp)
	if err != nil {
		return false
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(10 * time.Second))
	conn := tls.Client(raw, config)
	hello, _ := wire.Append(nil, &wire.SignIn{Version: wire.Version, Agent: "newcomer"})
	if _, err := conn.Write(hello); err != nil {
		return false
	}
	m, _, err := wire.ReadFrom(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	_, welcome := m.(*wire.Welcome)
	bye, _ := wire.Append(nil, &wire.Bye{})
	conn.Write(bye)
	return welcome
}

// measured is what honest agents notice, in milliseconds.
type measured struct {
	PushP50, PushP99           float64 // of all agents and pushes
	PushTypical                float64 // median of the 99th percentiles of the pushes: a machine that is away for a moment does not move it
	KeepAliveP50, KeepAliveP99 float64
}

// measured measures, and says how many processors the listener used meanwhile.
func (w *watch) measured(during time.Duration) (m measured, cores float64) {
	cpu, begun := w.l.order(order{}).CPU, time.Now()
	m = w.measure(during)
	return m, (w.l.order(order{}).CPU - cpu).Seconds() / time.Since(begun).Seconds()
}

func (w *watch) measure(during time.Duration) measured {
	var push, ask, each []time.Duration
	lost := w.ended()
	for begun := time.Now(); len(push) == 0 || time.Since(begun) < during && w.ended() == lost; {
		took := w.push()
		push, each = append(push, took...), append(each, time.Duration(percentile(took, 99)*float64(time.Millisecond)))
		ask = append(ask, w.keepAlive(20)...)
	}
	return measured{percentile(push, 50), percentile(push, 99), percentile(each, 50), percentile(ask, 50), percentile(ask, 99)}
}
