package site

import (
	"context"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// msgEvaluatorStopped is the status message of the component "evaluator" when it ended
// by itself; package evaluator has its others.
const msgEvaluatorStopped = 1303

// openEvaluator makes what evaluates collections and starts it. It reads every
// device first, and nobody waits for that: members are as they were until then.
func (s *Site) openEvaluator(context.Context) error {
	s.evaluator = evaluator.New(evaluator.Config{
		Journal: s.journal, Inventory: evaluator.Inventory(s.readers.inventory), Collections: evaluator.Collections(s.readers.collection),
		Views: s.views, Notify: s.notices.take, Log: s.cfg.Log,
	})
	s.evaluatorStage.Start(s.failed, "evaluator", s.evaluate)
	return nil
}

// evaluate runs the evaluator. If it cannot go on, members stay as they are; pushes
// and results do not need it, so the site runs on and says so.
func (s *Site) evaluate(ctx context.Context) error {
	err := s.evaluator.Run(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	s.cfg.Log.Error("collections are not evaluated any more, members stay as they are until the next start", "error", err)
	s.notices.take(&event.SiteMessage{Component: "evaluator", Message: msgEvaluatorStopped, Severity: event.Error,
		Text: "collections are not evaluated any more until the next start: " + err.Error()})
	<-ctx.Done()
	return nil
}

// forecast is the evaluator for the console.
type forecast struct{ *evaluator.Evaluator }

var _ console.Forecaster = forecast{}

// WhatIf implements [console.Forecaster].
func (f forecast) WhatIf(ctx context.Context, changed []event.Collection, deleted []string) ([]engine.Change, error) {
	all := make([]*event.Collection, len(changed))
	for i := range changed {
		all[i] = &changed[i]
	}
	return f.Evaluator.WhatIf(ctx, all, deleted)
}
