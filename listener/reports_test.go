package listener

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// keepFirst is what packResults keeps.
func keepFirst(rows []box.ResultRow) (kept []box.ResultRow) {
	type transition struct {
		op      task.ID
		device  uint32
		attempt uint8
		state   task.State
	}
	seen := make(map[transition]bool)
	for _, r := range rows {
		if k := (transition{r.Operation, r.Device, r.Attempt, r.State}); !seen[k] {
			seen[k] = true
			kept = append(kept, r)
		}
	}
	return kept
}

// drawRows draws rows of which few or many say the same; Code tells them apart.
func drawRows(t *rapid.T) []box.ResultRow {
	ops := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) task.ID { return task.ID(b) }), 1, 3).Draw(t, "ops")
	device := rapid.OneOf(rapid.Uint32Max(3), rapid.Uint32Max(1000), rapid.Uint32Min(math.MaxUint32-2), rapid.Uint32(),
		rapid.Map(rapid.Uint32Max(1<<16-1), func(d uint32) uint32 { return d << 16 }))
	rows := make([]box.ResultRow, rapid.IntRange(0, 300).Draw(t, "rows"))
	for i := range rows {
		rows[i].Result = task.Result{Operation: rapid.SampledFrom(ops).Draw(t, "op"), Device: device.Draw(t, "device"),
			Attempt: rapid.OneOf(rapid.Uint8Max(2), rapid.Uint8()).Draw(t, "attempt"),
			State:   task.State(rapid.OneOf(rapid.Uint8Max(2), rapid.Uint8()).Draw(t, "state")), Code: int32(i)}
		if i > 0 && rapid.IntRange(0, 9).Draw(t, "again") == 0 {
			rows[i] = rows[rapid.IntRange(0, i-1).Draw(t, "as")]
			rows[i].Code = int32(i)
		}
	}
	return rows
}

// TestPackResultsProperty packs rows: of those that say the same the first is kept,
// and the rows themselves stay as they are.
func TestPackResultsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t)
		before := slices.Clone(rows)
		got := packResults(rows).(*box.Results).Rows
		if want := keepFirst(before); !slices.Equal(got, want) {
			t.Errorf("of %v\n%v is kept, want\n%v", before, got, want)
		}
		// A table that is as good as full, so that most rows meet others in it.
		crowd := transitions{rows: rows, slots: make([]uint32, 1<<bits.Len(uint(len(rows))))}
		got = nil
		for i := range rows {
			if !crowd.add(i) {
				got = append(got, rows[i])
			}
		}
		if want := keepFirst(before); !slices.Equal(got, want) {
			t.Errorf("of %v\n%v is kept in a crowd, want\n%v", before, got, want)
		}
		if !slices.Equal(rows, before) {
			t.Errorf("%v\nbecame %v", before, rows)
		}
	})
}

// BenchmarkPackResults packs what a push makes: of each device that it was sent the
// task and that it succeeded.
func BenchmarkPackResults(b *testing.B) {
	for _, n := range []int{4096, 16384} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows, op := make([]box.ResultRow, n), task.NewRandomID()
			for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
				state := []task.State{task.Sent, task.Succeeded}[i%2]
				rows[at].Result = task.Result{Operation: op, Device: uint32(i/2 + 1), Attempt: 1, State: state, At: time.Unix(1, 0)}
			}
			b.ReportAllocs()
			for b.Loop() {
				if kept := packResults(rows).Len(); kept != n {
					b.Fatalf("%d rows are kept of %d", kept, n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
		})
	}
}
