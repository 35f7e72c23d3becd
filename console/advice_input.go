package console

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/advice"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// What is read for advice.
const (
	adviceCycles     = 100             // of the last incremental ones
	adviceOperations = 1000            // of the open ones
	adviceQuestions  = 500             // to the evaluator
	adviceTime       = 5 * time.Second // for all of these
)

// An adviceGatherer collects what advice is made from.
type adviceGatherer struct {
	c       *Console
	v       *reading
	name    func(device uint32) string
	in      advice.Input
	unasked int

	asked  int
	schema *schema.Schema
}

// collections takes over definitions, members and statistics.
func (g *adviceGatherer) collections(s *collection.Snapshot) error {
	g.schema = g.c.stateOf(g.v, s).Schema()
	g.in.Devices, g.in.Name = s.Members(event.RootCollection), g.name
	full, err := s.Cycles(event.FullQueue, collection.MaxCycles)
	if err != nil {
		return err
	}
	took := map[uint64]time.Duration{}
	for _, y := range full {
		if y.Cause == event.BySchedule {
			took[y.Cycle] = y.Took
		}
	}
	incremental, err := s.Cycles(event.IncrementalQueue, adviceCycles)
	if err != nil {
		return err
	}
	for _, y := range incremental {
		g.in.Cycles = append(g.in.Cycles, advice.Cycle{Took: y.Took, Collections: int(y.Count)})
	}
	cycleOf, alone := map[string]time.Duration{}, map[string]time.Duration{}
	for _, st := range s.Stats(event.FullQueue) {
		cycleOf[st.ID] = took[st.Last.Cycle]
	}
	for _, st := range s.Stats(event.IncrementalQueue) {
		alone[st.ID] = st.Last.Took
	}
	for _, info := range s.List() {
		if info.ID == event.RootCollection {
			continue
		}
		g.in.Collections = append(g.in.Collections, advice.Collection{Collection: info.Collection, DirectMembers: definitions.Direct(&info.Collection), Rules: g.rules(&info),
			Members: s.Members(info.ID), Evaluated: info.Evaluated.Event > 0, Took: alone[info.ID], FullCycle: cycleOf[info.ID]})
	}
	return nil
}

func (g *adviceGatherer) rules(info *collection.Info) []advice.Query {
	rules := make([]advice.Query, len(info.Queries))
	for i, q := range info.Queries {
		rules[i].Parsed, rules[i].Err = wql.Parse(q.WQL, g.schema)
	}
	return rules
}

// rest takes over what is beside the collections: windows, open operations, and
// what the evaluator knows.
func (g *adviceGatherer) rest(ctx context.Context) error {
	g.in.Now = g.c.cfg.Now()
	if g.v.past {
		e, err := g.c.event(ctx, g.v.event)
		if err != nil {
			return err
		}
		g.in.Now = e.Accepted
	}
	windows, err := g.v.allWindows()
	if err != nil {
		return err
	}
	for _, w := range windows {
		g.in.Windows = append(g.in.Windows, advice.Window{Collection: w.collection, Window: w.Window})
	}
	if err := g.operations(ctx); err != nil {
		return err
	}
	g.ask(ctx)
	return nil
}

// operations takes over what waits for windows, and to which collections something
// is pushed.
func (g *adviceGatherer) operations(ctx context.Context) error {
	open, _, err := g.v.operations.Open()
	if err != nil {
		return err
	}
	uses := map[string][]string{}
	for _, o := range open[:min(len(open), adviceOperations)] {
		t, err := o.Signed.Task()
		if err != nil {
			continue
		}
		e, err := g.c.event(ctx, o.Event)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("operation %s (%s)", o.ID, t.Kind)
		if p, ok := e.Payload.(*event.OperationRequested); ok && p.Collection != "" {
			uses[p.Collection] = append(uses[p.Collection], what)
		}
		k := kinds[t.Kind]
		if k == nil || k.class == "normal" {
			continue
		}
		run := t.RunTimeout
		if run <= 0 {
			run = k.timeout
		}
		if ignoresWindows(&t) {
			continue
		}
		g.in.Work = append(g.in.Work, advice.Work{What: what, Kind: windowKind(t.Kind), Run: run, Devices: o.Targets})
	}
	for i := range g.in.Collections {
		g.in.Collections[i].Uses = uses[g.in.Collections[i].ID]
	}
	return nil
}

// updateKinds is how the names of the kinds begin that keep to the windows for
// updates, as agents have it.
const updateKinds = "update."

func windowKind(kind string) window.Kind {
	if strings.HasPrefix(kind, updateKinds) {
		return window.Updates
	}
	return window.General
}

// ignoresWindows tells whether a task that keeps to windows was told not to.
func ignoresWindows(t *task.Task) bool {
	var params struct{ IgnoreWindows bool }
	return json.Unmarshal(t.Params, &params) == nil && params.IgnoreWindows
}

// ask lets the evaluator tell what it cannot evaluate, whom queries select beside excludes and includes, and
// which values no device has. Of the past it knows nothing.
func (g *adviceGatherer) ask(ctx context.Context) {
	if g.c.cfg.Evaluator == nil || g.v.past {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, adviceTime)
	defer cancel()
	g.broken(ctx)
	for i := range g.in.Collections {
		d := &g.in.Collections[i]
		if len(d.Include)+len(d.Exclude) == 0 {
			continue
		}
		for j := range d.Rules {
			if d.Rules[j].Parsed == nil {
				continue
			}
			if a, ok := g.query(ctx, d.Queries[j].WQL, evaluator.MaxRows); ok && a.Count == len(a.Devices) {
				d.Rules[j].Selected = roaring.BitmapOf(a.Devices...)
			}
		}
	}
	g.in.Absent = map[advice.Text]bool{}
	for i := range g.in.Collections {
		for j := range g.in.Collections[i].Rules {
			if q := g.in.Collections[i].Rules[j].Parsed; q != nil {
				g.texts(ctx, q)
			}
		}
	}
}

// broken takes over which collections the evaluator cannot evaluate, if it tells.
func (g *adviceGatherer) broken(ctx context.Context) {
	e, tells := g.c.cfg.Evaluator.(interface {
		States(context.Context) ([]evaluator.State, error)
	})
	if !tells {
		return
	}
	states, err := e.States(ctx)
	if err != nil {
		g.unasked++
		return
	}
	why := map[string]error{}
	for _, s := range states {
		why[s.ID] = s.Broken
	}
	for i := range g.in.Collections {
		g.in.Collections[i].Broken = why[g.in.Collections[i].ID]
	}
}

// texts asks whether some device has what a query looks for.
func (g *adviceGatherer) texts(ctx context.Context, q *wql.Query) {
	for _, t := range advice.Texts(q) {
		if _, known := g.in.Absent[t]; known {
			continue
		}
		if a, ok := g.query(ctx, t.Query(), 0); ok {
			g.in.Absent[t] = a.Count == 0
		}
	}
}

// query asks one question, as long as there is room and time for it.
func (g *adviceGatherer) query(ctx context.Context, text string, limit int) (evaluator.Answer, bool) {
	if g.asked >= adviceQuestions || ctx.Err() != nil {
		g.unasked++
		return evaluator.Answer{}, false
	}
	g.asked++
	a, err := g.c.cfg.Evaluator.Query(ctx, text, limit)
	if err != nil {
		g.unasked++
	}
	return a, err == nil
}
