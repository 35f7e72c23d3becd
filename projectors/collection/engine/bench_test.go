package engine

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

const (
	manyDevices     = 100_000
	manyCollections = 1000
)

func BenchmarkFullWarm(b *testing.B) {
	f := sharedFleet(b, manyDevices, manyCollections)
	members := 0
	for _, id := range f.e.Order() {
		members += f.e.Count(id)
	}
	for b.Loop() {
		f.evaluate(b, nil)
	}
	b.ReportMetric(float64(members)/1e6, "Mmembers")
	b.ReportMetric(float64(f.e.Stats().Conditions), "conditions")
}

// Nothing is cached and nobody is a member of anything.
func BenchmarkFullCold(b *testing.B) {
	f := sharedFleet(b, manyDevices, manyCollections)
	for b.Loop() {
		b.StopTimer()
		if err := f.e.Define(nil); err != nil {
			b.Fatal(err)
		}
		f.e.Restore(Root, roaring.New())
		if err := f.e.Define(f.all); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		b.StartTimer()
		f.evaluate(b, nil)
	}
}

// change puts other records for some devices, and returns which.
func (f *fleet) change(b *testing.B, n int) *roaring.Bitmap {
	for len(f.cache) < n {
		f.cache = append(f.cache, f.record(uint32(f.r.IntN(f.devices))))
	}
	devices := roaring.New()
	for range n {
		i := f.r.IntN(len(f.cache))
		r := f.cache[i]
		if err := f.e.Put(r); err != nil {
			b.Fatal(err)
		}
		devices.Add(r.Device)
		f.cache[i] = f.record(uint32(f.r.IntN(f.devices)))
	}
	return devices
}

func benchmarkIncremental(b *testing.B, devices, collections, changed int) {
	f := sharedFleet(b, devices, collections)
	f.cache = nil
	moved := 0
	for b.Loop() {
		b.StopTimer()
		set := f.change(b, changed)
		b.StartTimer()
		for _, c := range f.evaluate(b, set) {
			moved += int(c.Added.GetCardinality() + c.Removed.GetCardinality())
		}
	}
	b.ReportMetric(float64(moved)/float64(b.N), "moves/op")
}

func BenchmarkIncremental1000(b *testing.B) {
	benchmarkIncremental(b, manyDevices, manyCollections, 1000)
}

func BenchmarkIncrementalOne(b *testing.B) { benchmarkIncremental(b, manyDevices, manyCollections, 1) }

// Named as the golden case: 80 million pairs.
func BenchmarkCOL8(b *testing.B) { benchmarkIncremental(b, manyDevices, 4000, 20_000) }

func BenchmarkWhatIf(b *testing.B) {
	f := sharedFleet(b, manyDevices, manyCollections)
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		c := f.all[f.r.IntN(len(f.all))]
		c.Queries = append(c.Queries[:0:0], parse(b, f.s, f.query()))
		b.StartTimer()
		began := time.Now()
		if _, err := f.e.WhatIf([]Collection{c}, nil, noon); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
}

func BenchmarkExplain(b *testing.B) {
	f := sharedFleet(b, manyDevices, manyCollections)
	for b.Loop() {
		c := f.all[f.r.IntN(len(f.all))]
		if _, err := f.e.Explain(c.ID, uint32(f.r.IntN(f.devices)), noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	f := sharedFleet(b, 1000, manyCollections)
	for b.Loop() {
		if err := f.e.Define(parsed(b, f.s, f.texts, f.all)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	m := newMaker(2)
	e := New(m.s)
	records := make([]*schema.Record, 2000)
	for i := range records {
		records[i] = m.record(uint32(i))
	}
	for b.Loop() {
		for _, r := range records {
			if err := e.Put(r); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		for i := range records {
			records[i], records[(i+7)%len(records)] = records[(i+7)%len(records)], records[i]
			records[i].Device = uint32(i)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*len(records))/b.Elapsed().Seconds(), "devices/s")
}

func BenchmarkNextTurn(b *testing.B) {
	f := sharedFleet(b, manyDevices, manyCollections)
	for b.Loop() {
		f.e.NextTurn(noon)
	}
}

func BenchmarkHeap(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f := newFleet(b, manyDevices, manyCollections)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
		_ = f.e.Stats()
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
	b.ReportMetric(float64(f.e.Stats().Values)/1e6, "valuesMB")
	b.ReportMetric(float64(f.e.Stats().Members)/1e6, "membersMB")
}
