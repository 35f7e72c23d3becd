package admin

import (
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func tokenCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "token",
		Short: "Create, list and revoke the tokens with which devices and listeners join",
		Long: `Create, list and revoke the tokens with which devices and listeners join.

A device shows a token once, when it joins; from then on it has a certificate, and
what becomes of the token does not matter to it.`,
		Example: "  bugle token create --uses 100 --ttl 24h",
	}, tokenCreate(o), tokenList(o), tokenRevoke(o))
}

func tokenCreate(o *Options) *cobra.Command {
	var ttl time.Duration
	var uses uint32
	var device, listener string
	var scope []string
	c := &cobra.Command{
		Use:   "create",
		Short: "Create a join token",
		Long: `Create a join token.

The token is shown this once: the site keeps only what it needs to check it. It also
names the site's CA, so that a device knows the site before it shows the token. With
--quiet only the token is printed.

With --device the token is for one machine, whose inventory was imported and that has no
agent yet: its agent becomes that record, with its number, instead of a new one.

With --listener the token is for one listener that runs apart, under that name; --scope
names the devices that it may speak for, else it may for all. Who joins again with a new
token for the same name, on a new machine, takes the place of the one before.`,
		Example: `  bugle token create --uses 25 --ttl 2h
  bugle token create --device PC-0042
  bugle token create --listener BGL01 --quiet > listener.token
  bugle token create --quiet > join.token
  bugle-agent join --site HOST:PORT --token-file join.token`,
		Args: exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if ttl < time.Second || uses == 0 {
				return usage("--ttl must be at least 1s and --uses at least 1")
			}
			var reply console.TokenReply
			r := console.TokenRequest{TTLSeconds: int64(ttl / time.Second), Uses: uses, Device: device, Listener: listener, Scope: scope}
			if err := contradiction(&r); err != nil {
				return err
			}
			if err := s.client.post(s.ctx, console.PathTokens, r, &reply); err != nil {
				return err
			}
			if s.Quiet && s.out.table() {
				s.out.printf("%s\n", clean(reply.Token))
				return nil
			}
			s.out.object(reply, []field{
				{"Token", "token", reply.Token}, {"ID", "id", reply.ID}, {"Uses", "uses", reply.Uses},
				{"Device", "device", deviceOrNone(reply.Device)}, {"Listener", "listener", reply.Listener}, {"Expires", "expires", reply.Expires}, {"Event", "event", reply.Event},
			})
			s.note("The token is not shown again. Revoke it with: bugle token revoke %s", reply.ID)
			return nil
		}),
	}
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token is good for")
	c.Flags().Uint32Var(&uses, "uses", 1, "how many devices may join with it")
	c.Flags().StringVar(&device, "device", "", "the imported record that the device becomes, by number, id or name")
	c.RegisterFlagCompletionFunc("device", o.complete(deviceNames))
	c.Flags().StringVar(&listener, "listener", "", "the name of the listener that the token is for, 3 to 16 of A-Z and 0-9")
	c.Flags().StringSliceVar(&scope, "scope", nil, "a device that this listener may speak for, by number, id or name; may be repeated")
	return c
}

// contradiction says what two flags of the command cannot say together.
func contradiction(r *console.TokenRequest) error {
	switch {
	case r.Listener == "" && len(r.Scope) > 0:
		return usage("--scope is the scope of a listener: name it with --listener")
	case r.Listener != "" && r.Device != "":
		return usage("give --device or --listener, not both")
	case r.Listener != "" && r.Uses > 1:
		return usage("--uses: a token for a listener is good for one use")
	case r.Device != "" && r.Uses > 1:
		return usage("--uses: a token that names a device is good for one use")
	}
	return nil
}

// deviceOrNone is a device's number, or nothing for none.
func deviceOrNone(device uint32) any {
	if device == 0 {
		return ""
	}
	return device
}

var tokenColumns = []column[console.TokenEntry]{
	{"id", false, func(t console.TokenEntry) any { return t.ID }},
	{"device", false, func(t console.TokenEntry) any { return deviceOrNone(t.Device) }},
	{"listener", false, func(t console.TokenEntry) any { return t.Listener }},
	{"used", false, func(t console.TokenEntry) any { return t.Used }},
	{"uses", false, func(t console.TokenEntry) any { return t.Uses }},
	{"usable", false, func(t console.TokenEntry) any { return t.Usable }},
	{"expires", false, func(t console.TokenEntry) any { return t.Expires }},
	{"revoked", false, func(t console.TokenEntry) any { return t.Revoked }},
	{"created", true, func(t console.TokenEntry) any { return t.Created }},
}

func tokenList(o *Options) *cobra.Command {
	var usable bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List join tokens",
		Long: `List join tokens, the newest first, with those that are of no use any more.

Their secrets are not kept, so they are not shown.`,
		Example: "  bugle token list --usable",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			var l console.TokenList
			if err := s.client.get(s.ctx, console.PathTokens, nil, &l); err != nil {
				return err
			}
			if usable {
				l.Items = slices.DeleteFunc(l.Items, func(t console.TokenEntry) bool { return !t.Usable })
			}
			return list(s.out, tokenColumns, all(l.Items))
		}),
	}
	c.Flags().BoolVar(&usable, "usable", false, "only those with which somebody can still join")
	return c
}

func tokenRevoke(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a join token",
		Long: `Revoke a join token, by its id.

Nobody joins with it any more. Devices that have joined stay; 'bugle devices block'
is for those.`,
		Example: "  bugle token revoke 4f1d0c2b9a8e7d6c",
		Args:    exactly("ID"),
		RunE: o.with(func(s *session, args []string) error {
			var w console.Written
			r := request{method: http.MethodDelete, path: console.Path(console.PathToken, args[0])}
			if err := s.client.call(s.ctx, r, &w); err != nil {
				return err
			}
			s.out.sentence(s.Quiet, w, "Token %s is revoked (event %d).", args[0], w.Event)
			return nil
		}),
	}
}
