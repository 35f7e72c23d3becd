package console_test

import (
	"fmt"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
)

// BenchmarkPoliciesWithWindows is 20,000 devices that ask for their policy while
// 1,000 collections hold 2 % of them each and 100 of these have a window, or none
// has. Every hundredth time the position of the view goes on, and every thousandth
// the members of a collection change.
func BenchmarkPoliciesWithWindows(b *testing.B) {
	for _, windows := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("windows=%d", windows), func(b *testing.B) {
			r := newWindowRig(b)
			for i := range 1000 {
				id := fmt.Sprintf("P01%05X", i+1)
				r.append(&event.CollectionChanged{ID: id, After: &event.Collection{ID: id, Name: id, Limit: event.RootCollection}})
				members := roaring.New()
				members.AddRange(uint64(20*i), uint64(20*i+askers/50))
				raw, err := event.AppendSet(nil, members)
				if err != nil {
					b.Fatal(err)
				}
				r.cycle++
				r.append(&event.CollectionsEvaluated{Cycle: r.cycle, Part: 1, Of: 1, Queue: event.FullQueue, Cause: event.ByDefinition, Count: 1,
					Started: start, Clock: start, Results: []event.CollectionResult{{ID: id, Members: askers / 50, Added: raw}}})
				if i%10 == 0 && i/10 < windows {
					r.append(&event.WindowChanged{Collection: id, Name: "w", After: []byte(named(fmt.Sprint(i), night))})
				}
			}
			r.caughtUp()
			before := r.policies.Stats()
			var asked int
			for b.Loop() {
				for i := range uint32(askers) {
					if asked++; asked%100 == 0 {
						b.StopTimer()
						if asked%1000 == 0 {
							r.members("P0100001", []uint32{100_000 + uint32(asked)}, nil)
						} else {
							r.append(&event.TokenRevoked{Token: "t"})
							r.caughtUp()
						}
						b.StartTimer()
					}
					if _, signed, _, err := r.policies.For(i, ""); err != nil || len(signed) == 0 {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(asked), "ns/request")
			b.ReportMetric(float64(r.policies.Stats().Rendered-before.Rendered), "rendered+signed")
		})
	}
}
