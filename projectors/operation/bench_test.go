package operation_test

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

const targets = 100_000

// push appends operation n for all targets, in so many waves, and one report of
// each, without waiting for the view.
func push(b *testing.B, s *projectorstest.Site, n int, state task.State, waves uint32) uint64 {
	devices := make([]uint32, targets)
	for i := range devices {
		devices[i] = uint32(i + 1)
	}
	if waves == 0 {
		projectorstest.Append(b, s.Journal, 1, requested(b, n, devices))
	} else {
		projectorstest.Append(b, s.Journal, 1, paced(b, n, devices, make([]uint32, waves-1)...))
	}
	for w := range waves { // every waves-th device, as a hash would pick
		var some []uint32
		for d := w; d < targets; d += waves {
			some = append(some, d+1)
		}
		projectorstest.Append(b, s.Journal, 1, released(b, n, w+1, some, some...))
	}
	var last uint64
	for len(devices) > 0 {
		size := min(4000, len(devices))
		rows := make([]event.ResultRow, size)
		for i, d := range devices[:size] {
			rows[i] = row(n, d, state, 1)
		}
		last = projectorstest.Append(b, s.Journal, 1, results(rows...))
		devices = devices[size:]
	}
	return last
}

// BenchmarkReports folds pushes to 100,000 devices of which each reports once.
func BenchmarkReports(b *testing.B) { reports(b, task.Delivered, 0) }

// BenchmarkReportsInWaves is that for an end, with which waves have most to do.
func BenchmarkReportsInWaves(b *testing.B) { reports(b, task.Succeeded, 10) }

func reports(b *testing.B, state task.State, waves uint32) {
	s, r := start(b)
	for n := range b.N {
		s.Wait(push(b, s, n+1, state, waves))
	}
	b.StopTimer()
	if o := get(b, r, b.N); o.States[state] != targets || waves > 0 && o.Waves[waves-1].Final != targets/waves {
		b.Errorf("%d %s, waves %+v", o.States[state], state, o.Waves)
	}
	b.ReportMetric(float64(targets)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkReads reads an operation of 100,000 targets that all reported.
func BenchmarkReads(b *testing.B) { reads(b, 0) }

// BenchmarkReadsInWaves is that of one in ten waves.
func BenchmarkReadsInWaves(b *testing.B) { reads(b, 10) }

func reads(b *testing.B, waves uint32) {
	s, r := start(b)
	s.Wait(push(b, s, 1, task.Delivered, waves))
	read := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	read("Get", func() error { _, _, err := r.Get(opID(1)); return err })
	read("Device", func() error { _, _, err := r.Device(opID(1), 50_000); return err })
	read("Devices page of 100", func() error { _, err := r.Devices(opID(1), task.NoState, 50_000, 100); return err })
	read("Devices none at state", func() error { _, err := r.Devices(opID(1), task.Failed, 0, 100); return err })
	read("Open", func() error { _, _, err := r.Open(); return err })
	read("Paced", func() error { _, err := r.Paced(); return err })
	read("Waves", func() error { _, err := r.Waves(opID(1)); return err })
	read("InStates", func() error { _, _, _, err := r.InStates(opID(1), task.Failed); return err })
	read("Due", func() error { _, _, err := r.Due(at.Add(time.Hour)); return err })
}
