package evaluator

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// Status messages of the evaluator; package console has the catalogue.
const (
	msgSlow   = 1301 // a cycle was longer than its interval
	msgBroken = 1302 // a collection cannot be evaluated
)

// tellEvery is how often one thing is told of; maxTold how many things are remembered.
const (
	tellEvery = time.Hour
	maxTold   = 1000
)

// tell sends a status message, unless one about the same was sent lately.
func (e *Evaluator) tell(about string, m *event.SiteMessage) {
	now := e.cfg.Now()
	for was, at := range e.told {
		if now.Sub(at) >= tellEvery {
			delete(e.told, was)
		}
	}
	if _, lately := e.told[about]; lately || len(e.told) >= maxTold {
		return
	}
	e.told[about] = now
	m.Component = "evaluator"
	e.cfg.Log.Warn(m.Text, "message", m.Message)
	e.cfg.Notify(m)
}

func (e *Evaluator) tellBroken(n *node) {
	text := fmt.Sprintf("collection %s (%s) cannot be evaluated and keeps its members: %v", n.id, n.definition.Name, n.broken)
	e.tell("broken "+n.id, &event.SiteMessage{Message: msgBroken, Severity: event.Error, Text: text})
}

// finish ends a cycle, and tells if it was longer than the time until the next one.
func (e *Evaluator) finish(r *round) {
	took := e.queues.done(r.which, e.cfg.Now())
	e.cfg.Log.Debug("evaluated", "queue", r.which, "cause", r.cause, "collections", len(r.evaluated), "devices", r.devices, "took", took)
	interval := r.item.interval
	if r.which == event.IncrementalQueue {
		interval = e.cfg.Settings.Slow
	}
	if interval == 0 || took <= interval || r.cause == event.ByStart {
		return
	}
	e.tell("slow "+r.which.String(), &event.SiteMessage{Message: msgSlow, Severity: event.Warning,
		Text: fmt.Sprintf("a cycle of the queue %s took %s for %d collections and %d devices, and the next one is due after %s",
			r.which, took.Round(time.Millisecond), len(r.evaluated), r.devices, interval)})
}
