package admin

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func opsCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:     "ops",
		Aliases: []string{"op", "operations"},
		Short:   "List, show, watch, cancel and repeat operations",
		Long: `List, show, watch, cancel and repeat operations. An operation is one push: a kind of task for a
set of devices, each of which stands in one state:

  waiting, sent, delivered, running, deferred                 under way
  succeeded, not-applicable                                   ended well
  failed, refused, timed-out, expired, lost                   ended badly
  cancelled                                                   ended by an administrator, or by
                                                              the site as too much failed`,
		Example: "  bugle ops list\n  bugle ops devices 01936f5e-8a6b-7c1d-9e2f-0123456789ab --state failed",
	}, opsList(o), opsShow(o), opsWatch(o), opsDevices(o), opsLogs(o), opsCancel(o), opsRetry(o))
}

var operationColumns = []column[console.Operation]{
	{"operation", false, func(o console.Operation) any { return o.Operation }},
	{"kind", false, func(o console.Operation) any { return o.Kind }},
	{"requested", false, func(o console.Operation) any { return o.Requested }},
	{"targets", false, func(o console.Operation) any { return o.Targets }},
	{"online", true, func(o console.Operation) any { return o.Online }},
	{"completed", false, func(o console.Operation) any { return o.Columns.Completed }},
	{"failed", false, func(o console.Operation) any { return o.Columns.Failed }},
	{"offline", false, func(o console.Operation) any { return o.Columns.Offline }},
	{"unknown", false, func(o console.Operation) any { return o.Columns.Unknown }},
	{"status", false, func(o console.Operation) any { return status(o) }},
	{"deliverBy", true, func(o console.Operation) any { return o.DeliverBy }},
	{"target", true, func(o console.Operation) any { return o.Target }},
	{"actor", true, func(o console.Operation) any { return o.Actor }},
	{"reason", false, func(o console.Operation) any { return long(o.Reason) }},
}

// status is where an operation stands, in one word.
func status(o console.Operation) string {
	switch {
	case o.Stopped:
		return "stopped"
	case o.Done:
		return "done"
	case o.Closed:
		return "closed"
	case o.Cancelled:
		return "cancelled"
	case o.Expired:
		return "expired"
	}
	return "open"
}

func opsList(o *Options) *cobra.Command {
	var limit int
	var past pastFlag
	c := &cobra.Command{
		Use:   "list",
		Short: "List operations, newest first",
		Long: `List operations, newest first, with the classic columns: completed (succeeded or not
applicable), failed (failed, refused or timed out), offline (never sent), unknown (the
rest). Together they are the targets.`,
		Example: "  bugle ops list --limit 100\n  bugle ops list --limit 0 -o csv > operations.csv",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if err := errors.Join(checkLimit(limit), past.check()); err != nil {
				return err
			}
			operations := pages(func(next string) ([]console.Operation, string, error) {
				var page console.OperationPage
				err := s.getAs(s.ctx, &past, console.PathOperations, query("before", next, "limit", limited(limit)), &page)
				return page.Items, page.Next, err
			})
			return list(s.out, operationColumns, first(limit, operations))
		}),
	}
	past.add(c)
	limitFlag(c, &limit, 20)
	return c
}

func opsShow(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show an operation with the count of every state and its latencies",
		Long: `Show an operation: what was asked for, by whom and why, how many devices are in which
state, and how long each hop took, over the devices that took it (median, 99th
percentile, slowest).`,
		Example:           "  bugle ops show 01936f5e-8a6b-7c1d-9e2f-0123456789ab\n  bugle ops show ID -o json | jq .states.failed",
		Args:              exactly("ID"),
		ValidArgsFunction: onlyFirst(o.complete(operationIDs)),
		RunE: o.with(func(s *session, args []string) error {
			if err := operationID(args[0]); err != nil {
				return err
			}
			if err := past.check(); err != nil {
				return err
			}
			op := new(console.OperationReply)
			if err := s.getAs(s.ctx, &past, console.Path(console.PathOperation, args[0]), nil, op); err != nil {
				return err
			}
			op.States = everyState(op.States)
			s.showOperation(op)
			return nil
		}),
	}
	past.add(c)
	return c
}

