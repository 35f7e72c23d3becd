//go:build unix

package inbox_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A sink is a journal that encodes what it gets, tells the ledger, and forgets:
// what is measured is the inbox.
type sink struct {
	journal.Journal
	ledger *inbox.Ledger
	last   uint64
	buf    []byte
	each   func(e *event.Event) // before anything else
}

func (s *sink) Append(_ context.Context, events ...*event.Event) (err error) {
	for _, e := range events {
		s.each(e)
	}
	for _, e := range events {
		if s.buf, err = e.Append(s.buf[:0]); err != nil {
			return err
		}
		s.last++
		e.Number = s.last
		s.ledger.Apply(e)
	}
	return nil
}

// benchInbox runs an inbox until stop is called.
func benchInbox(b *testing.B, dir string, each func(*event.Event)) (stop func()) {
	ledger := inbox.NewLedger()
	in, err := inbox.New(inbox.Config{Dir: dir, Site: site, Ledger: ledger, Journal: &sink{ledger: ledger, each: each},
		ListenerKey: listenerKey, ResultKey: resultKey, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		in.Close()
	}
}

// fill makes n files in tmp, and returns their names.
func fill(b *testing.B, dir string, n int) []string {
	bx, err := box.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	bx.Close()
	names := make([]string, n)
	c := results(said(1, task.Running), said(2, task.Running), said(3, task.Succeeded))
	var buf []byte
	for i := range names {
		f := box.File{Name: box.Name{Listener: "BGL", Epoch: 1, Number: uint64(i + 1), Kind: box.BTS}, Site: site, From: at(0), To: at(1), Contents: c}
		names[i] = f.Name.String()
		if buf, err = f.Append(buf[:0], private); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tmp", names[i]), buf, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return names
}

func moveIn(b *testing.B, dir, name string) {
	if err := os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, name)); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLatency is from the rename of a file to the call of Append, at 1,000
// files a second. Run it with -benchtime 3000x or more.
func BenchmarkLatency(b *testing.B) {
	dir := b.TempDir()
	names := fill(b, dir, b.N)
	took := make([]time.Duration, b.N)
	moved := make([]atomic.Int64, b.N)
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	start := time.Now()
	stop := benchInbox(b, dir, func(e *event.Event) {
		i := e.Source.Number - 1
		took[i] = time.Since(start) - time.Duration(moved[i].Load())
		if left.Add(-1) == 0 {
			close(done)
		}
	})
	time.Sleep(100 * time.Millisecond) // until it watches
	b.ResetTimer()
	begin := time.Now()
	for i, name := range names {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Millisecond)))
		moved[i].Store(int64(time.Since(start)))
		moveIn(b, dir, name)
	}
	<-done
	b.StopTimer()
	stop()
	slices.Sort(took)
	b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(took[b.N-1].Microseconds()), "max-µs")
}

// BenchmarkBacklog takes files that all wait already, beside a bare loop over
// as many. Run it with -benchtime 100000x.
func BenchmarkBacklog(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		dir := b.TempDir()
		for _, name := range fill(b, dir, b.N) {
			moveIn(b, dir, name)
		}
		b.ResetTimer()
		before := processor()
		if n := bareLoop(b, dir); n != b.N {
			b.Errorf("%d files of %d", n, b.N)
		}
		b.ReportMetric(float64((processor()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	})
	b.Run("inbox", func(b *testing.B) {
		dir := b.TempDir()
		for _, name := range fill(b, dir, b.N) {
			moveIn(b, dir, name)
		}
		seen := make([]bool, b.N)
		left, done := b.N, make(chan struct{})
		resetPeak()
		b.ResetTimer()
		before := processor()
		stop := benchInbox(b, dir, func(e *event.Event) {
			if i := e.Source.Number - 1; seen[i] {
				b.Errorf("file %d came twice", i+1)
			} else {
				seen[i] = true
			}
			if left--; left == 0 {
				close(done)
			}
		})
		<-done
		b.StopTimer()
		b.ReportMetric(float64((processor()-before).Microseconds())/float64(b.N), "cpu-µs/op")
		stop()
		b.ReportMetric(peak(), "peak-MB")
	})
}

// bareLoop is readdir, rename, read, delete, and nothing else.
func bareLoop(b *testing.B, dir string) (n int) {
	d, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			work := filepath.Join(dir, "work", name)
			if filepath.Ext(name) != ".BTS" {
				continue
			}
			if err := os.Rename(filepath.Join(dir, name), work); err != nil {
				b.Fatal(err)
			}
			if _, err := os.ReadFile(work); err != nil {
				b.Fatal(err)
			}
			if err := os.Remove(work); err != nil {
				b.Fatal(err)
			}
			n++
		}
		if err != nil {
			return n
		}
	}
}

// processor is the time that this process has had of all processors.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func resetPeak() { os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peak is the largest resident size of this process in MB, 0 where nobody tells.
func peak() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kb, _ := strconv.Atoi(string(bytes.Fields(rest)[0]))
			return float64(kb) / 1024
		}
	}
	return 0
}

// BenchmarkSnapshot is a full report of 25,000 devices, from its bytes to the
// events.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{25_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			bx, err := box.Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			bx.Close()
			taken := make(chan struct{}, 1)
			stop := benchInbox(b, dir, func(e *event.Event) {
				if e.Source.Part == e.Source.Of {
					taken <- struct{}{}
				}
			})
			defer stop()
			c := online(true, n)
			var number uint64
			for b.Loop() {
				number++
				f := box.File{Name: box.Name{Listener: "BGL", Epoch: 1, Number: number, Kind: box.BOS}, Site: site, From: at(0), To: at(1), Contents: c}
				buf, err := f.Append(nil, private)
				if err != nil {
					b.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "tmp", "x"), buf, 0o600); err != nil {
					b.Fatal(err)
				}
				if err := os.Rename(filepath.Join(dir, "tmp", "x"), filepath.Join(dir, f.Name.String())); err != nil {
					b.Fatal(err)
				}
				<-taken
			}
		})
	}
}
