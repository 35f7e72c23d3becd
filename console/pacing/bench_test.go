package pacing_test

import (
	"context"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// BenchmarkRelease releases a push to 100,000 devices in ten waves: what the site
// does for each wave, with the append to a journal in memory.
func BenchmarkRelease(b *testing.B) {
	waves := 0
	for b.Loop() {
		b.StopTimer()
		s := newSite(b)
		s.online.AddRange(1, 80_001)
		s.push(1, 100_000, event.Pacing{Waves: []uint32{10_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000}})
		s.clock = s.clock.Add(time.Minute)
		b.StartTimer()
		for range 10 {
			if err := s.runner.Round(context.Background()); err != nil {
				b.Fatal(err)
			}
			s.clock = s.clock.Add(time.Hour)
		}
		b.StopTimer()
		released, _ := s.said()
		if waves += len(released); len(released) != 10 {
			b.Fatalf("%d waves", len(released))
		}
		s.journal.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(waves), "µs/wave")
}

// BenchmarkPick picks 10,000 of 100,000 devices.
func BenchmarkPick(b *testing.B) {
	left, online := roaring.New(), roaring.New()
	left.AddRange(1, 100_001)
	online.AddRange(1, 80_001)
	for b.Loop() {
		if n := pacing.Pick(task.ID{1}, left, online, 10_000).GetCardinality(); n != 10_000 {
			b.Fatal(n)
		}
	}
}
