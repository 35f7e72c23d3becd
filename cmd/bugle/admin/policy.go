package admin

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func policyCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "policy",
		Short: "Show and change the settings of agents and of people",
		Long: `Show and change the settings of all agents, and those of people who are signed in there.
Agents fetch them by themselves every now and then; 'bugle push policy.machine --all' makes
them do it now. Beside the settings, a device's policy holds the listeners that it may use
and the open operations that travel by policy too.`,
		Example: "  bugle policy set keepAliveSeconds=30s && bugle push policy.machine --all --watch",
	}, policyShow(o), policySet(o), policyEditor(o), policyUser(o))
}

func policyShow(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show the settings of all agents",
		Long:    "Show the settings of all agents. 0 and an empty list mean: the agent's own default.",
		Example: "  bugle policy show -o json",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var p console.PolicyReply
			if err := s.getAs(s.ctx, &past, console.PathPolicy, nil, &p); err != nil {
				return err
			}
			s.showPolicy(p)
			return nil
		}),
	}
	past.add(c)
	return c
}

func (s *session) policy() (p console.PolicyReply, err error) {
	err = s.client.get(s.ctx, console.PathPolicy, nil, &p)
	return p, err
}

func (s *session) showPolicy(p console.PolicyReply) {
	b := p.Policy
	s.out.object(p, []field{
		{"keepAliveSeconds", "keepAliveSeconds", b.KeepAliveSeconds},
		{"policyPollSeconds", "policyPollSeconds", b.PolicyPollSeconds},
		{"indicators", "indicators", strings.Join(b.Indicators, ",")},
		{"scanFolders", "scanFolders", strings.Join(b.ScanFolders, ",")},
		{"logFiles", "logFiles", strings.Join(b.LogFiles, ",")},
		{"windows", "windows", windowsShown(b.Windows)},
		{"Version", "version", p.Version}, {"ETag", "etag", p.ETag}, {"Event", "event", p.Event},
	})
}

func policySet(o *Options) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "set KEY=VALUE...",
		Short: "Change settings of all agents",
		Long: `Change settings of all agents; those that are not named stay as they are, also those
that somebody else changes at the same moment.

  keepAliveSeconds    how often an idle agent says that it lives: seconds, or a time
                      such as 30s or 15m
  policyPollSeconds   how often an agent asks for its settings
  indicators          SHA-256 of files that the built-in scanner looks for
  scanFolders         absolute folders that it reads
  logFiles            absolute files that logs.collect takes along
  windows             maintenance windows, which intrusive operations keep to: a list as
                      JSON, or @FILE that holds it; 'policy edit' is easier

A list is set by KEY=A,B,C; KEY+=A adds one item and KEY-=A takes one away. KEY= alone
goes back to the agent's own default.`,
		Example: `  bugle policy set keepAliveSeconds=30s policyPollSeconds=10m
  bugle policy set indicators+=275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f --reason 'ticket 4711'
  bugle policy set scanFolders=`,
		Args: atLeastOne("KEY=VALUE"),
		ValidArgsFunction: cobra.FixedCompletions([]string{"keepAliveSeconds=", "policyPollSeconds=", "indicators+=", "scanFolders+=", "logFiles+=", "windows=@"},
			cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace),
		RunE: o.with(func(s *session, args []string) error {
			// What is wrong with the arguments ends the command before it asks.
			if err := new(policyEdit).apply(args); err != nil {
				return err
			}
			var reply console.PolicyReply
			err := s.changePolicy(reason, &reply, func(p *console.PolicyBody) error {
				edit := policyEdit{*p}
				err := edit.apply(args)
				*p = edit.PolicyBody
				return err
			})
			if err != nil {
				return err
			}
			if s.Quiet && s.out.table() {
				return nil
			}
			s.showPolicy(reply)
			s.note("Agents fetch this by themselves; now, with: bugle push policy.machine --all")
			return nil
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

// policyTries is how often a change is made anew because somebody else was faster.
const policyTries = 5

// changePolicy changes the policy as it is, and again if it was changed meanwhile.
func (s *session) changePolicy(reason string, reply *console.PolicyReply, change func(*console.PolicyBody) error) error {
	for try := 1; ; try++ {
		p, err := s.policy()
		if err != nil {
			return err
		}
		version := p.Version
		if err := change(&p.Policy); err != nil {
			return err
		}
		err = s.client.call(s.ctx, request{method: http.MethodPut, path: console.PathPolicy, match: ifMatch(version),
			body: console.PolicyRequest{Policy: p.Policy, Reason: reason}}, reply)
		if !isChanged(err) || try == policyTries {
			return err
		}
	}
}

// ifMatch is a version as the header If-Match has it.
func ifMatch(version uint64) string { return strconv.Quote(strconv.FormatUint(version, 10)) }

// isChanged tells whether what was to be changed is another version by now.
func isChanged(err error) bool {
	return hasStatus(err, http.StatusPreconditionFailed)
}

// hasStatus tells whether the site answered with a status.
func hasStatus(err error, status int) bool {
	p, ok := errors.AsType[*problem](err)
	return ok && p.Status == status
}

// A policyEdit is a policy while it is changed.
type policyEdit struct{ console.PolicyBody }

func (e *policyEdit) apply(settings []string) error {
	for _, setting := range settings {
		key, value, ok := strings.Cut(setting, "=")
		if !ok || key == "" {
			return usage("%q is not KEY=VALUE", setting)
		}
		op := byte('=')
		if last := key[len(key)-1]; last == '+' || last == '-' {
			op, key = last, key[:len(key)-1]
		}
		if err := e.set(key, op, value); err != nil {
			return err
		}
	}
	return nil
}

func (e *policyEdit) set(key string, op byte, value string) error {
	switch key {
	case "keepAliveSeconds":
		return setSeconds(&e.KeepAliveSeconds, key, op, value)
	case "policyPollSeconds":
		return setSeconds(&e.PolicyPollSeconds, key, op, value)
	case "indicators":
		return setList(&e.Indicators, key, op, strings.ToLower(value))
	case "scanFolders":
		return setList(&e.ScanFolders, key, op, value)
	case "logFiles":
		return setList(&e.LogFiles, key, op, value)
	case "windows":
		return setWindows(&e.Windows, op, value)
	}
	return usage("there is no setting %q, only keepAliveSeconds, policyPollSeconds, indicators, scanFolders, logFiles and windows", key)
}

func setSeconds(to *int64, key string, op byte, value string) error {
	if op != '=' {
		return usage("%s is not a list: set it with %s=VALUE", key, key)
	}
	if value == "" {
		*to = 0
		return nil
	}
	if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
		*to = n
		return nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 || d%time.Second != 0 {
		return usage("%s: %q is neither a number of seconds nor a time such as 30s or 15m", key, value)
	}
	*to = int64(d / time.Second)
	return nil
}

func setList(to *[]string, key string, op byte, value string) error {
	if value == "" && op != '=' {
		return usage("%s%c= needs an item", key, op)
	}
	switch {
	case op == '+':
		if !slices.Contains(*to, value) {
			*to = append(slices.Clone(*to), value)
		}
	case op == '-':
		*to = slices.DeleteFunc(slices.Clone(*to), func(s string) bool { return s == value })
	case value == "":
		*to = nil
	default:
		*to = strings.Split(value, ",")
	}
	return nil
}
