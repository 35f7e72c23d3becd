package presence_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// reports is how many full reports of the fleet BenchmarkRebuild folds.
const reports = 1000

// BenchmarkRebuild rebuilds the view from 1,000 full reports of 25,000 devices,
// of which 2 %, 10 % or all changed each time, while somebody appends and two read; and folds
// the same pages into a map. One round is enough: -benchtime 1x.
func BenchmarkRebuild(b *testing.B) {
	for _, changed := range []int{2, 10, 100} {
		b.Run(fmt.Sprintf("%d%%", changed), func(b *testing.B) { benchmarkRebuild(b, 100/changed) })
	}
}

func benchmarkRebuild(b *testing.B, stride int) {
	j := newRecorded(b)
	for n := range reports {
		for _, part := range full(uint64(n+1), stride) {
			j.add(b, part)
		}
	}
	history := j.Head().Event
	view, reader := presence.New()
	v, err := projectors.Open(projectors.Options{Dir: b.TempDir(), Journal: j, History: projectorstest.History}, view)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	if err := v.Wait(ctx, history); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	bare(b, j, history)
	alone := time.Since(began)

	load := busy(b, j, reader)
	b.ResetTimer()
	for b.Loop() {
		if res, err := v.Rebuild(ctx, "presence", nil); err != nil || !res.Same {
			b.Fatal(res, err)
		}
	}
	b.StopTimer()
	reads, writes := load()
	rebuilt := b.Elapsed() / time.Duration(b.N)
	b.ReportMetric(fleet*reports/rebuilt.Seconds(), "entries/s")
	b.ReportMetric(alone.Seconds(), "s-bare")
	b.ReportMetric(alone.Seconds()/rebuilt.Seconds(), "of-bare")
	b.ReportMetric(float64(reads)/b.Elapsed().Seconds(), "reads/s")
	b.ReportMetric(float64(writes)/b.Elapsed().Seconds(), "appends/s")
	report(b)
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	if err := v.Close(); err != nil {
		b.Error(err)
	}
}

// bare folds the pages into a map and nothing else.
func bare(b *testing.B, j *recorded, through uint64) {
	state := make(map[uint32]event.PresenceEntry)
	r, err := j.Read(b.Context(), 1)
	if err != nil {
		b.Fatal(err)
	}
	for last := uint64(0); last < through; {
		p, err := r.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		fold(b, state, p)
		last = p.Last()
	}
	if len(state) != fleet {
		b.Fatal(len(state))
	}
}

func fold(b *testing.B, state map[uint32]event.PresenceEntry, p *journal.Page) {
	for i := range p.Records {
		e, err := p.Records[i].Event()
		if err != nil {
			b.Fatal(err)
		}
		for _, entry := range e.Payload.(*event.PresenceSnapshot).Entries {
			state[entry.Device] = entry
		}
	}
}

// busy appends a delta every 10 ms and reads all the time, until the function
// that it returns is called, which says how often.
func busy(b *testing.B, j *recorded, reader *presence.Reader) func() (reads, writes int) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	var reads, writes int
	all.Go(func() {
		for number := uint64(reports + 1); ; number++ {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			j.add(b, &event.Event{Observed: at, Source: bos("LSN", 1, number, 1, 1), Payload: &event.PresenceDelta{
				Entries: []event.PresenceEntry{{Device: uint32(number%fleet) + 1, Online: number%2 == 0, Carrier: event.TCP, Since: at.Add(time.Duration(number) * time.Hour)}}}})
			writes++
		}
	})
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if _, ok, err := reader.Get(uint32(reads%fleet) + 1); err != nil || !ok {
				b.Error(ok, err)
			}
			reads++
		}
	})
	return func() (int, int) {
		close(stop)
		all.Wait()
		return reads, writes
	}
}

// report says how much memory there was at most.
func report(b *testing.B) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapSys)/(1<<20), "MiB-heap")
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			b.ReportMetric(float64(kib)/(1<<10), "MiB-rss")
		}
	}
}
