package admin

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func tokenCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "token",
		Short: "Create and revoke the tokens with which devices join",
		Long: `Create and revoke the tokens with which devices join.

A device shows a token once, when it joins; from then on it has a certificate, and
what becomes of the token does not matter to it.`,
		Example: "  bugle token create --uses 100 --ttl 24h",
	}, tokenCreate(o), tokenRevoke(o))
}

func tokenCreate(o *Options) *cobra.Command {
	var ttl time.Duration
	var uses uint32
	c := &cobra.Command{
		Use:   "create",
		Short: "Create a join token",
		Long: `Create a join token.

The token is shown this once: the site keeps only what it needs to check it. It also
names the site's CA, so that a device knows the site before it shows the token. With
--quiet only the token is printed.`,
		Example: `  bugle token create --uses 25 --ttl 2h
  bugle token create --quiet > join.token
  bugle-agent join --site HOST:PORT --token-file join.token`,
		Args: exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if ttl < time.Second || uses == 0 {
				return usage("--ttl must be at least 1s and --uses at least 1")
			}
			var reply console.TokenReply
			r := console.TokenRequest{TTLSeconds: int64(ttl / time.Second), Uses: uses}
			if err := s.client.post(s.ctx, console.PathTokens, r, &reply); err != nil {
				return err
			}
			if s.Quiet && s.out.table() {
				s.out.printf("%s\n", clean(reply.Token))
				return nil
			}
			s.out.object(reply, []field{
				{"Token", "token", reply.Token}, {"ID", "id", reply.ID}, {"Uses", "uses", reply.Uses},
				{"Expires", "expires", reply.Expires}, {"Event", "event", reply.Event},
			})
			s.note("The token is not shown again. Revoke it with: bugle token revoke %s", reply.ID)
			return nil
		}),
	}
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token is good for")
	c.Flags().Uint32Var(&uses, "uses", 1, "how many devices may join with it")
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
