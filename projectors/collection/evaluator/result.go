package evaluator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
)

// Bounds of a part of a cycle's results, in bytes: what its results may take of
// [event.MaxEncoded], and what a result takes beside its id and its sets.
const (
	maxPart    = event.MaxEncoded - 2<<10
	resultRest = 64
)

// events makes the events of a cycle, none if there is nothing to say.
func (e *Evaluator) events(r *round) ([]*event.Event, error) {
	parts, err := e.cut(r)
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	e.cycles++
	took := e.cfg.Now().Sub(r.began)
	events := make([]*event.Event, len(parts))
	for i, results := range parts {
		events[i] = &event.Event{
			Observed: r.began,
			Actor:    event.Actor{Issuer: "site", Subject: "evaluator"},
			Payload: &event.CollectionsEvaluated{
				Cycle: e.cycles, Part: uint16(i + 1), Of: uint16(len(parts)), Queue: r.which, Cause: r.cause, By: r.by, Basis: r.basis,
				Started: r.began, Clock: e.clock, Took: took, Devices: uint32(r.devices), Count: uint32(len(r.evaluated)), Results: results,
			},
		}
	}
	return events, nil
}

// cut makes results of what became of the collections, in parts that fit an event
// each. Those that changed are named, those that were asked for, and at the start
// those of which it must be said that they were evaluated.
func (e *Evaluator) cut(r *round) (parts [][]event.CollectionResult, err error) {
	var part []event.CollectionResult
	size := 0
	for _, id := range slices.Sorted(maps.Keys(r.results)) {
		c := r.results[id]
		asked := r.whole[id] && (r.which != event.IncrementalQueue || e.nodes[id].unsaid)
		if !asked && c.Added.IsEmpty() && c.Removed.IsEmpty() {
			continue
		}
		for _, c := range fitting(c) {
			result, n, err := encode(c)
			if err != nil {
				return nil, err
			}
			if len(part) == event.MaxEvaluated || len(part) > 0 && size+n > maxPart {
				parts, part, size = append(parts, part), nil, 0
			}
			part = append(part, result)
			size += n
		}
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts, nil
}

// span is how many devices have room in the sets of one result, however they lie: as
// many times 8 KiB as there are 65,536 of them.
const span = 8 << 16

// fitting cuts a change whose sets no event holds into some of fewer devices each.
func fitting(c *engine.Change) (all []*engine.Change) {
	if max(c.Added.GetSerializedSizeInBytes(), c.Removed.GetSerializedSizeInBytes()) < event.MaxBitmap {
		return []*engine.Change{c}
	}
	members := c.Members - int(c.Added.GetCardinality()) + int(c.Removed.GetCardinality())
	for first := uint64(0); first < 1<<32; first += span {
		some := roaring.New()
		some.AddRange(first, first+span)
		part := *c
		part.Added, part.Removed = roaring.And(c.Added, some), roaring.And(c.Removed, some)
		if part.Added.IsEmpty() && part.Removed.IsEmpty() {
			continue
		}
		members += int(part.Added.GetCardinality()) - int(part.Removed.GetCardinality())
		part.Members = members
		all = append(all, &part)
	}
	return all
}

// encode returns a result and about how many bytes of an event it takes.
func encode(c *engine.Change) (result event.CollectionResult, size int, err error) {
	result = event.CollectionResult{ID: c.ID, Took: c.Took, Members: uint32(c.Members), Computed: uint32(c.Computed), Reused: uint32(c.Reused)}
	if result.Added, err = event.AppendSet(nil, c.Added); err == nil {
		result.Removed, err = event.AppendSet(nil, c.Removed)
	}
	if err != nil {
		return result, 0, fmt.Errorf("members of collection %s: %w", c.ID, err)
	}
	return result, resultRest + len(result.ID) + len(result.Added) + len(result.Removed), nil
}

// store makes events durable, as many in one page as fit.
func (e *Evaluator) store(ctx context.Context, events []*event.Event) error {
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) && n < journal.MaxPageEvents {
			raw, err := events[n].Append(nil)
			if err != nil {
				return fmt.Errorf("store results: %w", err)
			}
			if n > 0 && size+len(raw) > journal.MaxPageBytes {
				break
			}
			size += len(raw)
			n++
		}
		page := events[:n]
		err := e.retry(ctx, "store results", unavailable, func() error { return e.cfg.Journal.Append(ctx, page...) })
		if err != nil {
			return err
		}
		e.appended = append(e.appended, page...)
		events = events[n:]
	}
	return nil
}

// unavailable is for appends: what was not stored is tried again.
func unavailable(err error) bool { return errors.Is(err, journal.ErrUnavailable) }
