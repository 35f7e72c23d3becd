package estate

import (
	"maps"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/enginetest"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A run is an engine with an estate, and what the devices are by now.
type run struct {
	e       *Estate
	engine  *engine.Engine
	all     []engine.Collection
	records map[uint32]*schema.Record
}

func newRun(t testing.TB, devices, collections int, seed uint64) *run {
	t.Helper()
	r := &run{e: newEstate(t, devices, collections, seed), records: map[uint32]*schema.Record{}}
	var err error
	if r.all, err = r.e.Compile(); err != nil {
		t.Fatal(err)
	}
	for device := uint32(1); device <= uint32(devices); device++ {
		r.records[device] = r.e.Record(device)
	}
	r.engine = r.load(t)
	return r
}

// load makes another engine of what the devices are by now.
func (r *run) load(t testing.TB) *engine.Engine {
	t.Helper()
	e := engine.New(r.e.Schema())
	for device := uint32(1); device <= uint32(r.e.Devices()); device++ {
		if err := e.Put(r.records[device]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Define(r.all); err != nil {
		t.Fatal(err)
	}
	evaluate(t, e, nil)
	return e
}

func evaluate(t testing.TB, e *engine.Engine, devices *roaring.Bitmap) (moved uint64) {
	t.Helper()
	changes, err := e.Evaluate(engine.Request{Now: Now, Devices: devices})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		moved += c.Added.GetCardinality() + c.Removed.GetCardinality()
	}
	return moved
}

// change lets k devices change, and returns which.
func (r *run) change(round, k int) *roaring.Bitmap {
	batch := r.e.Batch(round, k)
	for _, device := range batch {
		r.records[device] = r.e.Change(r.records[device], round)
		if err := r.engine.Put(r.records[device]); err != nil {
			panic(err) // it was taken before
		}
	}
	return roaring.BitmapOf(batch...)
}

// same compares all members with those of another engine.
func (r *run) same(t *testing.T, other *engine.Engine) {
	t.Helper()
	for _, id := range r.engine.Order() {
		if a, b := r.engine.Members(id), other.Members(id); !a.Equals(b) {
			t.Errorf("collection %s: %d members, another engine has %d", id, a.GetCardinality(), b.GetCardinality())
		}
	}
}

// oracle compares all members with those of the oracle.
func (r *run) oracle(t *testing.T) {
	t.Helper()
	f := enginetest.NewFleet(r.e.Schema())
	f.Records = r.records
	f.Evaluate(r.all, engine.Request{Now: Now})
	empty := 0
	for id, want := range f.Members {
		if len(want) == 0 {
			empty++
		}
		if got := r.engine.Members(id).ToArray(); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("collection %s: %d members, the oracle has %d", id, len(got), len(want))
		}
	}
	if empty > len(f.Members)/2 {
		t.Errorf("%d of %d collections are empty", empty, len(f.Members))
	}
}

// TestEngineIsTheOracle goes from an estate through changes.
func TestEngineIsTheOracle(t *testing.T) {
	for seed := uint64(1); seed <= 2; seed++ {
		r := newRun(t, 80, 60, seed)
		r.oracle(t)
		for round := 1; round <= 2; round++ {
			if evaluate(t, r.engine, r.change(round, 30)) == 0 {
				t.Errorf("seed %d, round %d: nobody came or went", seed, round)
			}
			r.oracle(t)
		}
	}
}

// TestCOL8 is a large incremental evaluation: it is exact, and nothing is left for a
// full one.
func TestCOL8(t *testing.T) {
	r := newRun(t, 1500, 300, 1)
	if evaluate(t, r.engine, r.change(1, 800)) == 0 {
		t.Error("nobody came or went")
	}
	r.same(t, r.load(t))
	if n := evaluate(t, r.engine, nil); n != 0 {
		t.Errorf("a full evaluation finds %d memberships more", n)
	}
}

// BenchmarkCOL8 is that case at its size: 20,000 devices that changed, 4,000
// collections.
func BenchmarkCOL8(b *testing.B) {
	r := newRun(b, 40_000, 4000, 1)
	round, moved := 0, uint64(0)
	for b.Loop() {
		b.StopTimer()
		round++
		changed := r.change(round, 20_000)
		b.StartTimer()
		moved += evaluate(b, r.engine, changed)
	}
	b.ReportMetric(float64(moved)/float64(round), "changes/op")
}
