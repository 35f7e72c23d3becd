package jetstream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/journal/event"
)

// event256 is an event that is 256 bytes when it is encoded.
func event256(tb testing.TB) *event.Event {
	tb.Helper()
	e := &event.Event{
		Observed: time.Unix(1_700_000_000, 0),
		Actor:    event.Actor{Issuer: "site", Subject: "bench"},
		Payload:  &event.StatusMessage{Component: "bench", Message: 1, Severity: event.Info, Device: 70_000},
	}
	const want = 256
	for pad := range want {
		e.Payload.(*event.StatusMessage).Text = string(make([]byte, pad))
		if b, err := e.Append(nil); err == nil && len(b) == want {
			return e
		}
	}
	tb.Fatalf("no event of %d bytes", want)
	return nil
}

// callers runs b.N calls of do in n goroutines and reports the median and the
// 99th percentile of one call.
func callers(b *testing.B, n int, do func(caller int) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, n)
	var wg sync.WaitGroup
	b.ResetTimer()
	for c := range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				start := time.Now()
				if err := do(c); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(start))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

func openBench(b *testing.B) *Journal {
	b.Helper()
	j, err := Open(context.Background(), b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { j.Close() })
	return j
}

// BenchmarkAppend is events of 256 bytes, each durable before its caller goes
// on. A page is one fsync.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			j := openBench(b)
			events := slices.Repeat([]event.Event{*event256(b)}, n)
			callers(b, n, func(c int) error { return j.Append(context.Background(), &events[c]) })
			b.ReportMetric(float64(j.Head().Pages)*1000/float64(b.N), "pages/1000")
		})
	}
}

// BenchmarkRawFile is the peer of BenchmarkAppend: the least that a program can
// do to collect 256-byte records of many callers and make each group durable
// with one write and one fsync.
func BenchmarkRawFile(b *testing.B) {
	for _, n := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			w := newRawFile(b)
			defer w.close()
			record := make([]byte, 256)
			callers(b, n, func(int) error { return w.append(record) })
			b.ReportMetric(float64(w.fsyncs)*1000/float64(b.N), "fsyncs/1000")
		})
	}
}

// BenchmarkOneCaller is one caller that appends, and in turn with it a bare write
// of 256 bytes and fsync to the same file system: the speed of a disk changes
// from one second to the next, and so reaches both alike.
func BenchmarkOneCaller(b *testing.B) {
	j := openBench(b)
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	record, e := make([]byte, 256), event256(b)
	var ours, bare []time.Duration
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		if err := j.Append(context.Background(), e); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		if _, err := f.Write(record); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		ours, bare = append(ours, between.Sub(start)), append(bare, time.Since(between))
	}
	slices.Sort(ours)
	slices.Sort(bare)
	a, c := ours[len(ours)/2], bare[len(bare)/2]
	b.ReportMetric(float64(a.Microseconds()), "append-p50-µs")
	b.ReportMetric(float64(c.Microseconds()), "bare-p50-µs")
	b.ReportMetric(float64(a)/float64(c), "ratio")
}

// A rawFile collects records while an fsync is under way, as a page does.
type rawFile struct {
	f      *os.File
	mu     sync.Mutex
	group  *rawGroup
	work   chan struct{}
	ended  chan struct{}
	fsyncs int
}

type rawGroup struct {
	buf  []byte
	done chan struct{}
	err  error
}

func newRawFile(b *testing.B) *rawFile {
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	w := &rawFile{f: f, group: &rawGroup{done: make(chan struct{})}, work: make(chan struct{}, 1), ended: make(chan struct{})}
	go w.run()
	return w
}

func (w *rawFile) append(record []byte) error {
	w.mu.Lock()
	g := w.group
	g.buf = append(g.buf, record...)
	w.mu.Unlock()
	select {
	case w.work <- struct{}{}:
	default:
	}
	<-g.done
	return g.err
}

func (w *rawFile) run() {
	defer close(w.ended)
	for range w.work {
		w.mu.Lock()
		g := w.group
		w.group = &rawGroup{done: make(chan struct{}), buf: make([]byte, 0, len(g.buf))}
		w.mu.Unlock()
		if len(g.buf) > 0 {
			if _, g.err = w.f.Write(g.buf); g.err == nil {
				g.err = w.f.Sync()
			}
			w.fsyncs++
		}
		close(g.done)
	}
}

func (w *rawFile) close() {
	close(w.work)
	<-w.ended
	w.f.Close()
}

// BenchmarkPlainPublish is what group commit saves: one message per event, with
// SyncAlways, from 256 callers.
func BenchmarkPlainPublish(b *testing.B) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, JetStream: true, StoreDir: b.TempDir(),
		SyncAlways: true, JetStreamMaxStore: 1 << 34, JetStreamMaxMemory: 1 << 20, NoLog: true})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	api, err := js.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := api.CreateStream(context.Background(), js.StreamConfig{Name: "P", Subjects: []string{"p"}, Storage: js.FileStorage}); err != nil {
		b.Fatal(err)
	}
	record := make([]byte, 256)
	callers(b, 256, func(int) error {
		_, err := api.Publish(context.Background(), "p", record)
		return err
	})
}
