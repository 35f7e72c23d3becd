package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

// evaluationKinds are the kinds of evaluation.
var evaluationKinds = []string{"full", "incremental", "manual", "single"}

var statsOrders = []string{"length", "changes", "name", "last"}

const statsHelp = `Show how the evaluations of collections went, by kind: full (on schedule), incremental
(devices changed), manual (asked for, with dependants) or single (asked for, alone).

A line is the last run of a collection: how long it took, when it was done, how many members
came and went, when a run of this kind changed the members last, and its share of what the
last runs of all collections took together. Incremental cycles name only the collections
whose members they changed, so the last incremental run is the last one that did.

--sort orders by length (the longest first), changes (the most first), name, or last (the
newest first). --history lists the last runs of each, at most 32, and their trend: the time
of the last one over the median of those before it. --cycles lists whole cycles of the
evaluator instead: why they ran, how long, and what they changed in all.

For kind incremental the columns are those of the query that Configuration Manager's
documentation runs by hand: CollectionName, SiteID, Seconds, LastIncrementalRefreshTime,
IncChanges, MemberChangeTime.`

// A statsCall is what 'collections stats' was asked for.
type statsCall struct {
	kind, order     string
	history, cycles bool
	limit           int
	past            pastFlag
}

func collectionsStats(o *Options) *cobra.Command {
	var call statsCall
	c := &cobra.Command{
		Use:   "stats [COLLECTION]",
		Short: "Show how the evaluations of collections went",
		Long:  statsHelp,
		Example: `  bugle collections stats --kind incremental --sort length
  bugle collections stats Laptops --kind full --history
  bugle collections stats --cycles --limit 20 -o csv`,
		Args:              atMost("COLLECTION"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := call.check(args); err != nil {
				return err
			}
			if call.cycles {
				return s.showCycles(&call)
			}
			return s.showStats(&call, strings.Join(args, ""))
		}),
	}
	f := c.Flags()
	f.StringVar(&call.kind, "kind", "", "full, incremental, manual or single (default full; with --cycles all)")
	f.StringVar(&call.order, "sort", "length", "length, changes, name or last")
	f.BoolVar(&call.history, "history", false, "list the last runs of each, and their trend")
	f.BoolVar(&call.cycles, "cycles", false, "list cycles of the evaluator")
	call.past.add(c)
	limitFlag(c, &call.limit, 0)
	c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(evaluationKinds, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(statsOrders, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (call *statsCall) check(args []string) error {
	switch {
	case call.kind != "" && !slices.Contains(evaluationKinds, call.kind):
		return usage("--kind: %q is none of %s", call.kind, strings.Join(evaluationKinds, ", "))
	case !slices.Contains(statsOrders, call.order):
		return usage("--sort: %q is none of %s", call.order, strings.Join(statsOrders, ", "))
	case call.cycles && (call.history || len(args) > 0):
		return usage("--cycles lists whole cycles; it goes with no collection and no --history")
	}
	if call.kind == "" && !call.cycles {
		call.kind = "full"
	}
	return cmp.Or(checkLimit(call.limit), call.past.check())
}

func (s *session) showStats(call *statsCall, only string) error {
	q := query("kind", call.kind, "collection", only)
	if call.history {
		q.Set("history", "true")
	}
	var reply console.EvaluationStats
	if err := s.getAs(s.ctx, &call.past, console.PathEvaluationStats, q, &reply); err != nil {
		return err
	}
	sortStats(reply.Items, call.order)
	items := first(call.limit, all(reply.Items))
	switch {
	case call.history && (s.out.table() || s.out.format == "csv"):
		if call.limit > 0 {
			reply.Items = reply.Items[:min(call.limit, len(reply.Items))]
		}
		return list(s.out, runColumns, all(runRows(reply.Items)))
	case call.kind == "incremental":
		return listExact(s.out, incrementalColumns, items)
	}
	columns := statColumns
	if call.kind != "full" {
		columns = slices.DeleteFunc(slices.Clone(columns), func(c column[console.EvaluationStat]) bool { return c.name == "nextEvaluation" })
	}
	return list(s.out, columns, items)
}

// sortStats orders by what --sort says, and by name what is equal then.
func sortStats(items []console.EvaluationStat, order string) {
	slices.SortStableFunc(items, func(a, b console.EvaluationStat) int {
		by := 0
		switch order {
		case "length":
			by = cmp.Compare(b.Seconds, a.Seconds)
		case "changes":
			by = cmp.Compare(b.Added+b.Removed, a.Added+a.Removed)
		case "last":
			by = b.Done.Compare(a.Done)
		}
		return cmp.Or(by, cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.ID, b.ID))
	})
}

// A length is a time in seconds, shown to the millisecond.
type length float64

func (l length) String() string { return strconv.FormatFloat(float64(l), 'f', 3, 64) }

// percent is a share in percent.
func percent(share float64) string { return fmt.Sprintf("%.1f", 100*share) }

func markAt(m *console.EventMark) *time.Time {
	if m == nil {
		return nil
	}
	return &m.At
}

var statColumns = []column[console.EvaluationStat]{
	{"name", false, func(e console.EvaluationStat) any { return e.Name }},
	{"id", false, func(e console.EvaluationStat) any { return e.ID }},
	{"seconds", false, func(e console.EvaluationStat) any { return length(e.Seconds) }},
	{"lastCompletion", false, func(e console.EvaluationStat) any { return e.Done }},
	{"nextEvaluation", false, func(e console.EvaluationStat) any { return e.Next }},
	{"added", false, func(e console.EvaluationStat) any { return e.Added }},
	{"removed", false, func(e console.EvaluationStat) any { return e.Removed }},
	{"memberChange", false, func(e console.EvaluationStat) any { return markAt(e.MembersChange) }},
	{"percentOfTime", false, func(e console.EvaluationStat) any { return percent(e.Share) }},
	{"members", true, func(e console.EvaluationStat) any { return e.Members }},
	{"runs", true, func(e console.EvaluationStat) any { return e.Runs }},
	{"cause", true, func(e console.EvaluationStat) any { return e.Cause }},
	{"by", true, func(e console.EvaluationStat) any { return e.By }},
	{"cycle", true, func(e console.EvaluationStat) any { return e.Cycle }},
	{"computed", true, func(e console.EvaluationStat) any { return e.Computed }},
	{"reused", true, func(e console.EvaluationStat) any { return e.Reused }},
	{"event", true, func(e console.EvaluationStat) any { return e.Event }},
}

// incrementalColumns have the names that the original's manual query gives them.
var incrementalColumns = []column[console.EvaluationStat]{
	{"CollectionName", false, func(e console.EvaluationStat) any { return e.Name }},
	{"SiteID", false, func(e console.EvaluationStat) any { return e.ID }},
	{"Seconds", false, func(e console.EvaluationStat) any { return length(e.Seconds) }},
	{"LastIncrementalRefreshTime", false, func(e console.EvaluationStat) any { return e.Done }},
	{"IncChanges", false, func(e console.EvaluationStat) any { return e.Added + e.Removed }},
	{"MemberChangeTime", false, func(e console.EvaluationStat) any { return markAt(e.MembersChange) }},
}

// A runRow is one run of one collection.
type runRow struct {
	stat  *console.EvaluationStat
	run   console.EvaluationPoint
	trend any // of the newest run of each
}

func runRows(items []console.EvaluationStat) (rows []runRow) {
	for i := range items {
		for j, p := range items[i].History {
			row := runRow{stat: &items[i], run: p}
			if j == 0 && items[i].Trend != nil {
				row.trend = fmt.Sprintf("%.2f", *items[i].Trend)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

var runColumns = []column[runRow]{
	{"name", false, func(r runRow) any { return r.stat.Name }},
	{"id", false, func(r runRow) any { return r.stat.ID }},
	{"cycle", false, func(r runRow) any { return r.run.Cycle }},
	{"done", false, func(r runRow) any { return r.run.Done }},
	{"seconds", false, func(r runRow) any { return length(r.run.Seconds) }},
	{"trend", false, func(r runRow) any { return r.trend }},
	{"added", false, func(r runRow) any { return r.run.Added }},
	{"removed", false, func(r runRow) any { return r.run.Removed }},
	{"members", false, func(r runRow) any { return r.run.Members }},
	{"cause", false, func(r runRow) any { return r.run.Cause }},
	{"by", false, func(r runRow) any { return r.run.By }},
	{"event", true, func(r runRow) any { return r.run.Event }},
}

// listExact is list with the names of the columns over the table as they are.
func listExact(p *printer, columns []column[console.EvaluationStat], items func(func(console.EvaluationStat, error) bool)) error {
	if !p.table() {
		return list(p, columns, items)
	}
	t := new(grid)
	for _, c := range columns {
		t.head = append(t.head, c.name)
	}
	for item := range items {
		row := make([]any, len(columns))
		for i, c := range columns {
			row[i] = c.value(item)
		}
		t.rows = append(t.rows, row)
	}
	p.grid(t)
	return nil
}

var cycleColumns = []column[console.EvaluationCycle]{
	{"cycle", false, func(c console.EvaluationCycle) any { return c.Cycle }},
	{"kind", false, func(c console.EvaluationCycle) any { return c.Kind }},
	{"cause", false, func(c console.EvaluationCycle) any { return c.Cause }},
	{"by", false, func(c console.EvaluationCycle) any { return c.By }},
	{"started", false, func(c console.EvaluationCycle) any { return exact(c.Started) }},
	{"seconds", false, func(c console.EvaluationCycle) any { return length(c.Seconds) }},
	{"devices", false, func(c console.EvaluationCycle) any { return c.Devices }},
	{"collections", false, func(c console.EvaluationCycle) any { return c.Collections }},
	{"changed", false, func(c console.EvaluationCycle) any { return c.Changed }},
	{"added", false, func(c console.EvaluationCycle) any { return c.Added }},
	{"removed", false, func(c console.EvaluationCycle) any { return c.Removed }},
	{"basis", true, func(c console.EvaluationCycle) any { return c.Basis }},
	{"done", true, func(c console.EvaluationCycle) any { return c.Done }},
	{"event", true, func(c console.EvaluationCycle) any { return c.Event }},
}

func (s *session) showCycles(call *statsCall) error {
	limit := call.limit
	if limit == 0 || limit > pageSize {
		limit = pageSize
	}
	var reply console.CycleList
	q := query("kind", call.kind, "limit", strconv.Itoa(limit))
	if err := s.getAs(s.ctx, &call.past, console.PathEvaluationCycles, q, &reply); err != nil {
		return err
	}
	return list(s.out, cycleColumns, all(reply.Items))
}

// collectionNames are the names of all collections, for the shell.
func collectionNames(ctx context.Context, c *client, typed string) ([]string, error) {
	var l console.CollectionList
	if err := c.get(ctx, console.PathCollections, nil, &l); err != nil {
		return nil, err
	}
	var names []string
	for _, i := range l.Items {
		if len(names) < maxCompletions && strings.HasPrefix(strings.ToLower(i.Name), strings.ToLower(typed)) {
			names = append(names, i.Name)
		}
	}
	return names, nil
}
