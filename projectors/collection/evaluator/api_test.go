package evaluator_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

func TestQuery(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 5, 7, 9), named("b", 6))
		r.settle()
		a, err := r.e.Query(context.Background(), "select * from SMS_R_System where Name like 'A%'", 2)
		if err != nil || a.Count != 3 || !slices.Equal(a.Devices, []uint32{5, 7}) {
			t.Errorf("%+v, %v", a, err)
		}
		_, err = r.e.Query(context.Background(), "select * from SMS_R_System where Nme = 1", 2)
		var misread *wql.Error
		if !errors.As(err, &misread) {
			t.Errorf("%v", err)
		}
	})
}

func TestWhatIfAndExplain(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 5, 7), named("b", 6), definition("P0100001", where("Name like 'a%'")), definition("P0100002", limit("P0100001"), include(event.RootCollection)))
		r.settle()
		head := r.head()
		changes, err := r.e.WhatIf(context.Background(), []*event.Collection{definition("P0100001", where("Name = 'b'")).After}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if (c.ID == "P0100001" || c.ID == "P0100002") && (!slices.Equal(c.Added.ToArray(), []uint32{6}) || !slices.Equal(c.Removed.ToArray(), []uint32{5, 7})) {
				t.Errorf("%+v", c)
			}
		}
		if len(changes) < 2 {
			t.Errorf("changes are %+v", changes)
		}
		r.settle()
		r.expect("P0100001", 5, 7)
		if r.head() != head {
			t.Error("what if changed something")
		}
		var broken *evaluator.BrokenError
		var misread *wql.Error
		if _, err := r.e.WhatIf(context.Background(), []*event.Collection{definition("P0100001", where("Nme = 'b'")).After}, nil); !errors.As(err, &broken) || !errors.As(err, &misread) {
			t.Errorf("%v", err)
		}
		if x, err := r.e.Explain(context.Background(), "P0100001", 5); err != nil || x == nil {
			t.Errorf("%v, %v", x, err)
		}
		var unknown *evaluator.UnknownError
		if _, err := r.e.Explain(context.Background(), "P01000FF", 5); !errors.As(err, &unknown) || unknown.Collection != "P01000FF" {
			t.Errorf("%v", err)
		}
		r.append(definition("P0100001", where("Nme like 'a%'")))
		r.settle()
		if _, err := r.e.Explain(context.Background(), "P0100001", 5); !errors.As(err, &broken) {
			t.Errorf("%v", err)
		}
	})
}

func TestEstimateAndStates(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(named("az", 5, 7), definition("P0100001", where("Name like 'a%'"), scheduled("0 4 * * *")), definition("P0100002", limit("P0100001")),
			definition("P0100003", scheduled("nonsense")))
		r.settle()
		x, err := r.e.Estimate(context.Background(), []string{"P0100001"}, true)
		if err != nil || x.Collections != 2 || x.Devices != 2 {
			t.Errorf("%+v, %v", x, err)
		}
		if _, err := r.e.Estimate(context.Background(), []string{"P01000FF"}, true); err == nil {
			t.Error("there is an estimate for nothing")
		}
		all, err := r.e.States(context.Background())
		if err != nil || len(all) != 4 || all[0].ID != "P0100001" || all[3].ID != event.RootCollection {
			t.Fatalf("%+v, %v", all, err)
		}
		if s := all[0]; s.Incremental || s.Stale || s.Next.UTC().Hour() != 4 {
			t.Errorf("state is %+v", s)
		}
		if s := all[2]; s.Timing == nil || s.Broken != nil || !s.Next.IsZero() {
			t.Errorf("state is %+v", s)
		}
		s, err := r.e.Stats(context.Background())
		if err != nil || s.Devices != 2 || s.Collections != 4 || s.Broken != 0 || s.Applied < 4 {
			t.Errorf("%+v, %v", s, err)
		}
		err = r.e.With(context.Background(), func(e *engine.Engine, _ *schema.Schema, now time.Time) error {
			if n := e.Members("P0100001").GetCardinality(); n != 2 {
				t.Errorf("%d members", n)
			}
			return context.Canceled
		})
		if err != context.Canceled {
			t.Error(err)
		}
	})
}

// The queues answer while a cycle runs.
func TestQueuesSayWhatRunsAndWaits(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.append(definition("P0100001"), definition("P0100002"), definition("P0100003", limit("P0100001")))
		r.settle()
		r.w.fail(errors.New("view is being built"))
		began := time.Now()
		r.append(named("a", 1),
			&event.EvaluationRequested{Collections: []string{"P0100002"}},
			&event.EvaluationRequested{Collections: []string{"P0100001"}, Dependants: true},
			&event.EvaluationRequested{Collections: []string{"P0100002", "P0100003"}})
		time.Sleep(time.Second)
		synctest.Wait()
		q := r.queue(event.SingleQueue)
		if q.Running == nil || q.Running.Count != 1 || q.Running.Started.Before(began) || q.Running.Cause != event.ByRequest || !slices.Equal(q.Running.Collections, []string{"P0100002"}) {
			t.Errorf("%+v", q.Running)
		}
		if len(q.Waiting) != 1 || !slices.Equal(q.Waiting[0].Collections, []string{"P0100003"}) || q.Waiting[0].Asked.IsZero() || q.Waiting[0].End.Before(time.Now()) || q.Stats.Dropped != 1 {
			t.Errorf("%+v", q.Waiting)
		}
		if q := r.queue(event.ManualQueue); q.Running != nil || len(q.Waiting) != 1 || !q.Waiting[0].Dependants {
			t.Errorf("%+v", q)
		}
		r.w.fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, q := range r.e.Queues() {
			if q.Running != nil || len(q.Waiting) != 0 {
				t.Errorf("%+v", q)
			}
		}
	})
}

func TestStoppedAnswersNobody(t *testing.T) {
	in(t, evaluator.Settings{}, func(r *rig) {
		r.settle()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if _, err := r.e.Stats(context.Background()); !errors.Is(err, evaluator.ErrStopped) {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := evaluator.New(evaluator.Config{}).Stats(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
