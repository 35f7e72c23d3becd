package collection_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

const (
	fleet       = 100_000
	collections = 1000
)

func id(i int) string { return fmt.Sprintf("P01%05X", i) }

// estate defines the collections and evaluates them for the first time: some 15.7
// million memberships, scattered without any order, which is the worst that a set
// can be. A quarter of the collections has nearly none, a few nearly all devices.
func estate(b *testing.B) (definitions, evaluation []*event.Event, total uint64) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var results []event.CollectionResult
	for i := range collections {
		definitions = append(definitions, defined(id(i), fmt.Sprint("collection ", i)))
		share := math.Pow(rnd.Float64(), 5.37)
		members := make([]uint32, 0, fleet)
		for d := range uint32(fleet) {
			if rnd.Float64() < share {
				members = append(members, d+1)
			}
		}
		total += uint64(len(members))
		results = append(results, result(id(i), encoded(b, roaring.BitmapOf(members...)), nil))
	}
	return definitions, cut(1, event.FullQueue, results), total
}

// cut makes events of at most 240 KiB of a cycle.
func cut(cycle uint64, queue event.EvaluationQueue, results []event.CollectionResult) (events []*event.Event) {
	for len(results) > 0 {
		n, size := 0, 0
		for n < len(results) && size < 120<<10 {
			size += len(results[n].Added) + len(results[n].Removed) + 64
			n++
		}
		events = append(events, part(cycle, uint16(len(events)+1), 99, queue, results[:n]...))
		results = results[n:]
	}
	return events
}

// BenchmarkFull takes the first evaluation of all collections: from events in the
// journal to rows on disk and members that readers see.
func BenchmarkFull(b *testing.B) {
	definitions, evaluation, total := estate(b)
	var took time.Duration
	var disk int64
	for range b.N {
		site, r := start(b)
		site.Wait(projectorstest.Append(b, site.Journal, 500, definitions...))
		began := time.Now()
		site.Wait(projectorstest.Append(b, site.Journal, 2, evaluation...))
		took += time.Since(began)
		var got uint64
		read(b, r, func(s *collection.Snapshot) {
			for _, c := range s.List() {
				got += c.Members
			}
		})
		if got != total {
			b.Fatalf("%d memberships, want %d", got, total)
		}
		disk = rowBytes(b, site)
		site.Stop()
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/evaluation")
	b.ReportMetric(float64(disk)/(1<<20), "MiB-of-members")
	b.ReportMetric(float64(total)/1e6, "million-members")
}

// rowBytes counts keys and values of the members' rows.
func rowBytes(b *testing.B, site *projectorstest.Site) (n int64) {
	past, err := site.Views.At(b.Context(), site.Journal.Head().Event)
	if err != nil {
		b.Fatal(err)
	}
	err = past.View("collection").Read(func(s *projectors.Snapshot) error {
		for _, prefix := range []byte{'m', 'x'} {
			err := s.Scan([]byte{prefix}, nil, func(key, value []byte) (bool, error) {
				n += int64(len(key) + len(value))
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkIncremental takes cycles in which 20 devices come into 200 collections
// each and 20 leave.
func BenchmarkIncremental(b *testing.B) {
	definitions, evaluation, _ := estate(b)
	site, _ := start(b)
	site.Wait(projectorstest.Append(b, site.Journal, 2, append(definitions, evaluation...)...))
	rnd := rand.New(rand.NewPCG(3, 4))
	cycle := uint64(1)
	b.ResetTimer()
	for range b.N {
		cycle++
		var results []event.CollectionResult
		for i := range 200 {
			in, out := roaring.New(), roaring.New()
			for range 20 {
				in.Add(rnd.Uint32N(fleet) + 1)
				out.Add(rnd.Uint32N(fleet) + 1)
			}
			results = append(results, result(id(i*5), encoded(b, in), encoded(b, out)))
		}
		site.Append(cut(cycle, event.IncrementalQueue, results)...)
	}
}

// BenchmarkLoad opens the view of all collections, as a start and a look at the
// past do.
func BenchmarkLoad(b *testing.B) {
	definitions, evaluation, _ := estate(b)
	view, _ := collection.New()
	site := projectorstest.Start(b, view)
	site.Wait(projectorstest.Append(b, site.Journal, 2, append(definitions, evaluation...)...))
	b.ResetTimer()
	for range b.N {
		past, err := site.Views.At(b.Context(), site.Journal.Head().Event)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := collection.At(past).At(func(s *collection.Snapshot) error { s.List(); return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
