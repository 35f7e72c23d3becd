package admin

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func statusCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:     "status",
		Short:   "Show the components of the site and what they report",
		Long:    "Show the components of the site and what they report.",
		Example: "  bugle status components\n  bugle status messages --limit 10",
	}, statusComponents(o), statusMessages(o))
}

var componentColumns = []column[console.Component]{
	{"component", false, func(c console.Component) any { return c.Component }},
	{"name", false, func(c console.Component) any { return c.Name }},
	{"state", false, func(c console.Component) any { return state(c.State) }},
	{"since", false, func(c console.Component) any { return c.Since }},
	{"heard", false, func(c console.Component) any { return c.Heard }},
	{"version", false, func(c console.Component) any { return c.Version }},
	{"address", false, func(c console.Component) any { return c.Address }},
	{"last", false, func(c console.Component) any { return lastMessage(c.Last) }},
	{"epoch", true, func(c console.Component) any { return c.Epoch }},
}

func statusComponents(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:   "components",
		Short: "List the listeners as the site sees them",
		Long: `List the listeners as the site sees them: granted (known, and not started yet), started,
stopped (ended in good order) or lost (nothing is heard of it), since when, and when it
was heard last.`,
		Example: "  bugle status components -o json",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var components console.ComponentList
			if err := s.getAs(s.ctx, &past, console.PathComponents, nil, &components); err != nil {
				return err
			}
			return list(s.out, componentColumns, all(components.Items))
		}),
	}
	past.add(c)
	return c
}

var messageColumns = []column[console.Message]{
	{"event", false, func(m console.Message) any { return m.Event }},
	{"at", false, func(m console.Message) any { return m.At }},
	{"severity", false, func(m console.Message) any { return state(m.Severity) }},
	{"component", false, func(m console.Message) any { return m.Component }},
	{"message", false, func(m console.Message) any { return m.Message }},
	{"device", false, func(m console.Message) any { return orNothing(m.Device) }},
	{"text", false, func(m console.Message) any { return m.Text }},
}

// lastMessage is a message in short.
func lastMessage(m *console.Message) any {
	if m == nil {
		return nil
	}
	return long(fmt.Sprintf("%d %s: %s", m.Message, m.Severity, m.Text))
}

func statusMessages(o *Options) *cobra.Command {
	var limit int
	var severity, explain string
	var past pastFlag
	severities := []string{"info", "warning", "error"}
	c := &cobra.Command{
		Use:   "messages",
		Short: "List status messages, newest first",
		Long: `List status messages of components, newest first. The number of a message (MESSAGE) is
stable: it says the same thing in every version. --explain tells what one means and what
to do about it, or of all of them; it needs no site.`,
		Example: "  bugle status messages --limit 10\n  bugle status messages --severity error --limit 0 -o jsonl\n  bugle status messages --explain 3001",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if explain != "" {
				return s.explain(explain)
			}
			if err := errors.Join(checkLimit(limit), past.check()); err != nil {
				return err
			}
			if severity != "" && !slices.Contains(severities, severity) {
				return usage("--severity: %q is none of %s", severity, strings.Join(severities, ", "))
			}
			messages := pages(func(next string) ([]console.Message, string, error) {
				var page console.MessagePage
				err := s.getAs(s.ctx, &past, console.PathMessages, query("before", next, "limit", limited(limit), "severity", severity), &page)
				return page.Items, number(page.Next), err
			})
			return list(s.out, messageColumns, first(limit, messages))
		}),
	}
	c.Flags().StringVar(&severity, "severity", "", "only info, warning or error")
	c.RegisterFlagCompletionFunc("severity", cobra.FixedCompletions(severities, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVar(&explain, "explain", "", "explain the message of this number, or all")
	past.add(c)
	limitFlag(c, &limit, 50)
	return c
}

var infoColumns = []column[console.MessageInfo]{
	{"message", false, func(m console.MessageInfo) any { return m.Message }},
	{"component", false, func(m console.MessageInfo) any { return m.Component }},
	{"severity", false, func(m console.MessageInfo) any { return state(m.Severity) }},
	{"meaning", false, func(m console.MessageInfo) any { return m.Meaning }},
	{"advice", true, func(m console.MessageInfo) any { return m.Advice }},
}

func (s *session) explain(number string) error {
	if number == "all" {
		return list(s.out, infoColumns, all(console.Messages()))
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return usage("--explain: %q is neither the number of a message nor all", number)
	}
	m, ok := console.ExplainMessage(uint32(n))
	if !ok {
		return fmt.Errorf("explain message: no component says %d; 'bugle status messages --explain all' lists what there is", n)
	}
	s.out.object(m, []field{{"Message", "message", m.Message}, {"Component", "component", m.Component},
		{"Severity", "severity", m.Severity}, {"Meaning", "meaning", m.Meaning}, {"What to do", "advice", m.Advice}})
	return nil
}
