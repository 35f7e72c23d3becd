package evaluator

import (
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Refuse has the engine refuse evaluations, before Run.
func (e *Evaluator) Refuse(refuse func(engine.Request) error) {
	e.newCore = func(s *schema.Schema) core { return refusing{engine.New(s), refuse} }
}

// Cut makes results of what became of one collection.
func Cut(c *engine.Change) (parts [][]event.CollectionResult, err error) {
	e := &Evaluator{nodes: map[string]*node{c.ID: {id: c.ID}}}
	return e.cut(&round{which: event.IncrementalQueue, results: map[string]*engine.Change{c.ID: c}})
}

type refusing struct {
	*engine.Engine
	refuse func(engine.Request) error
}

func (r refusing) Evaluate(q engine.Request) ([]engine.Change, error) {
	if err := r.refuse(q); err != nil {
		return nil, err
	}
	return r.Engine.Evaluate(q)
}
