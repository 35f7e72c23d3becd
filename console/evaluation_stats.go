package console

import (
	"context"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	recurrence "github.com/bugle-fleet/bugle/projectors/collection/schedule"
)

// evaluationKinds are the kinds of evaluation by name: the queues that they wait in.
var evaluationKinds = map[string]event.EvaluationQueue{
	event.FullQueue.String():        event.FullQueue,
	event.ManualQueue.String():      event.ManualQueue,
	event.SingleQueue.String():      event.SingleQueue,
	event.IncrementalQueue.String(): event.IncrementalQueue,
}

type statsInput struct {
	When
	Kind       string `query:"kind" enum:"full,manual,single,incremental" default:"full"`
	Collection string `query:"collection" maxLength:"256" doc:"only this one, by id or name"`
	History    bool   `query:"history" doc:"with the last runs of each"`
}

func (c *Console) listEvaluationStats(ctx context.Context, in *statsInput) (*out[EvaluationStats], error) {
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	now, err := c.timeOf(ctx, v)
	if err != nil {
		return nil, c.failView(ctx, "read how collections were evaluated", err)
	}
	reply := EvaluationStats{Kind: in.Kind, Items: []EvaluationStat{}}
	reply.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		only := ""
		if in.Collection != "" {
			info, err := findCollection(s, in.Collection)
			if err != nil {
				return err
			}
			only = info.ID
		}
		return fillStats(s, in, only, now, &reply)
	})
	if err != nil {
		return nil, c.failView(ctx, "read how collections were evaluated", err)
	}
	return answerAt(reply, reply.Event)
}

// fillStats fills in those of a kind; only is the id of the one that is wanted, or
// empty, and now the moment in question.
func fillStats(s *collection.Snapshot, in *statsInput, only string, now time.Time, reply *EvaluationStats) error {
	queue := evaluationKinds[in.Kind]
	all := s.Stats(queue)
	var total time.Duration
	for i := range all {
		total += all[i].Last.Took
	}
	reply.TotalSeconds = total.Seconds()
	for i := range all {
		st := &all[i]
		if only != "" && st.ID != only {
			continue
		}
		shown := statJSON(st, total)
		if queue == event.FullQueue {
			shown.Next = nextOf(s, st.ID, now)
		}
		if in.History {
			runs, err := s.Runs(st.ID, queue)
			if err != nil {
				return err
			}
			shown.History, shown.Trend = pointsJSON(runs), trendOf(runs)
		}
		reply.Items = append(reply.Items, shown)
	}
	return nil
}

func statJSON(st *collection.Stat, total time.Duration) EvaluationStat {
	r := &st.Last
	shown := EvaluationStat{ID: st.ID, Name: st.Name, Runs: st.Runs, Seconds: r.Took.Seconds(), Started: r.Started, Done: r.Done,
		Members: r.Members, Added: r.Added, Removed: r.Removed, MembersChange: markJSON(st.Changed),
		Cycle: r.Cycle, Cause: r.Cause.String(), By: r.By, Basis: r.Basis, Computed: r.Computed, Reused: r.Reused, Event: r.Event}
	if total > 0 {
		shown.Share = float64(r.Took) / float64(total)
	}
	return shown
}

// nextOf is when a collection is due by its own schedule, nil if it has none.
func nextOf(s *collection.Snapshot, id string, now time.Time) *time.Time {
	info, ok := s.Get(id)
	if !ok || info.Schedule == "" {
		return nil
	}
	plan, err := recurrence.Parse(info.Schedule)
	if err != nil {
		return nil
	}
	next, ok := plan.Next(now)
	if !ok {
		return nil
	}
	return &next
}

func pointsJSON(runs []collection.Run) []EvaluationPoint {
	points := make([]EvaluationPoint, 0, len(runs))
	for i := range runs {
		r := &runs[i]
		points = append(points, EvaluationPoint{Cycle: r.Cycle, Event: r.Event, Started: r.Started, Done: r.Done, Seconds: r.Took.Seconds(),
			Cause: r.Cause.String(), By: r.By, Members: r.Members, Added: r.Added, Removed: r.Removed})
	}
	return points
}

// trendOf compares the last run with the median of those before it; nil if there is
// none before.
func trendOf(runs []collection.Run) *float64 {
	if len(runs) < 2 {
		return nil
	}
	before := make([]time.Duration, 0, len(runs)-1)
	for _, r := range runs[1:] {
		before = append(before, r.Took)
	}
	slices.Sort(before)
	n := len(before)
	median := (before[(n-1)/2] + before[n/2]) / 2
	if median <= 0 {
		return nil
	}
	trend := float64(runs[0].Took) / float64(median)
	return &trend
}

type cyclesInput struct {
	When
	Kind  string `query:"kind" enum:"full,manual,single,incremental" doc:"only these; default all"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (c *Console) listEvaluationCycles(ctx context.Context, in *cyclesInput) (*out[CycleList], error) {
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	list := CycleList{Items: []EvaluationCycle{}}
	list.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		for name, queue := range evaluationKinds {
			if in.Kind != "" && in.Kind != name {
				continue
			}
			cycles, err := s.Cycles(queue, in.Limit)
			if err != nil {
				return err
			}
			for i := range cycles {
				list.Items = append(list.Items, cycleJSON(&cycles[i]))
			}
		}
		return nil
	})
	if err != nil {
		return nil, c.failView(ctx, "list cycles of the evaluator", err)
	}
	slices.SortFunc(list.Items, func(a, b EvaluationCycle) int {
		if a.Event > b.Event {
			return -1
		}
		return 1
	})
	list.Items = list.Items[:min(len(list.Items), in.Limit)]
	return answerAt(list, list.Event)
}

func cycleJSON(y *collection.Cycle) EvaluationCycle {
	return EvaluationCycle{Cycle: y.Cycle, Kind: y.Queue.String(), Cause: y.Cause.String(), By: y.By, Basis: y.Basis, Started: y.Started, Done: y.Done,
		Clock: y.Clock, Seconds: y.Took.Seconds(), Devices: y.Devices, Collections: y.Count, Changed: y.Changed, Added: y.Added, Removed: y.Removed, Event: y.Event}
}
