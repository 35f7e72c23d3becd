package console_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// evaluates is an evaluator that says what a test wants.
type evaluates struct {
	queues []evaluator.QueueState
	answer evaluator.Answer
	why    *engine.Explanation
	fails  error
	asked  string
	limit  int
}

func (e *evaluates) Queues() []evaluator.QueueState { return e.queues }

func (e *evaluates) Query(_ context.Context, text string, limit int) (evaluator.Answer, error) {
	e.asked, e.limit = text, limit
	return e.answer, e.fails
}

func (e *evaluates) Explain(_ context.Context, id string, device uint32) (*engine.Explanation, error) {
	e.asked = fmt.Sprint(id, " ", device)
	return e.why, e.fails
}

func TestEvaluationQueues(t *testing.T) {
	e := &evaluates{queues: []evaluator.QueueState{
		{Queue: event.FullQueue, Stats: evaluator.QueueStats{Cycles: 4, Dropped: 3, Began: start, Took: time.Second, Total: 6 * time.Second, Longest: 3 * time.Second}},
		{Queue: event.ManualQueue, Running: &evaluator.Task{Collections: []string{"P0100001", "P0100099"}, Count: 5, Dependants: true, Cause: event.ByRequest, By: 8,
			Asked: start, Started: start.Add(time.Second), Estimate: 2 * time.Second, End: start.Add(3 * time.Second)},
			Waiting: []evaluator.Task{{Collections: []string{"P0100002"}, Count: 1, Cause: event.ByDefinition, By: 9, Asked: start, End: start}}},
		{Queue: event.SingleQueue}, {Queue: event.IncrementalQueue},
	}}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Evaluator = e })
	r.tellEstate()
	var q console.EvaluationQueues
	r.do(http.MethodGet, console.PathEvaluationQueues, nil).ok(&q)
	if len(q.Items) != 4 || q.Event == 0 {
		t.Fatalf("queues are %+v", q)
	}
	if f := q.Items[0]; f.Kind != "full" || f.Running != nil || f.Waiting == nil || f.Cycles != 4 || f.Dropped != 3 || f.LastSeconds != 1 || f.MeanSeconds != 1.5 || f.LongestSeconds != 3 {
		t.Errorf("the full one is %+v", f)
	}
	m := q.Items[1]
	if m.Running == nil || !slices.Equal(m.Running.Collections, []console.CollectionRef{{ID: "P0100001", Name: "Laptops"}, {ID: "P0100099"}}) || m.Running.Count != 5 || !m.Running.Dependants ||
		m.Running.Cause != "request" || m.Running.EstimatedSeconds != 2 || !m.Running.EstimatedEnd.Equal(start.Add(3*time.Second)) || !m.Running.Started.Equal(start.Add(time.Second)) {
		t.Errorf("what runs is %+v", m.Running)
	}
	if len(m.Waiting) != 1 || m.Waiting[0].Started != nil || m.Waiting[0].EstimatedEnd != nil || m.Waiting[0].By != 9 || m.Waiting[0].Collections[0].Name != "Servers" {
		t.Errorf("what waits is %+v", m.Waiting)
	}
	newRig(t).do(http.MethodGet, console.PathEvaluationQueues, nil).problem(http.StatusServiceUnavailable, "no collections")
}

func TestTryQuery(t *testing.T) {
	e := &evaluates{answer: evaluator.Answer{Count: 7, Devices: []uint32{1, 2, 9}, Took: 4 * time.Millisecond}}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Evaluator = e })
	r.join("pc-1", "pc-2")
	r.tellEstate()
	r.do(http.MethodGet, r.min(console.PathDevices), nil)
	ask := func(query string) console.QueryRequest { return console.QueryRequest{Query: query, Limit: 3} }
	const query = "select * from SMS_R_System where Name like 'pc-%' and ResourceID in (select ResourceID from SMS_CM_RES_COLL_P0100002)"
	var reply console.QueryReply
	r.do(http.MethodPost, console.PathQuery, ask(query)).ok(&reply)
	if e.asked != query || e.limit != 3 || reply.Count != 7 || reply.Seconds != 0.004 || reply.Query == "" || len(reply.Items) != 3 ||
		reply.Items[0].Name != "pc-1" || reply.Items[2].Name != "" || reply.Items[2].Device != 9 {
		t.Errorf("asked for %q, %d: %+v", e.asked, e.limit, reply)
	}
	for query, want := range map[string]struct {
		line, column int
		words        string
	}{
		"select * from SMS_R_System where Nmae = 'x'": {1, 34, "Name"},
		"select *\nfrom SMS_R_Systm":                  {2, 6, "SMS_R_System"},
		"select * from SMS_R_System where ResourceID in\n (select ResourceID from SMS_CM_RES_COLL_P0100077)":                           {2, 42, "P0100077"},
		"select * from SMS_R_System where " + strings.Repeat("(", 5000) + "Name = 'x'" + strings.Repeat(")", 5000) + " and Client = 1": {1, 0, "levels"},
	} {
		p := r.do(http.MethodPost, console.PathQuery, ask(query))
		p.problem(http.StatusUnprocessableEntity, want.words)
		var refused console.DefinitionProblem
		p.into(&refused)
		if len(refused.Refused) != 1 || refused.Refused[0].Line != want.line || want.column > 0 && refused.Refused[0].Column != want.column {
			t.Errorf("%.80q is refused with %+v", query, refused.Refused)
		}
	}
	e.fails = evaluator.ErrStopped
	r.do(http.MethodPost, console.PathQuery, ask(query)).problem(http.StatusServiceUnavailable, "has stopped")
	e.fails = errors.New("odd")
	r.do(http.MethodPost, console.PathQuery, ask(query)).problem(http.StatusInternalServerError)
	r.do(http.MethodPost, console.PathQuery, console.QueryRequest{Query: strings.Repeat("x", 40_000)}).problem(http.StatusUnprocessableEntity)
	newRig(t).do(http.MethodPost, console.PathQuery, ask(query)).problem(http.StatusServiceUnavailable, "no collections")
}