func (s *session) showOperation(op *console.OperationReply) {
	fields := []field{
		{"Operation", "operation", op.Operation.Operation}, {"Kind", "kind", op.Kind},
		{"Parameters", "params", compact(op.Params)}, {"For", "target", op.Target},
		{"Targets", "targets", op.Targets}, {"Online at request", "online", op.Online},
		{"Requested", "requested", op.Requested}, {"By", "actor", op.Actor}, {"Reason", "reason", op.Reason},
		{"Not before", "notBefore", op.NotBefore}, {"Deliver by", "deliverBy", op.DeliverBy},
		{"Run timeout", "runTimeout", time.Duration(op.RunTimeoutSeconds * float64(time.Second))},
		{"Priority", "priority", op.Priority}, {"In policy", "durable", op.Durable}, {"Retry of", "retryOf", op.RetryOf},
		{"Status", "status", status(op.Operation)}, {"First event", "first", op.First}, {"Event", "event", op.Event},
	}
	if !s.out.table() {
		fields = append(fields, stateFields(op.States)...)
		s.out.object(op, fields)
		return
	}
	s.out.object(op, fields)
	s.showEnds(op)
	s.showPacing(op)
	s.out.printf("\n")
	s.out.states(op.States)
	s.out.printf("\n")
	s.out.grid(&grid{
		head: []string{"TOTAL", "COMPLETED", "FAILED", "OFFLINE", "UNKNOWN"},
		rows: [][]any{{op.Columns.Total, op.Columns.Completed, op.Columns.Failed, op.Columns.Offline, op.Columns.Unknown}},
	})
	hops := &grid{head: []string{"HOP", "DEVICES", "P50", "P99", "MAX"}}
	for _, name := range console.Hops {
		if h, ok := op.Latency[name]; ok && h.Count > 0 {
			hops.rows = append(hops.rows, []any{strings.ReplaceAll(name, "-", " to "), h.Count, millis(h.P50), millis(h.P99), millis(h.Max)})
		}
	}
	if len(hops.rows) > 0 {
		s.out.printf("\n")
		s.out.grid(hops)
	}
}

// states shows the count of every state.
func (p *printer) states(states map[string]uint32) {
	g := &grid{head: []string{"STATE", "DEVICES"}}
	var sum uint32
	for _, name := range stateOrder(states) {
		var shown any = state(name)
		if states[name] == 0 {
			shown = name // in no colour: nothing is there
		}
		g.rows = append(g.rows, []any{shown, states[name]})
		sum += states[name]
	}
	g.rows = append(g.rows, []any{"all", sum})
	p.grid(g)
}

// showEnds says why an operation ended before its time, and what that found.
func (s *session) showEnds(op *console.OperationReply) {
	show := func(what string, c *console.Cut) {
		s.out.printf("\n%s at event %d%s: %s.\n", what, c.Event, because(c.Reason), cutInWords(c))
	}
	if c := op.Cancel; c != nil {
		show("Cancelled", c)
	}
	if c := op.Stop; c != nil {
		show(fmt.Sprintf("Stopped by the site in wave %d", c.Wave), &c.Cut)
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + clean(reason) + ")"
}

func cutInWords(c *console.Cut) string {
	return fmt.Sprintf("%d had ended, %d had begun and went on, %d had not begun and do not", c.Ended, c.Running, c.Spared)
}

// showPacing shows the waves of an operation and how long they take yet.
func (s *session) showPacing(op *console.OperationReply) {
	p := op.Pacing
	if p == nil {
		return
	}
	g := &grid{head: []string{"WAVE", "DEVICES", "RELEASED", "SPREAD", "ONLINE", "ENDED", "FAILED"}}
	for _, w := range p.Waves {
		row := []any{w.Wave, w.Devices, "held", inSeconds(w.SpreadSeconds), "", "", ""}
		if w.Released != nil {
			row = []any{w.Wave, w.Devices, *w.Released, inSeconds(w.SpreadSeconds), fmt.Sprintf("%d/%d", w.OnlineEnded, w.Online), w.Ended, w.Failed}
		}
		g.rows = append(g.rows, row)
	}
	s.out.printf("\n")
	s.out.grid(g)
	if p.StopOnFailure > 0 {
		s.out.printf("Stops when more than %d%% have failed.\n", p.StopOnFailure)
	}
	if p.Left != nil {
		s.out.printf("Time left: %s.\n", leftInWords(p.Left))
	}
}

func leftInWords(l *console.Left) string {
	if l.Soonest == l.Latest {
		return inSeconds(l.Latest).String()
	}
	return fmt.Sprintf("about %s (%s to %s)", inSeconds(l.Likely), inSeconds(l.Soonest), inSeconds(l.Latest))
}

func stateFields(states map[string]uint32) []field {
	var fields []field
	for _, name := range stateOrder(states) {
		fields = append(fields, field{name, name, states[name]})
	}
	return fields
}

func opsWatch(o *Options) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "watch ID",
		Short: "Show the progress of an operation until every device has ended",
		Long: `Show the progress of an operation until every device has ended, then what became of it.

On a terminal progress is a bar, elsewhere a line for every change. --timeout and
Ctrl-C stop watching and do not end the operation. The command ends with code 0 if all
is well, 3 if devices failed, refused, timed out, expired or were lost, and 1 if it
stopped before the end.`,
		Example:           "  bugle ops watch 01936f5e-8a6b-7c1d-9e2f-0123456789ab --timeout 10m",
		Args:              exactly("ID"),
		ValidArgsFunction: onlyFirst(o.complete(operationIDs)),
		RunE: o.with(func(s *session, args []string) error {
			if err := operationID(args[0]); err != nil {
				return err
			}
			if timeout < 0 {
				return usage("--timeout: %s is less than 0", timeout)
			}
			op, err := s.watch(args[0], 0, timeout)
			if op != nil {
				s.showOperation(op)
			}
			return err
		}),
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "stop watching after this time (default never)")
	return c
}

