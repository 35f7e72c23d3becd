package listener

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
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
	told := os.Getenv(childName)
	if told == "" {
		t.Skip("runs only as the listener of another test")
	}
	c := &labChild{feed: make(script), said: make(map[string]uint64)}
	if err := json.Unmarshal([]byte(told), &c.setup); err != nil {
		t.Fatal(err)
	}
	c.pki = c.setup.Keys.pki(t)
	c.serve(t, os.NewFile(3, "orders"), os.NewFile(4, "answers"))
}

// A labSetup is what the listener's process is told.
type labSetup struct {
	Keys       labKeys
	Limits     Limits
	SendBuffer int           // of the kernel, for each connection; 0 is what it likes
	Write      time.Duration // see [times]; 0 is the usual
	Park       Park
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
	Hold    bool // say what is held
	Tell    bool // say in files who was refused, at once
	Spare   int  // descriptors that it may open from now on, -1: as many as the system lets it
}

// An account is the answer.
type account struct {
	TCP, HTTPS     string // addresses
	Resident, Peak int    // KiB
	Fed            int64  // when the feed was told, Unix nanoseconds
	CPU            time.Duration
	Stats          Stats
	Held           held
	Said           map[string]uint64 // how often each status message was said, and each refusal counted
}

type labChild struct {
	setup labSetup
	pki   *pki
	feed  script
	l     *Listener
	first account
	fed   time.Time

	mu   sync.Mutex
	said map[string]uint64
}

func (c *labChild) serve(t *testing.T, orders io.Reader, answers io.Writer) {
	tcp, https := c.listen(t), c.listen(t)
	body := bytes.Repeat([]byte("policy "), 2000)
	cfg := Config{Site: "P01", Name: "LAB", Epoch: 1, Certificate: always(c.pki.server), ClientCAs: c.pki.clientCAs, Log: quiet(),
		Feed: c.feed, Drop: c.drop, Limits: c.setup.Limits, Park: c.setup.Park,
		Beacon: func(nonce [16]byte) ([]byte, error) {
			return (&task.Beacon{Site: "P01", Time: time.Now(), Nonce: nonce}).Sign(c.pki.task), nil
		},
		Policy: func(uint32, string) (Policy, error) { return Policy{ETag: "1", Signed: body}, nil },
		Join: func(context.Context, wire.JoinRequest, string) (wire.JoinReply, error) {
			return wire.JoinReply{}, &JoinRefused{403, "Not admitted", "the token is not known"}
		}}
	var err error
	if c.l, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	c.l.times.write = cmp.Or(c.setup.Write, c.l.times.write)
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
		a := c.account()
		if o.Hold {
			a.Held = c.l.held()
		}
		if err := out.Encode(a); err != nil {
			break
		}
	}
	cancel()
	if err := served(); err != nil {
		t.Error(err)
	}
}

// drop takes a file as a disk does: with a descriptor.
func (c *labChild) drop(f box.Contents, _, _ time.Time) error {
	disk, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer disk.Close()
	s, ok := f.(*box.Status)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range s.Records {
		switch r.Type {
		case box.Message:
			c.said[strconv.Itoa(int(r.Number))]++
		case box.Refused:
			c.said[r.Text] += uint64(r.Count)
		}
	}
	return nil
}

// listen opens a port. What its connections may send before somebody reads is
// bounded as it is on a real network, if the setup says so.
func (c *labChild) listen(t testing.TB) net.Listener {
	t.Helper()
	var cfg net.ListenConfig
	cfg.Control = func(_, _ string, raw syscall.RawConn) (err error) {
		if c.setup.SendBuffer == 0 {
			return nil
		}
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, c.setup.SendBuffer)
		}), err)
	}
	l, err := cfg.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// spare lets the process open n descriptors more, or as many as it may.
func spare(n int) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	limit.Cur = limit.Max
	if files, err := os.ReadDir("/proc/self/fd"); err == nil && n >= 0 {
		limit.Cur = uint64(len(files) + n)
	}
	unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
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
	case o.Tell:
		c.l.status.tell()
	case o.Spare != 0:
		spare(o.Spare)
	}
}

func (c *labChild) account() account {
	a := c.first
	a.Stats, a.Fed = c.l.Stats(), c.fed.UnixNano()
	a.CPU = usedCPU()
	c.mu.Lock()
	a.Said = maps.Clone(c.said)
	c.mu.Unlock()
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

// A lab is a listener in a process of its own, as a test sees it.
type lab struct {
	t          testing.TB
	pki        *pki
	tcp, https string
	readBuffer int  // of the kernel, for each agent; 0 is what it likes
	back       bool // an agent whose session ends signs in again

	mu      sync.Mutex
	orders  *json.Encoder
	answers *json.Decoder
}

func newLab(t testing.TB) *lab {
	t.Helper()
	return newLabOf(t, labSetup{Limits: Limits{PerAddress: 256}})
}

func newLabOf(t testing.TB, setup labSetup) *lab {
	t.Helper()
	l := &lab{t: t, pki: newPKI(t)}
	setup.Keys = l.pki.keys(t)
	tell, hear, ended := child(t, "TestLabListener", childName, setup)
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
	_, tell, hear, ended = childProcess(t, test, name, told)
	return tell, hear, ended
}

func childProcess(t testing.TB, test, name string, told any) (process *os.Process, tell io.WriteCloser, hear io.Reader, ended func()) {
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
	return cmd.Process, w, r, func() {
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
