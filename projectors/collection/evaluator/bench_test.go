package evaluator_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// BenchmarkStart is a start after which nothing is undone, until the first question is
// answered and the first cycle is over. Devices have one of a thousand names and nothing
// else: what it shows is what the evaluator adds to the engine.
func BenchmarkStart(b *testing.B) {
	const devices, collections = 100_000, 1000
	r := newRig(b)
	var definitions []event.Payload
	for i := range collections {
		definitions = append(definitions, definition(fmt.Sprintf("P01%05X", i+1), where(fmt.Sprintf("Name like '%%%d'", i))))
	}
	r.append(definitions...)
	for first := uint32(1); first <= devices; first += 1000 {
		all := &event.DevicesImported{}
		for d := first; d < first+1000; d++ {
			all.Devices = append(all.Devices, named(fmt.Sprint("pc", d%1000), d).Devices...)
		}
		r.append(all)
	}
	r.start()
	r.ran(1)
	check := func() {
		if err := r.stop(); err != nil {
			b.Fatal(err)
		}
	}
	check()
	head := r.head()
	for b.Loop() {
		r.start()
		r.ran(1)
		check()
	}
	if r.head() != head {
		b.Errorf("%d events were appended", r.head()-head)
	}
	if err := r.j.Close(); err != nil {
		b.Fatal(err)
	}
}

// ran waits until the incremental queue has run so many cycles and nothing waits.
func (r *rig) ran(cycles uint64) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := r.e.Stats(ctx); err != nil {
			r.t.Fatal(err)
		}
		idle := !slices.ContainsFunc(r.e.Queues(), func(q evaluator.QueueState) bool { return q.Running != nil || len(q.Waiting) > 0 })
		if idle && r.queue(event.IncrementalQueue).Stats.Cycles >= cycles {
			return
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatal("the evaluator does not come to rest")
}
