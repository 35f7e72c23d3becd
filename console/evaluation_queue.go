package console

import (
	"context"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// maxWorkNames is how many collections of one cycle an answer names.
const maxWorkNames = 100

func (c *Console) listEvaluationQueues(ctx context.Context, _ *struct{}) (*out[EvaluationQueues], error) {
	if c.cfg.Evaluator == nil {
		return nil, errNoCollections
	}
	v, err := c.readCollections(ctx, When{})
	if err != nil {
		return nil, err
	}
	list := EvaluationQueues{Items: []EvaluationQueue{}}
	list.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		for _, q := range c.cfg.Evaluator.Queues() {
			list.Items = append(list.Items, queueJSON(s, &q))
		}
		return nil
	})
	if err != nil {
		return nil, c.failView(ctx, "name the collections that wait", err)
	}
	return answerAt(list, list.Event)
}

func queueJSON(s *collection.Snapshot, q *evaluator.QueueState) EvaluationQueue {
	shown := EvaluationQueue{Kind: q.Queue.String(), Waiting: []EvaluationWork{}, Cycles: q.Stats.Cycles, Dropped: q.Stats.Dropped, LastStarted: instant(q.Stats.Began),
		LastSeconds: q.Stats.Took.Seconds(), LongestSeconds: q.Stats.Longest.Seconds()}
	if q.Stats.Cycles > 0 {
		shown.MeanSeconds = (q.Stats.Total / time.Duration(q.Stats.Cycles)).Seconds()
	}
	if q.Running != nil {
		work := workJSON(s, q.Running)
		shown.Running = &work
	}
	for i := range q.Waiting {
		shown.Waiting = append(shown.Waiting, workJSON(s, &q.Waiting[i]))
	}
	return shown
}

func workJSON(s *collection.Snapshot, t *evaluator.Task) EvaluationWork {
	shown := EvaluationWork{Collections: []CollectionRef{}, Count: t.Count, Dependants: t.Dependants, Cause: t.Cause.String(), By: t.By, Asked: t.Asked,
		Started: instant(t.Started), EstimatedSeconds: t.Estimate.Seconds()}
	if t.Estimate > 0 {
		shown.EstimatedEnd = instant(t.End)
	}
	for _, id := range t.Collections[:min(len(t.Collections), maxWorkNames)] {
		info, _ := s.Get(id)
		shown.Collections = append(shown.Collections, CollectionRef{ID: id, Name: info.Name})
	}
	return shown
}
