package admin

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

const adviseHelp = `Say what is worth a second look in collections, or in those that are named: what does not do
what it seems to, does nothing, or costs more than it needs. Warnings come first.

Each advice has a code: A1.. is about schedules and incremental evaluation, A2.. about
members and references, A3.. about queries, A4.. about maintenance windows.

A table of all has a line for each. If collections are named, or with --details, each is
shown whole: where in a query it is, why it matters, and what to do, with the corrected
query or commands that can be taken over. Nothing is changed.`

func collectionsAdvise(o *Options) *cobra.Command {
	var severity string
	var details bool
	var past pastFlag
	c := &cobra.Command{
		Use:   "advise [COLLECTION...]",
		Short: "Say what is worth a second look in collections",
		Long:  adviseHelp,
		Example: `  bugle collections advise
  bugle collections advise Laptops
  bugle collections advise --severity warning --details
  bugle collections advise -o json | jq -r '.[] | select(.code == "A101") | .commands[]'`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: o.complete(collectionNames),
		RunE: o.with(func(s *session, args []string) error {
			if err := past.check(); err != nil {
				return err
			}
			if severity != "" && severity != "warning" && severity != "note" {
				return usage("--severity: %q is none of warning, note", severity)
			}
			var l console.AdviceList
			q := query("severity", severity)
			for _, word := range args {
				q.Add("collection", word)
			}
			if err := s.getAs(s.ctx, &past, console.PathAdvice, q, &l); err != nil {
				return err
			}
			return s.showAdvice(&l, details || len(args) > 0)
		}),
	}
	c.Flags().StringVar(&severity, "severity", "", "only these: warning or note (default both)")
	c.Flags().BoolVar(&details, "details", false, "show each whole, not in a line")
	past.add(c)
	return c
}

var adviceColumns = []column[console.Advice]{
	{"severity", false, func(a console.Advice) any { return state(a.Severity) }},
	{"code", false, func(a console.Advice) any { return a.Code }},
	{"collection", false, func(a console.Advice) any { return long(adviceAbout(&a)) }},
	{"advice", false, func(a console.Advice) any { return long(a.Advice) }},
	{"remedy", false, func(a console.Advice) any { return long(a.Remedy) }},
	{"place", true, func(a console.Advice) any { return advicePlace(&a) }},
	{"why", true, func(a console.Advice) any { return a.Why }},
	{"corrected", true, func(a console.Advice) any {
		if a.Query == nil {
			return nil
		}
		return a.Query.Corrected
	}},
	{"commands", true, func(a console.Advice) any { return strings.Join(a.Commands, "\n") }},
}

func (s *session) showAdvice(l *console.AdviceList, details bool) error {
	if l.Unasked > 0 {
		s.note("%s about queries and values could not be answered by the evaluator: there may be more advice.", countOf(l.Unasked, "question"))
	}
	if l.More > 0 {
		s.note("There is more advice than is shown: %d more; name collections to see it.", l.More)
	}
	switch {
	case !s.out.table() || len(l.Items) > 0 && !details:
		if err := list(s.out, adviceColumns, all(l.Items)); err != nil || !s.out.table() {
			return err
		}
		s.note("Each with why it matters and what to do: bugle collections advise COLLECTION, or --details.")
	case len(l.Items) == 0:
		if !s.Quiet {
			s.out.printf("There is no advice.\n")
		}
	default:
		for i := range l.Items {
			if i > 0 {
				s.out.printf("\n")
			}
			s.out.advice(&l.Items[i])
		}
	}
	return nil
}

// advice shows one whole.
func (p *printer) advice(a *console.Advice) {
	p.printf("%s %s  %s\n", p.paint(a.Severity, colourOf(a.Severity)), a.Code, clean(adviceAbout(a)))
	line := func(text string) { p.printf("  %s\n", clean(text)) }
	line(a.Advice)
	if a.Query != nil {
		line("At " + advicePlace(a) + ".")
	}
	line(a.Why)
	line(a.Remedy)
	if a.Query != nil && a.Query.Corrected != "" {
		line("Corrected: " + a.Query.Corrected)
	}
	for _, c := range a.Commands {
		p.printf("    %s\n", clean(c))
	}
}

// maxAdviceAbout is how many collections a line names.
const maxAdviceAbout = 3

func adviceAbout(a *console.Advice) string {
	if len(a.Collections) == 0 {
		return "all collections"
	}
	var names []string
	for _, c := range a.Collections[:min(len(a.Collections), maxAdviceAbout)] {
		name := c.ID
		if c.Name != "" {
			name = fmt.Sprintf("%s (%s)", c.Name, c.ID)
		}
		names = append(names, name)
	}
	if more := len(a.Collections) - len(names); more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), more)
	}
	return strings.Join(names, ", ")
}

func advicePlace(a *console.Advice) string {
	q := a.Query
	if q == nil {
		return ""
	}
	name := ""
	if q.Name != "" {
		name = fmt.Sprintf(" %q", q.Name)
	}
	return fmt.Sprintf("query %d%s, line %d, column %d", q.Number, name, q.Line, q.Column)
}
