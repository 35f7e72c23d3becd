package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func collectionsEvaluate(o *Options) *cobra.Command {
	var dependants, watch bool
	var reason string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "evaluate COLLECTION...",
		Short: "Evaluate collections now",
		Long: `Evaluate collections now, and with --dependants all that depend on them. With --watch the
command stays until the named ones are evaluated, or for --timeout, or until Ctrl-C, and
shows what became of them.`,
		Example:           "  bugle collections evaluate Laptops --watch\n  bugle collections evaluate Clients --dependants --reason 'after the import'",
		Args:              atLeastOne("COLLECTION"),
		ValidArgsFunction: o.complete(collectionNames),
		RunE: o.with(func(s *session, args []string) error {
			if timeout < 0 || timeout > 0 && !watch {
				return usage("--timeout is for --watch, and not less than 0")
			}
			r := request{method: http.MethodPost, path: console.PathCollectionsEvaluate, key: task.NewRandomID().String(),
				body: console.EvaluateRequest{Collections: args, Dependants: dependants, Reason: reason}}
			var reply console.EvaluateReply
			if err := s.client.callAgain(s.ctx, r, &reply); err != nil {
				return err
			}
			if watch {
				return s.watchEvaluation(&reply, timeout)
			}
			if !s.out.table() {
				s.out.object(reply, []field{{"Event", "event", reply.Event}})
			} else if !s.Quiet {
				s.out.printf("Evaluation of %s is asked for (event %d).\n", countOf(len(reply.Collections), "collection"), reply.Event)
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&dependants, "dependants", false, "and all that depend on them")
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&watch, "watch", false, "stay until they are evaluated")
	c.Flags().DurationVar(&timeout, "timeout", 0, "with --watch: stop watching after this time (default never)")
	return c
}

// evaluationPoll is how often a watched evaluation is looked for.
const evaluationPoll = 500 * time.Millisecond

// An evaluatedRow is what became of a collection.
type evaluatedRow struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Members uint64  `json:"members"`
	Added   uint64  `json:"added"`
	Removed uint64  `json:"removed"`
	TookMS  float64 `json:"tookMs"`
	Queue   string  `json:"queue"`
	Event   uint64  `json:"event"`
}

var evaluatedColumns = []column[evaluatedRow]{
	{"id", false, func(r evaluatedRow) any { return r.ID }},
	{"name", false, func(r evaluatedRow) any { return long(r.Name) }},
	{"members", false, func(r evaluatedRow) any { return r.Members }},
	{"added", false, func(r evaluatedRow) any { return r.Added }},
	{"removed", false, func(r evaluatedRow) any { return r.Removed }},
	{"took", false, func(r evaluatedRow) any { return millis(r.TookMS) }},
	{"queue", false, func(r evaluatedRow) any { return r.Queue }},
	{"event", false, func(r evaluatedRow) any { return r.Event }},
}

// watchEvaluation waits until each collection was evaluated behind the request.
func (s *session) watchEvaluation(asked *console.EvaluateReply, timeout time.Duration) error {
	ctx := s.ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	for {
		var l console.CollectionList
		if err := s.client.get(ctx, console.PathCollections, query("min-event", number(asked.Event)), &l); err != nil && ctx.Err() == nil {
			return err
		}
		rows, waiting, gone := evaluatedSince(&l, asked)
		if len(gone) > 0 && ctx.Err() == nil {
			return fmt.Errorf("stopped watching: there is no collection %s any more", clean(strings.Join(gone, ", ")))
		}
		if len(waiting) == 0 {
			return list(s.out, evaluatedColumns, all(rows))
		}
		if s.pause(ctx, evaluationPoll) != nil {
			return fmt.Errorf("stopped watching: %s not evaluated yet; the request stays (event %d)", clean(strings.Join(waiting, ", ")), asked.Event)
		}
	}
}

// evaluatedSince returns what became of the collections that were asked for, and the
// names of those that wait, and of those that were deleted meanwhile.
func evaluatedSince(l *console.CollectionList, asked *console.EvaluateReply) (rows []evaluatedRow, waiting, gone []string) {
	for _, ref := range asked.Collections {
		i := slices.IndexFunc(l.Items, func(c console.CollectionInfo) bool { return c.ID == ref.ID })
		if i < 0 {
			gone = append(gone, ref.Name)
			continue
		}
		if l.Items[i].Evaluated == nil || l.Items[i].Evaluated.Event <= asked.Event {
			waiting = append(waiting, ref.Name)
			continue
		}
		c, r := &l.Items[i], l.Items[i].Evaluated
		rows = append(rows, evaluatedRow{c.ID, c.Name, c.Members, r.Added, r.Removed, r.TookMS, r.Queue, r.Event})
	}
	return rows, waiting, gone
}
