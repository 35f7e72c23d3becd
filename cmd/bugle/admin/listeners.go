package admin

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func listenersCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "listeners",
		Short: "List and revoke listeners that the site has admitted",
		Long: `List and revoke listeners that the site has admitted.

A listener that runs apart joins with a token of its own: 'bugle token create --listener
NAME'. Whether it serves at the moment is in 'bugle status components'.`,
		Example: "  bugle listeners list\n  bugle listeners revoke BGL01 --reason 'machine stolen'",
	}, listenersList(o), listenersRevoke(o))
}

var listenerColumns = []column[console.ListenerReply]{
	{"name", false, func(l console.ListenerReply) any { return l.Name }},
	{"own", false, func(l console.ListenerReply) any { return l.Own }},
	{"revoked", false, func(l console.ListenerReply) any { return l.Revoked }},
	{"tcp", false, func(l console.ListenerReply) any { return strings.Join(l.TCP, " ") }},
	{"https", false, func(l console.ListenerReply) any { return strings.Join(l.HTTPS, " ") }},
	{"scope", false, func(l console.ListenerReply) any { return scopeText(l.Scope) }},
	{"expires", false, func(l console.ListenerReply) any { return timeOrNil(l.Expires) }},
	{"epoch", true, func(l console.ListenerReply) any { return l.Epoch }},
}

func scopeText(n *uint64) any {
	if n == nil {
		return "all devices"
	}
	return *n
}

func timeOrNil(t *time.Time) any {
	if t == nil {
		return nil
	}
	return *t
}

func listenersList(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List listeners",
		Long:    `List listeners by name, with those that were revoked. SCOPE is how many devices one may speak for.`,
		Example: "  bugle listeners list -o json",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			var l console.ListenerList
			if err := s.client.get(s.ctx, console.PathListeners, nil, &l); err != nil {
				return err
			}
			return list(s.out, listenerColumns, all(l.Items))
		}),
	}
}

func listenersRevoke(o *Options) *cobra.Command {
	var reason string
	var yes bool
	c := &cobra.Command{
		Use:   "revoke NAME",
		Short: "End a listener that runs apart, for ever",
		Long: `End a listener that runs apart, for ever: its files are refused from now on, also those
that are under way, and so is its certificate. Its name is not given again.

Agents that it serves go to another listener once it is gone from their policy. It cannot
make them do anything: it has no key that signs tasks.`,
		Example: "  bugle listeners revoke BGL01 --reason 'machine stolen'",
		Args:    exactly("NAME"),
		RunE: o.with(func(s *session, args []string) error {
			if err := s.confirm(yes, true, 0, "Revoke listener "+args[0]+" for ever?"); err != nil {
				return err
			}
			var w console.Written
			if err := s.client.post(s.ctx, console.Path(console.PathListenerRevoke, args[0]), console.ReasonRequest{Reason: reason}, &w); err != nil {
				return err
			}
			s.out.sentence(s.Quiet, w, "Listener %s is revoked (event %d).", args[0], w.Event)
			return nil
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}
