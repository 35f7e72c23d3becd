package collection

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// evaluated takes what a cycle, or a part of one, made of the collections.
func (f *fold) evaluated(b *projectors.Batch, e *event.Event, p *event.CollectionsEvaluated) error {
	if p.Queue < 1 || int(p.Queue) > queues {
		return nil
	}
	c, err := loadCycle(b, p.Queue, p.Cycle)
	if err != nil {
		return err
	}
	for i := range p.Results {
		if err := f.result(b, e, p, &p.Results[i], &c); err != nil {
			return err
		}
	}
	c.Queue, c.Cycle, c.Event, c.Done = p.Queue, p.Cycle, e.Number, e.Accepted
	c.Cause, c.By, c.Basis, c.Started, c.Clock = p.Cause, p.By, p.Basis, p.Started, p.Clock
	c.Took, c.Devices, c.Count, c.Of = p.Took, p.Devices, p.Count, p.Of
	c.Parts++
	return f.keepCycle(b, &c)
}

func loadCycle(b *projectors.Batch, queue event.EvaluationQueue, cycle uint64) (c Cycle, err error) {
	_, err = b.Get(cycleKey(queue, cycle), func(v []byte) (err error) {
		c, err = decodeCycle(v)
		return err
	})
	return c, err
}

// keepCycle writes a cycle and lets go of the lowest one if there are too many.
func (f *fold) keepCycle(b *projectors.Batch, c *Cycle) error {
	value, err := encodeCycle(c)
	if err != nil {
		return err
	}
	b.Set(cycleKey(c.Queue, c.Cycle), value)
	if c.Cycle > f.lastCycle {
		f.lastCycle, f.changed = c.Cycle, true
	}
	list := f.cycles[c.Queue-1]
	if i, ok := slices.BinarySearch(list, c.Cycle); !ok {
		list = slices.Insert(list, i, c.Cycle)
	}
	if len(list) > MaxCycles {
		b.Delete(cycleKey(c.Queue, list[0]))
		list = list[1:]
	}
	f.cycles[c.Queue-1] = list
	return nil
}

// result takes what became of one collection. A collection that is not there, and a
// set that is none, count for nothing.
func (f *fold) result(b *projectors.Batch, e *event.Event, p *event.CollectionsEvaluated, r *event.CollectionResult, cycle *Cycle) error {
	i, ok := find(f.list, r.ID)
	if !ok {
		return nil
	}
	added, err := event.ParseSet(r.Added)
	removed, err2 := event.ParseSet(r.Removed)
	if err != nil || err2 != nil {
		return nil
	}
	c := f.edit(i)
	plus, minus, err := c.move(b, added, removed)
	if err != nil {
		return err
	}
	st := &c.stats[p.Queue-1]
	run := &st.Last
	if st.Runs == 0 || run.Cycle != p.Cycle {
		st.Runs++
		*run = Run{Queue: p.Queue, Cycle: p.Cycle, Cause: p.Cause, By: p.By, Basis: p.Basis, Started: p.Started}
	}
	if plus+minus > 0 {
		if run.Added+run.Removed == 0 {
			cycle.Changed++
		}
		cycle.Added += plus
		cycle.Removed += minus
		st.Changed, c.Changed = mark(e), mark(e)
		c.delta(e.Number)
	}
	run.Event, run.Done, run.Took, run.Members = e.Number, e.Accepted, r.Took, c.Members
	run.Added += plus
	run.Removed += minus
	run.Computed, run.Reused = r.Computed, r.Reused
	c.Evaluated = *run
	return c.store(b, run, st.Runs)
}

// delta takes note of an event that changed the members.
func (c *entry) delta(number uint64) {
	n := len(c.deltas)
	if n > 0 && c.deltas[n-1] == number {
		return
	}
	from := max(n+1-MaxDeltas, 0)
	c.earlier = c.earlier || from > 0
	c.deltas = append(slices.Clone(c.deltas[from:]), number)
}

// store writes how the collection is, and its run number n.
func (c *entry) store(b *projectors.Batch, run *Run, n uint64) error {
	value, err := encodeRun(run)
	if err != nil {
		return err
	}
	b.Set(runKey(c.ID, run.Queue, (n-1)%MaxRuns), value)
	if value, err = encodeState(c); err != nil {
		return err
	}
	b.Set(idKey(prefixState, c.ID), value)
	return nil
}

// move changes the members and returns how many came and went. The sets are its own
// from now on.
func (c *entry) move(b *projectors.Batch, added, removed *roaring.Bitmap) (plus, minus uint64, err error) {
	added.AndNot(c.own)
	removed.And(c.own)
	plus, minus = added.GetCardinality(), removed.GetCardinality()
	if plus+minus == 0 {
		return 0, 0, nil
	}
	flips := roaring.Or(added, removed)
	c.own.Or(added)
	c.own.AndNot(removed)
	c.Members += plus
	c.Members -= minus
	for _, chunk := range chunks(flips) {
		if err := c.storeChunk(b, chunk, within(flips, chunk)); err != nil {
			return 0, 0, err
		}
	}
	return plus, minus, nil
}

// storeChunk writes a chunk of which some devices turned: only these while they are
// few, with those that turned since the chunk was written whole.
func (c *entry) storeChunk(b *projectors.Batch, chunk uint16, flips *roaring.Bitmap) error {
	whole, few := chunkKey(prefixMembers, c.ID, chunk), chunkKey(prefixFlips, c.ID, chunk)
	now := within(c.own, chunk)
	if now.IsEmpty() {
		b.Delete(whole)
		b.Delete(few)
		return nil
	}
	_, err := b.Get(few, func(v []byte) error {
		before, err := event.ParseSet(v)
		if err == nil {
			flips.Xor(before)
		}
		return err
	})
	if err != nil {
		return err
	}
	if flips.IsEmpty() {
		b.Delete(few)
		return nil
	}
	if flips.GetCardinality() <= maxFlips {
		value, err := event.AppendSet(nil, flips)
		if err != nil {
			return err
		}
		if len(value) <= maxFlips {
			b.Set(few, value)
			return nil
		}
	}
	value, err := encodeChunk(now)
	if err != nil {
		return err
	}
	b.Set(whole, value)
	b.Delete(few)
	return nil
}
