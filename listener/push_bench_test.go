package listener

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// BenchmarkPush pushes to 1,000 agents that are signed in over TLS on loopback,
// in the same process: from the feed's update to the last agent's receipt.
func BenchmarkPush(b *testing.B) {
	const agents = 1000
	bench := newBench(b, func(c *Config) { c.Limits.PerAddress = agents })
	devices := make([]uint32, agents)
	received := make(chan time.Time, agents)
	var ready sync.WaitGroup
	for i := range devices {
		devices[i] = uint32(i + 1)
		config := bench.pki.client(devices[i])
		ready.Add(1)
		go drainAgent(b, bench, config, &ready, received)
	}
	ready.Wait()
	var last []time.Duration
	for b.Loop() {
		op := bench.pki.operation(time.Hour, devices...)
		begun := time.Now()
		bench.tell(op)
		var end time.Time
		for range agents {
			if at := <-received; at.After(end) {
				end = at
			}
		}
		last = append(last, end.Sub(begun))
		b.StopTimer()
		bench.tell(EndOperation{ID: op.id(b)})
		b.StartTimer()
	}
	slices.Sort(last)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(last[(len(last)-1)*p/100].Microseconds())/1000, fmt.Sprintf("ms/p%d-last-agent", p))
	}
}

// drainAgent is an agent that notes when a task came.
func drainAgent(b *testing.B, bench *bench, config *tls.Config, ready *sync.WaitGroup, received chan<- time.Time) {
	raw, err := bench.dial()
	if err != nil {
		b.Error(err)
		ready.Done()
		return
	}
	defer raw.Close()
	conn := tls.Client(raw, config)
	hello, _ := wire.Append(nil, &wire.SignIn{Version: 1})
	if _, err := conn.Write(hello); err != nil {
		b.Error(err)
	}
	r := bufio.NewReader(conn)
	var buf []byte
	for {
		m, next, err := wire.ReadFrom(r, buf)
		if err != nil {
			return
		}
		buf = next
		switch m.(type) {
		case *wire.Welcome:
			ready.Done()
		case *wire.Task:
			received <- time.Now()
		}
	}
}

// BenchmarkProof is what a push costs that nobody has paid yet: the frames of
// 100,000 targets.
func BenchmarkFrames100k(b *testing.B) {
	p := newPKI(b)
	devices := make([]uint32, 100_000)
	for i := range devices {
		devices[i] = uint32(i + 1)
	}
	u := p.operation(time.Hour, devices...)
	tk, _ := u.Signed.Task()
	for b.Loop() {
		tab := newTable(10, func([]receiver) {})
		op := newOperation(tk, u)
		for _, d := range devices {
			if _, err := op.frame(d, &tab.room); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkWave100k releases a wave of 100,000 devices that is spread over ten
// minutes, of which 1,000 are signed in: the order of the devices is made once,
// then every 20 ms moves on from where the last one was.
func BenchmarkWave100k(b *testing.B) {
	p := newPKI(b)
	devices := make([]uint32, 100_000)
	for i := range devices {
		devices[i] = uint32(i + 1)
	}
	u := p.held(time.Hour, devices...)
	tk, _ := u.Signed.Task()
	var begin, ticks, longest time.Duration
	for b.Loop() {
		tab, now := newTable(10, func([]receiver) {}), time.Now()
		for _, d := range devices[:1000] {
			tab.signIn(d, &fakeSession{device: d}, &wire.SignIn{}, 1000, now, func() {})
		}
		if err := tab.open(newOperation(tk, u), now); err != nil {
			b.Fatal(err)
		}
		w := ReleaseWave{ID: tk.Operation, Wave: 1, Devices: u.Targets, At: now, Spread: 10 * time.Minute}
		begun := time.Now()
		if err := tab.wave(w, now); err != nil {
			b.Fatal(err)
		}
		begin += time.Since(begun)
		begun = time.Now()
		for next := now; !next.IsZero(); {
			tick := time.Now()
			next = tab.release(now)
			longest = max(longest, time.Since(tick))
			now = now.Add(batch)
		}
		ticks += time.Since(begun)
	}
	b.ReportMetric(float64(begin.Microseconds())/1000/float64(b.N), "ms/begin")
	b.ReportMetric(float64(ticks.Microseconds())/1000/float64(b.N), "ms/all-ticks")
	b.ReportMetric(float64(longest.Microseconds())/1000, "ms/longest-tick")
}
