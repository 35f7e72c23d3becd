package listener

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// The tests of a laboratory run a listener in a process of its own, so that its
// memory is its own, and agents and attackers here. With labName set to "long"
// they are as large as the figures in BENCHMARKS.md; their results are printed as
// JSON.
const (
	labName   = "BUGLE_LISTENER_LAB"
	childName = "BUGLE_LISTENER_LAB_KEYS" // set in the process that is the listener
)

func longLab() bool { return os.Getenv(labName) == "long" }

// TestLabListener is the process that is the listener.
func TestLabListener(t *testing.T) {
	keys := os.Getenv(childName)
	if keys == "" {
		t.Skip("runs only as the listener of another test")
	}
	var k labKeys
	if err := json.Unmarshal([]byte(keys), &k); err != nil {
		t.Fatal(err)
	}
	c := &labChild{pki: k.pki(t), feed: make(script)}
	c.serve(t, os.NewFile(3, "orders"), os.NewFile(4, "answers"))
}

type labKeys struct {
	CA   []byte // the key, SEC 1
	Task ed25519.PrivateKey
}

func (k labKeys) pki(t testing.TB) *pki {
	t.Helper()
	ca, err := x509.ParseECPrivateKey(k.CA)
	if err != nil {
		t.Fatal(err)
	}
	return pkiOf(t, ca, k.Task)
}

func (p *pki) keys(t testing.TB) labKeys {
	t.Helper()
	ca, err := x509.MarshalECPrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return labKeys{ca, p.task}
}

// An order is what a test tells the listener's process, one JSON value a line.
type order struct {
	Open    []byte   `json:",omitempty"` // a signed task
	Devices []uint32 `json:",omitempty"`
	End     task.ID
	Settle  bool // collect garbage and give the memory back
	Peak    bool // forget the highest resident size so far
}

// An account is the answer.
type account struct {
	TCP, HTTPS     string // addresses
	Resident, Peak int    // KiB
	Fed            int64  // when the feed was told, Unix nanoseconds
	CPU            time.Duration
	Stats          Stats
}

type labChild struct {
	pki   *pki
	feed  script
	l     *Listener
	first account
	fed   time.Time
}

func (c *labChild) serve(t *testing.T, orders io.Reader, answers io.Writer) {
	tcp, https := listen(t), listen(t)
	body := bytes.Repeat([]byte("policy "), 2000)
	cfg := Config{Site: "P01", Name: "LAB", Epoch: 1, Certificate: always(c.pki.server), ClientCAs: c.pki.clientCAs, Log: quiet(),
		Feed: c.feed, Drop: func(box.Contents, time.Time, time.Time) error { return nil },
		Beacon: func(nonce [16]byte) ([]byte, error) {
			return (&task.Beacon{Site: "P01", Time: time.Now(), Nonce: nonce}).Sign(c.pki.task), nil
		},
		Policy: func(uint32, string) (Policy, error) { return Policy{ETag: "1", Signed: body}, nil },
		Join: func(context.Context, wire.JoinRequest, string) (wire.JoinReply, error) {
			return wire.JoinReply{}, &JoinRefused{403, "Not admitted", "the token is not known"}
		}}
	cfg.Limits.PerAddress = 256
	var err error
	if c.l, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := start(func() error { return c.l.Serve(ctx, tcp, https) })
	c.feed <- Whole{}
	c.first = account{TCP: tcp.Addr().String(), HTTPS: https.Addr().String()}
	in, out := json.NewDecoder(orders), json.NewEncoder(answers)
	for {
		var o order
		if err := in.Decode(&o); err != nil { // the test has ended
			break
		}
		c.obey(o)
		if err := out.Encode(c.account()); err != nil {
			break
		}
	}
	cancel()
	if err := served(); err != nil {
		t.Error(err)
	}
}

func (c *labChild) obey(o order) {
	switch {
	case o.Open != nil:
		targets, _ := task.NewTargets(slices.Values(o.Devices))
		c.fed = time.Now()
		c.feed <- OpenOperation{Signed: o.Open, Targets: targets}
	case !o.End.IsZero():
		c.feed <- EndOperation{ID: o.End}
	case o.Settle:
		runtime.GC()
		debug.FreeOSMemory()
	case o.Peak:
		os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	}
}

