package console_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

const askers = 20_000

// BenchmarkPolicies is 20,000 devices that ask for their policy in one minute, in
// groups of which each has a durable operation of its own, while results of theirs
// come in and the view of the operations folds them: every hundredth request one.
// One round is enough: -benchtime 1x.
func BenchmarkPolicies(b *testing.B) {
	for _, groups := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) { benchmarkPolicies(b, groups) })
	}
}

func benchmarkPolicies(b *testing.B, groups int) {
	r := newRig(b)
	view, reader := operation.New()
	site := projectorstest.Start(b, view)
	size := askers / groups
	for group := range groups {
		devices := roaring.New()
		devices.AddRange(uint64(group*size+1), uint64(group*size+size+1))
		site.Append(requested(b, r, group, devices))
	}
	r.policies.Attach(console.PolicyParts{Operations: reader, Now: r.clock.Now})
	var asked, rendered, proofs uint64
	for b.Loop() {
		before := r.policies.Stats()
		for i := range uint32(askers) {
			if i%100 == 0 { // the last device of a group has its result
				b.StopTimer()
				group := int(i) / 100 % groups
				site.Append(&event.Event{Observed: start, Payload: &event.ResultsReported{Rows: []event.ResultRow{{
					Result: task.Result{Operation: task.ID{13: 1, 14: byte(group >> 8), 15: byte(group)}, Device: uint32(group*size + size), State: task.Running, At: start}}}}})
				b.StartTimer()
			}
			if _, signed, proofs, err := r.policies.For(i+1, ""); err != nil || len(signed) == 0 || len(proofs) != 1 {
				b.Fatal(len(signed), len(proofs), err)
			}
		}
		after := r.policies.Stats()
		asked, rendered, proofs = after.Asked-before.Asked, max(rendered, after.Rendered-before.Rendered), max(proofs, after.Proofs-before.Proofs)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/askers, "µs/request")
	b.ReportMetric(float64(asked), "asked")
	b.ReportMetric(float64(rendered), "rendered+signed")
	b.ReportMetric(float64(proofs), "proofs")
}

// requested is a durable operation for devices.
func requested(tb testing.TB, r *rig, n int, devices *roaring.Bitmap) *event.Event {
	tb.Helper()
	targets, err := task.NewTargets(slices.Values(devices.ToArray()))
	if err != nil {
		tb.Fatal(err)
	}
	t := task.Task{Operation: task.ID{13: 1, 14: byte(n >> 8), 15: byte(n)}, Kind: "threat.allow", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: start, DeliverBy: start.AddDate(0, 0, 30), RunTimeout: time.Minute, Requested: start}
	signed, err := r.authority.SignTask(&t)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := devices.ToBytes()
	if err != nil {
		tb.Fatal(err)
	}
	return &event.Event{Payload: &event.OperationRequested{Task: signed, Targets: raw, Count: uint32(devices.GetCardinality()), Target: "all", Durable: true, Priority: 2}}
}