var targetColumns = []column[console.Target]{
	{"device", false, func(t console.Target) any { return t.Device }},
	{"name", false, func(t console.Target) any { return t.Name }},
	{"state", false, func(t console.Target) any { return state(t.State) }},
	{"online", true, func(t console.Target) any { return t.Online }},
	{"attempt", true, func(t console.Target) any { return t.Attempt }},
	{"code", false, func(t console.Target) any { return t.Code }},
	{"sent", true, func(t console.Target) any { return t.Sent }},
	{"delivered", false, func(t console.Target) any { return t.Received }},
	{"running", true, func(t console.Target) any { return t.Running }},
	{"ended", false, func(t console.Target) any { return t.Ended }},
	{"event", true, func(t console.Target) any { return t.Event }},
	{"detail", false, func(t console.Target) any { return long(t.Detail) }},
}

func opsDevices(o *Options) *cobra.Command {
	var which string
	var limit int
	var past pastFlag
	names := mapped(task.States, task.State.String)
	c := &cobra.Command{
		Use:   "devices ID",
		Short: "List the devices of an operation and where each stands",
		Long: `List the devices of an operation by rising number, where each stands, and what it said.

The table cuts long texts; the other outputs have them whole.`,
		Example:           "  bugle ops devices 01936f5e-8a6b-7c1d-9e2f-0123456789ab --state failed\n  bugle ops devices ID -o csv > result.csv",
		Args:              exactly("ID"),
		ValidArgsFunction: onlyFirst(o.complete(operationIDs)),
		RunE: o.with(func(s *session, args []string) error {
			if err := operationID(args[0]); err != nil {
				return err
			}
			if _, ok := task.ParseState(which); which != "" && !ok {
				return usage("--state: %q is none of %s", which, strings.Join(names, ", "))
			}
			if err := errors.Join(checkLimit(limit), past.check()); err != nil {
				return err
			}
			targets := pages(func(next string) ([]console.Target, string, error) {
				var page console.TargetPage
				q := query("state", which, "after", next, "limit", limited(limit))
				err := s.getAs(s.ctx, &past, console.Path(console.PathOperationDevices, args[0]), q, &page)
				return page.Items, number(page.Next), err
			})
			return list(s.out, targetColumns, first(limit, targets))
		}),
	}
	c.Flags().StringVar(&which, "state", "", "only those in this state")
	c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	past.add(c)
	limitFlag(c, &limit, 0)
	return c
}

func opsCancel(o *Options) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "cancel ID",
		Short: "End an operation for all devices that have not begun it",
		Long: `End an operation for all devices that have not begun it. Those that have will go on, and
their results count: the answer says how many these are.`,
		Example:           "  bugle ops cancel 01936f5e-8a6b-7c1d-9e2f-0123456789ab --reason 'wrong hash'",
		Args:              exactly("ID"),
		ValidArgsFunction: onlyFirst(o.complete(operationIDs)),
		RunE: o.with(func(s *session, args []string) error {
			if err := operationID(args[0]); err != nil {
				return err
			}
			return s.cancel(args[0], reason)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

func (s *session) cancel(id, reason string) error {
	var r console.CancelReply
	if err := s.client.post(s.ctx, console.Path(console.PathOperationCancel, id), console.ReasonRequest{Reason: reason}, &r); err != nil {
		return err
	}
	if r.Running == nil || r.Ended == nil || r.Spared == nil {
		s.out.sentence(s.Quiet, r, "Operation %s is cancelled (event %d).", id, r.Event)
		return nil
	}
	s.out.sentence(s.Quiet, r, "Operation %s is cancelled for %d of %s (event %d): %d had ended, %d had begun and go on.", id,
		*r.Spared, countOf(r.Targets, "device"), r.Event, *r.Ended, *r.Running)
	return nil
}