func (c *labChild) account() account {
	a := c.first
	a.Stats, a.Fed = c.l.Stats(), c.fed.UnixNano()
	a.CPU = usedCPU()
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch name {
		case "VmRSS":
			a.Resident = n
		case "VmHWM":
			a.Peak = n
		}
	}
	return a
}

// usedCPU is what this process has used.
func usedCPU() time.Duration {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A lab is a listener in a process of its own, as a test sees it.
type lab struct {
	t          testing.TB
	pki        *pki
	tcp, https string

	mu      sync.Mutex
	orders  *json.Encoder
	answers *json.Decoder
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, pki: newPKI(t)}
	tell, hear, ended := child(t, "TestLabListener", childName, l.pki.keys(t))
	l.orders, l.answers = json.NewEncoder(tell), json.NewDecoder(hear)
	t.Cleanup(ended)
	first := l.order(order{})
	l.tcp, l.https = first.TCP, first.HTTPS
	return l
}

// child runs a test of this binary in a process of its own, with what it is told in
// its environment, and a pipe each way. Ended waits for its end, which comes when
// tell is closed.
func child(t testing.TB, test, name string, told any) (tell io.WriteCloser, hear io.Reader, ended func()) {
	t.Helper()
	text, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	orders, w := pipe(t)
	r, answers := pipe(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), name+"="+string(text))
	cmd.ExtraFiles = []*os.File{orders, answers}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	orders.Close()
	answers.Close()
	return w, r, func() {
		w.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", test, err, said.String())
		}
		r.Close()
	}
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func (l *lab) order(o order) (a account) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.orders.Encode(o)
	if err == nil {
		err = l.answers.Decode(&a)
	}
	if err != nil {
		l.t.Errorf("the listener's process does not answer: %v", err)
	}
	return a
}

// open tells the listener of an operation, and returns when that was.
func (l *lab) open(kind string, size int, devices ...uint32) (task.ID, time.Time) {
	l.t.Helper()
	targets := targetsOf(l.t, devices...)
	l.pki.ops++
	now := time.Now()
	tk := task.Task{Site: "P01", Operation: task.NewID(now.Add(l.pki.ops * time.Millisecond)), Kind: kind, Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: now, DeliverBy: now.Add(time.Hour), RunTimeout: time.Hour, Requested: now}
	if size > 0 {
		tk.Params = []byte(`{"x":"` + strings.Repeat("x", size) + `"}`)
	}
	signed, err := tk.Sign(l.pki.task)
	if err != nil {
		l.t.Fatal(err)
	}
	a := l.order(order{Open: signed, Devices: devices})
	return tk.Operation, time.Unix(0, a.Fed)
}

// dialFrom connects from an address of this machine: strangers are counted by it.
func dialFrom(ip, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	return d.Dial("tcp", to)
}

// A watch is honest agents that are signed in over TCP: they take pushes and
// keep alive, and note how long that takes.
type watch struct {
	l       *lab
	devices []uint32
	agents  []*honest
	turn    int          // of who asks next
	lost    atomic.Int64 // sessions that ended by themselves
	over    atomic.Bool

	policies atomic.Int64 // received
}

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
	for _, a := range w.agents {
		go w.read(a)
	}
	l.t.Cleanup(w.close)
	return w
}

func (l *lab) honest(config *tls.Config) (*honest, error) {
	raw, err := dialFrom("127.0.0.1", l.tcp)
	if err != nil {
		return nil, err
	}
	a := &honest{conn: tls.Client(raw, config), tasks: make(chan time.Time, 4096), acks: make(chan time.Time, 16)}
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
			a.tasks <- time.Now()
		case *wire.KeepAliveAck:
			a.acks <- time.Now()
		case *wire.Policy:
			w.policies.Add(1)
		}
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
	took = collect(w.l.t, w.agents, func(a *honest) <-chan time.Time { return a.tasks }, begun)
	w.l.order(order{End: id})
	return took
}

// keepAlive lets some agents ask, one after the other, and returns how long each
// waited.
func (w *watch) keepAlive(n int) (took []time.Duration) {
	w.l.t.Helper()
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

// say prints figures.
func say(t testing.TB, figures any) {
	t.Helper()
	b, err := json.Marshal(figures)
	if err != nil {
		t.Fatal(err)
	}
	if longLab() {
		fmt.Println(string(b))
	} else {
		t.Log(string(b))
	}
}
