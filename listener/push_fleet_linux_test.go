package listener

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// BenchmarkPushFleet pushes one task to agents that are signed in over TLS, each of
// which answers it, until every answer is acknowledged out of files that are on disk.
// The listener is a process of its own on one processor, the agents are on another.
// fleetName says how many there are.
const (
	fleetName    = "BUGLE_PUSH_AGENTS"
	fleetProfile = "BUGLE_PUSH_PROFILE" // a file for the listener's profile
	fleetPark    = "BUGLE_PUSH_PARK"    // what is kept of a session
	fleetChild   = "BUGLE_PUSH_LISTENER"
)

type fleetOrder struct {
	Open    []byte `json:",omitempty"`
	Devices int
	End     task.ID
	Heap    string `json:",omitempty"` // a file for the profile of what is held
}

type fleetAccount struct {
	TCP      string
	Fed      int64 // when the feed was told, Unix nanoseconds
	CPU      time.Duration
	Resident int // KiB
	Held     uint64
	Stats    Stats
}

// TestFleetListener is the process that is the listener.
func TestFleetListener(t *testing.T) {
	text := os.Getenv(fleetChild)
	if text == "" {
		t.Skip("runs only as the listener of a benchmark")
	}
	var keys labKeys
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		t.Fatal(err)
	}
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	spool, err := box.OpenSpool(t.TempDir(), box.SpoolConfig{Site: "P01", Listener: "FLEET", Epoch: 1, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	feed := make(script)
	b := newBenchOn(t, tcp, nil, nil, usual, func(c *Config) {
		c.ClientCAs, c.Certificate = keys.pki(t).clientCAs, always(keys.pki(t).server)
		c.Feed, c.Limits.PerAddress, c.Park = feed, 30_000, Park(os.Getenv(fleetPark))
		c.Drop = func(f box.Contents, from, to time.Time) error {
			_, err := spool.Drop(f, from, to)
			return err
		}
	})
	feed <- Whole{}
	in, out := json.NewDecoder(os.NewFile(3, "orders")), json.NewEncoder(os.NewFile(4, "answers"))
	a := fleetAccount{TCP: tcp.Addr().String()}
	for {
		var o fleetOrder
		if in.Decode(&o) != nil {
			break
		}
		a.obey(t, feed, o)
		a.Stats, a.CPU, a.Resident = b.l.Stats(), usedCPU(), resident()
		if out.Encode(a) != nil {
			break
		}
	}
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

func (a *fleetAccount) obey(t *testing.T, feed script, o fleetOrder) {
	switch {
	case o.Open != nil:
		devices := make([]uint32, o.Devices)
		for i := range devices {
			devices[i] = uint32(i + 1)
		}
		targets := targetsOf(t, devices...)
		profile.Do(func() { startProfile(t) })
		a.Fed = time.Now().UnixNano()
		feed <- OpenOperation{Signed: o.Open, Targets: targets}
	case !o.End.IsZero():
		feed <- EndOperation{ID: o.End}
	case o.Heap != "":
		bytes, _ := memory()
		a.Held = uint64(bytes)
		if f, err := os.Create(o.Heap); err == nil {
			pprof.Lookup("heap").WriteTo(f, 0)
			f.Close()
		}
	}
}

var profile sync.Once

// startProfile writes a profile from the first push on.
func startProfile(t *testing.T) {
	name := os.Getenv(fleetProfile)
	if name == "" {
		return
	}
	f, err := os.Create(name)
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { pprof.StopCPUProfile(); f.Close() })
}

func resident() (kib int) {
	raw, _ := os.ReadFile("/proc/self/statm")
	var size, pages int
	fmt.Sscan(string(raw), &size, &pages)
	return pages * os.Getpagesize() / 1024
}

// A pushFleet is agents that cost little.
type pushFleet struct {
	pki  *pki
	to   string
	loop *poll.Loop

	welcomed        sync.WaitGroup
	tasks, acks     atomic.Int64
	most            int64
	lastTask, whole chan time.Time // whole: all answers are acknowledged
}

type pushAgent struct {
	fleet  *pushFleet
	socket *poll.Conn
	conn   *tls.Conn
	source atomic.Pointer[poll.Source]
	rest   []byte
}

func (f *pushFleet) join(device uint32) error {
	raw, err := net.Dial("tcp", f.to)
	if err != nil {
		return err
	}
	a := &pushAgent{fleet: f, socket: poll.NewConn(raw.(*net.TCPConn))}
	a.conn = tls.Client(a.socket, f.pki.client(device))
	hello, err := wire.Append(nil, &wire.SignIn{Version: wire.Version})
	if err != nil {
		return err
	}
	if _, err = a.conn.Write(hello); err != nil {
		return err
	}
	if err = a.socket.Park(); err != nil {
		return err
	}
	f.loop.Add(a.socket, a, &a.source)
	return nil
}

var agentBuffers = sync.Pool{New: func() any { return new([wire.MaxFrame]byte) }}

// Turn implements [poll.Handler].
func (a *pushAgent) Turn(why poll.Events, _ time.Time) {
	a.socket.Allow(1<<20, why)
	b := agentBuffers.Get().(*[wire.MaxFrame]byte)
	defer agentBuffers.Put(b)
	n := copy(b[:], a.rest)
	for {
		m, err := a.conn.Read(b[n:])
		if err != nil {
			break
		}
		n += m
		n = copy(b[:], b[a.hear(b[:n]):n])
	}
	a.rest = append(a.rest[:0], b[:n]...)
}

func (a *pushAgent) hear(b []byte) (used int) {
	f := a.fleet
	for {
		m, n, err := wire.Next(b[used:])
		if err != nil || n == 0 {
			return used
		}
		used += n
		switch m := m.(type) {
		case *wire.Welcome:
			f.welcomed.Done()
		case *wire.Task:
			if f.tasks.Add(1) == f.most {
				f.lastTask <- time.Now()
			}
			a.answer(m)
		case *wire.ResultAck:
			if f.acks.Add(1) == f.most {
				f.whole <- time.Now()
			}
		}
	}
}

func (a *pushAgent) answer(m *wire.Task) {
	t, err := m.Signed.Task()
	if err != nil {
		return
	}
	frame, err := wire.Append(nil, &wire.Result{Operation: t.Operation, Attempt: 1, State: task.Succeeded, At: time.Now()})
	if err == nil {
		a.conn.Write(frame)
	}
}

func BenchmarkPushFleet(b *testing.B) {
	most, _ := strconv.Atoi(os.Getenv(fleetName))
	if most == 0 {
		most = 500
	}
	f := &pushFleet{pki: newPKI(b), most: int64(most), lastTask: make(chan time.Time, 1), whole: make(chan time.Time, 1)}
	tell, hear, ended := f.listener(b)
	defer ended()
	order := func(o fleetOrder) (a fleetAccount) {
		if err := json.NewEncoder(tell).Encode(o); err != nil {
			b.Fatal(err)
		}
		if err := json.NewDecoder(hear).Decode(&a); err != nil {
			b.Fatal(err)
		}
		return a
	}
	before := order(fleetOrder{Heap: os.DevNull})
	f.to = before.TCP
	f.joinAll(b, most)
	time.Sleep(2 * time.Second) // what the sign-in left behind goes
	idle := order(fleetOrder{Heap: heapFile()})
	var cpu, last, acked, files []float64
	for b.Loop() {
		begun := order(fleetOrder{})
		id, signed := f.task(b, most)
		f.tasks.Store(0)
		f.acks.Store(0)
		fed := time.Unix(0, order(fleetOrder{Open: signed, Devices: most}).Fed)
		last = append(last, float64(awaitTime(b, f.lastTask).Sub(fed).Microseconds())/1000)
		acked = append(acked, float64(awaitTime(b, f.whole).Sub(fed).Microseconds())/1000)
		time.Sleep(200 * time.Millisecond)
		end := order(fleetOrder{End: id})
		files = append(files, float64(end.Stats.Drops-begun.Stats.Drops))
		cpu = append(cpu, float64((end.CPU-begun.CPU).Nanoseconds())/1000/float64(most))
		time.Sleep(300 * time.Millisecond)
	}
	for name, all := range map[string][]float64{"µs-CPU/agent": cpu, "ms/last-task": last, "ms/all-acked": acked, "files": files} {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], name)
		b.ReportMetric(all[0], "least-"+name)
	}
	b.ReportMetric(float64(idle.Held-before.Held)/float64(most), "B/session")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(order(fleetOrder{}).Resident)/1024, "MiB-resident")
}

