package operation_test

import (
	"context"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"pgregory.net/rapid"
)

// TestOP8CountsSum draws events of all kinds in any order: after each one the
// counts by state sum to the number of targets and are those of the devices, and
// folding all of it anew gives the same rows.
func TestOP8CountsSum(t *testing.T) {
	s, r := start(t)
	ops := 0
	rapid.Check(t, func(rt *rapid.T) {
		ops += 2
		first := ops - 1
		wave := uint32(0)
		targets := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 600), 1, 8, func(d uint32) uint32 { return d }).Draw(rt, "targets")
		s.Append(paced(t, first, targets, 1, 2))
		draw := func(rt *rapid.T) *event.Event {
			id := opID(first + rapid.IntRange(0, 1).Draw(rt, "operation"))
			switch rapid.IntRange(0, 12).Draw(rt, "kind") {
			case 0:
				return says(&event.OperationExpired{Operation: id})
			case 1:
				return says(&event.OperationCancelled{Operation: id})
			case 2:
				return says(&event.OperationClosed{Operation: id})
			case 3:
				return requested(t, first+1, targets)
			case 4:
				return says(&event.OperationStopped{Operation: id, Failed: 2, Final: 10, Limit: 5, Cancel: []byte{1}, Reason: "bad"})
			case 5, 6:
				wave = rapid.SampledFrom([]uint32{wave, wave + 1, wave + 1}).Draw(rt, "wave")
				some := rapid.SliceOfDistinct(rapid.SampledFrom(append(targets, 601)), func(d uint32) uint32 { return d })
				e := released(t, first, wave, some.Draw(rt, "devices"), some.Draw(rt, "online")...)
				e.Payload.(*event.OperationReleased).Operation = id
				return e
			}
			var rows []event.ResultRow
			for range rapid.IntRange(1, 4).Draw(rt, "rows") {
				device := rapid.SampledFrom(append(targets, 601)).Draw(rt, "device")
				row := row(0, device, rapid.SampledFrom(task.States).Draw(rt, "state"), 1)
				row.Operation = id
				rows = append(rows, row)
			}
			return results(rows...)
		}
		for range rapid.IntRange(1, 8).Draw(rt, "events") {
			s.Append(draw(rt))
			for n := first; n <= ops; n++ {
				if o, ok, err := r.Get(opID(n)); ok {
					consistent(t, r, o)
				} else if err != nil {
					rt.Fatal(err)
				}
			}
			if t.Failed() {
				rt.FailNow()
			}
		}
	})
	before, digest := s.Digest("operation")
	got, err := s.Views.Rebuild(context.Background(), "operation", nil)
	if err != nil || !got.Same || got.Digest != digest || got.Position != before {
		t.Errorf("folded anew: %+v, %v", got, err)
	}
}
