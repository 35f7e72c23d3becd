package admin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

var kindColumns = []column[console.KindInfo]{
	{"kind", false, func(k console.KindInfo) any { return k.Kind }},
	{"class", false, func(k console.KindInfo) any { return k.Class }},
	{"contract", false, func(k console.KindInfo) any { return k.Contract }},
	{"deliverBy", false, func(k console.KindInfo) any { return time.Duration(k.DeliverBySeconds) * time.Second }},
	{"runTimeout", false, func(k console.KindInfo) any { return time.Duration(k.RunTimeoutSeconds) * time.Second }},
	{"priority", true, func(k console.KindInfo) any { return k.Priority }},
	{"product", true, func(k console.KindInfo) any { return k.Product }},
	{"parameters", false, func(k console.KindInfo) any { return strings.Join(k.Parameters, " ") }},
	{"about", false, func(k console.KindInfo) any { return long(k.About) }},
}

func kindsCommand(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "kinds [KIND]",
		Short: "Show what can be pushed, and the parameters of a kind",
		Long: `Show what can be pushed. With KIND show all about one, and what its parameters may be.

  class     normal; intrusive and barrier obey the maintenance windows of the devices,
            and a barrier runs alone and last
  contract  channel: a task comes over a connection while it is valid; channel+policy:
            it stands in the policy of its devices too, and runs once

command.NAME is what administrators added on their devices: an executable NAME and its
manifest NAME.json in a folder that only root may write (bugle-agent run --kinds).`,
		Example:           "  bugle kinds\n  bugle kinds update.install\n  bugle kinds restart -o json | jq .schema",
		Args:              atMost("KIND"),
		ValidArgsFunction: onlyFirst(o.complete(kindNames)),
		RunE: o.with(func(s *session, args []string) error {
			var kinds console.KindList
			if err := s.client.get(s.ctx, console.PathKinds, nil, &kinds); err != nil {
				return err
			}
			if len(args) == 0 {
				return list(s.out, kindColumns, all(kinds.Items))
			}
			i := slices.IndexFunc(kinds.Items, func(k console.KindInfo) bool { return k.Kind == args[0] })
			if i < 0 {
				return fmt.Errorf("there is no kind %q; 'bugle kinds' shows those that there are", args[0])
			}
			return s.showKind(&kinds.Items[i])
		}),
	}
}

func (s *session) showKind(k *console.KindInfo) error {
	schema, err := json.MarshalIndent(k.Schema, "", "  ")
	if err != nil {
		return fmt.Errorf("show parameters: %w", err)
	}
	fields := []field{
		{"Kind", "kind", k.Kind}, {"About", "about", k.About}, {"Class", "class", k.Class}, {"Contract", "contract", k.Contract},
		{"Deliver by", "deliverBy", time.Duration(k.DeliverBySeconds) * time.Second},
		{"Run timeout", "runTimeout", time.Duration(k.RunTimeoutSeconds) * time.Second},
		{"Priority", "priority", k.Priority}, {"Parameters", "parameters", strings.Join(k.Parameters, " ")},
	}
	s.out.object(k, fields)
	if s.out.table() {
		s.out.printf("\n%s\n", schema)
	}
	return nil
}