func heapFile() string {
	if name := os.Getenv(fleetProfile); name != "" {
		return name + ".heap"
	}
	return os.DevNull
}

func awaitTime(b *testing.B, c <-chan time.Time) time.Time {
	b.Helper()
	select {
	case at := <-c:
		return at
	case <-time.After(patience):
		b.Fatal("not every agent has got its task or its acknowledgement")
		panic("unreachable")
	}
}

// listener starts the process on the first processor, and keeps this one on the last.
func (f *pushFleet) listener(b *testing.B) (tell io.WriteCloser, hear io.Reader, ended func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	unix.SchedGetaffinity(0, &all)
	one.Set(0)
	unix.SchedSetaffinity(0, &one)
	tell, hear, ended = child(b, "TestFleetListener", fleetChild, f.pki.keys(b))
	unix.SchedSetaffinity(0, &all)
	return tell, hear, ended
}

func (f *pushFleet) joinAll(b *testing.B, most int) {
	loop, err := poll.New(4)
	if err != nil {
		b.Skip(err)
	}
	f.loop = loop
	f.welcomed.Add(most)
	var all sync.WaitGroup
	next := make(chan uint32)
	for range 16 {
		all.Go(func() {
			for d := range next {
				if err := f.join(d); err != nil {
					b.Error(err)
					f.welcomed.Done()
				}
			}
		})
	}
	for d := range most {
		next <- uint32(d + 1)
	}
	close(next)
	all.Wait()
	f.welcomed.Wait()
}

func (f *pushFleet) task(b *testing.B, most int) (task.ID, []byte) {
	devices := make([]uint32, most)
	for i := range devices {
		devices[i] = uint32(i + 1)
	}
	u := f.pki.operation(time.Hour, devices...)
	return u.id(b), u.Signed
}
