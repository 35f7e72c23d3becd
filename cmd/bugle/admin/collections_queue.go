package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func collectionsQueue(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "queue",
		Short: "Show what the evaluator does and what waits for it",
		Long: `Show what the evaluator does and what waits for it, in the order in which it will run: full
evaluations on schedule, manual ones with dependants, single ones, and incremental ones,
each in a queue of its own. POSITION is "runs", or the place in the queue from 1.

The run time and the end are estimated by how long such evaluations took before. A queue that
does nothing is shown with what it did since the site started; --output json has that of all.`,
		Example: "  bugle collections queue\n  bugle collections queue -o json | jq '.[] | select(.running)'",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			var reply console.EvaluationQueues
			if err := s.client.get(s.ctx, console.PathEvaluationQueues, nil, &reply); err != nil {
				return err
			}
			if s.out.table() || s.out.format == "csv" {
				return list(s.out, queueColumns, all(s.queueRows(reply.Items)))
			}
			return list(s.out, []column[console.EvaluationQueue]{}, all(reply.Items))
		}),
	}
}

// A queueRow is one cycle that runs or waits, or a queue that does nothing.
type queueRow struct {
	queue    *console.EvaluationQueue
	position string
	work     *console.EvaluationWork // nil of a queue that does nothing
}

// queueRows are the lines of the table. CSV has no lines for queues that do nothing.
func (s *session) queueRows(queues []console.EvaluationQueue) (rows []queueRow) {
	for i := range queues {
		q := &queues[i]
		if q.Running != nil {
			rows = append(rows, queueRow{q, "runs", q.Running})
		}
		for j := range q.Waiting {
			rows = append(rows, queueRow{q, strconv.Itoa(j + 1), &q.Waiting[j]})
		}
		if q.Running == nil && len(q.Waiting) == 0 && s.out.table() {
			rows = append(rows, queueRow{q, "-", nil})
		}
	}
	return rows
}

// ofWork makes a column of what runs or waits.
func ofWork(name string, csv bool, value func(w *console.EvaluationWork) any) column[queueRow] {
	return column[queueRow]{name, csv, func(r queueRow) any {
		if r.work == nil {
			return nil
		}
		return value(r.work)
	}}
}

var queueColumns = []column[queueRow]{
	{"queue", false, func(r queueRow) any { return r.queue.Kind }},
	{"position", false, func(r queueRow) any { return r.position }},
	{"collections", false, func(r queueRow) any { return r.collections() }},
	ofWork("ids", true, func(w *console.EvaluationWork) any {
		return strings.Join(mapped(w.Collections, func(c console.CollectionRef) string { return c.ID }), " ")
	}),
	ofWork("cause", false, func(w *console.EvaluationWork) any { return w.Cause }),
	ofWork("by", false, func(w *console.EvaluationWork) any { return w.By }),
	ofWork("since", false, func(w *console.EvaluationWork) any {
		if w.Started != nil {
			return *w.Started
		}
		return w.Asked
	}),
	ofWork("estimatedRunTime", false, func(w *console.EvaluationWork) any { return estimated(w.EstimatedSeconds) }),
	ofWork("estimatedCompletion", false, func(w *console.EvaluationWork) any { return w.EstimatedEnd }),
}

// shownWork is how many collections of a cycle a line names.
const shownWork = 3

func (r queueRow) collections() any {
	if r.work == nil {
		if r.queue.Cycles == 0 {
			return long("idle")
		}
		return long(fmt.Sprintf("idle; %d ran, the last %.3f s, the longest %.3f s", r.queue.Cycles, r.queue.LastSeconds, r.queue.LongestSeconds))
	}
	names := mapped(r.work.Collections[:min(len(r.work.Collections), shownWork)], func(c console.CollectionRef) string {
		if c.Name == "" {
			return c.ID
		}
		return c.Name
	})
	text := strings.Join(names, ", ")
	switch more := r.work.Count - len(names); {
	case len(names) == 0 && r.work.Count == 0:
		text = "whatever the changes concern"
	case len(names) == 0:
		text = countOf(uint32(r.work.Count), "collection")
	case more > 0:
		text += fmt.Sprintf(" and %d more", more)
	}
	if r.work.Dependants {
		text += ", with dependants"
	}
	return long(text)
}

// estimated is a time in seconds as a length; nothing if it is not known.
func estimated(seconds float64) any {
	if seconds == 0 {
		return nil
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}
