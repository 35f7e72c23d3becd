package admin

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func policyUser(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "user",
		Short: "Show and change the settings of people",
		Long: `Show and change the settings of people who are signed in at devices: any JSON object, which
agents hand to programs there that ask for it. A person is named as devices name them.
--default is everybody who has no settings of their own.`,
		Example: "  bugle policy user set ann '{\"proxy\":\"none\"}' && bugle push policy.user --all",
	}, userList(o), userShow(o), userSet(o), userRemove(o))
}

// person is the argument that names a person, or --default.
type person struct{ everybody bool }

func (p *person) add(c *cobra.Command) {
	c.Flags().BoolVar(&p.everybody, "default", false, "everybody who has no settings of their own, instead of NAME")
}

// path takes the name from the arguments, of which so many others follow it.
func (p *person) path(args []string, others int) (path string, rest []string, err error) {
	name := console.Everybody
	if !p.everybody {
		if len(args) == 0 {
			return "", nil, usage("whose settings? Give a NAME, or --default")
		}
		name, args = args[0], args[1:]
	}
	if len(args) != others {
		return "", nil, usage("%d arguments where %d must be; --default stands for NAME", len(args), others)
	}
	return console.Path(console.PathUserPolicy, name), args, nil
}

var userColumns = []column[console.UserPolicyReply]{
	{"user", false, func(p console.UserPolicyReply) any { return p.User }},
	{"version", false, func(p console.UserPolicyReply) any { return p.Version }},
	{"event", false, func(p console.UserPolicyReply) any { return p.Event }},
	{"settings", false, func(p console.UserPolicyReply) any { return string(p.Settings) }},
}

func userList(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List who has settings of their own",
		Long:    "List who has settings of their own; * is everybody else.",
		Example: "  bugle policy user list -o json",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			var l console.UserPolicyList
			if err := s.client.get(s.ctx, console.PathUserPolicies, nil, &l); err != nil {
				return err
			}
			return list(s.out, userColumns, all(l.Items))
		}),
	}
}

func (s *session) showUser(p console.UserPolicyReply) {
	from := "nobody's"
	switch p.From {
	case console.Everybody:
		from = "everybody's"
	case p.User:
		from = "their own"
	}
	if !s.out.table() {
		from = p.From
	}
	s.out.object(p, []field{{"User", "user", p.User}, {"Settings", "settings", string(p.Settings)}, {"From", "from", from},
		{"Version", "version", p.Version}, {"Event", "event", p.Event}})
}

func userShow(o *Options) *cobra.Command {
	var who person
	var past pastFlag
	c := &cobra.Command{
		Use:     "show NAME | --default",
		Short:   "Show the settings that count for a person",
		Long:    "Show the settings that count for a person: their own, else everybody's.",
		Example: "  bugle policy user show ann\n  bugle policy user show --default --at 7d",
		Args:    cobra.ArbitraryArgs,
		RunE: o.with(func(s *session, args []string) error {
			path, _, err := who.path(args, 0)
			if err != nil {
				return err
			}
			if err := past.check(); err != nil {
				return err
			}
			var p console.UserPolicyReply
			if err := s.getAs(s.ctx, &past, path, nil, &p); err != nil {
				return err
			}
			s.showUser(p)
			return nil
		}),
	}
	who.add(c)
	past.add(c)
	return c
}

func userSet(o *Options) *cobra.Command {
	var who person
	var reason string
	var version int64
	c := &cobra.Command{
		Use:   "set NAME|--default JSON|@FILE",
		Short: "Replace the settings of a person",
		Long: `Replace the settings of a person, or of everybody who has none of their own, by a JSON
object, or by the one that a file holds. With --if-version nothing is changed unless the
settings still are of that version, which 'show' tells.`,
		Example: `  bugle policy user set ann '{"proxy":"none"}' --reason 'ticket 4711'
  bugle policy user set --default @settings.json --if-version 3`,
		Args: cobra.ArbitraryArgs,
		RunE: o.with(func(s *session, args []string) error {
			path, rest, err := who.path(args, 1)
			if err != nil {
				return err
			}
			raw, err := valueOrFile(rest[0])
			if err != nil {
				return err
			}
			if !json.Valid(raw) {
				return usage("the settings are no JSON")
			}
			r := request{method: http.MethodPut, path: path, body: console.UserPolicyRequest{Settings: raw, Reason: reason}}
			if version >= 0 {
				r.match = ifMatch(uint64(version))
			}
			return s.changeUser(r)
		}),
	}
	who.add(c)
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().Int64Var(&version, "if-version", -1, "only if the settings are of this version")
	return c
}

func userRemove(o *Options) *cobra.Command {
	var who person
	var reason string
	c := &cobra.Command{
		Use:     "remove NAME | --default",
		Short:   "Remove the settings of a person",
		Long:    "Remove the settings of a person; everybody's count from then on.",
		Example: "  bugle policy user remove ann",
		Args:    cobra.ArbitraryArgs,
		RunE: o.with(func(s *session, args []string) error {
			path, _, err := who.path(args, 0)
			if err != nil {
				return err
			}
			q := url.Values{}
			if reason != "" {
				q.Set("reason", reason)
			}
			return s.changeUser(request{method: http.MethodDelete, path: path, query: q})
		}),
	}
	who.add(c)
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

func (s *session) changeUser(r request) error {
	var p console.UserPolicyReply
	if err := s.client.call(s.ctx, r, &p); err != nil {
		return err
	}
	if s.Quiet && s.out.table() {
		return nil
	}
	s.showUser(p)
	s.note("Agents fetch this by themselves; now, with: bugle push policy.user --all")
	return nil
}
