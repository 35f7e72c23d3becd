package admin

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func inboxCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "inbox",
		Short: "Show the inbox and put quarantined files back",
		Long: `Show the inbox, through which everything comes that listeners report, and put files back
that it has quarantined.`,
		Example: "  bugle inbox status",
	}, inboxStatus(o), inboxRequeue(o))
}

var fileColumns = []column[console.QuarantinedFile]{
	{"name", false, func(f console.QuarantinedFile) any { return f.Name }},
	{"size", false, func(f console.QuarantinedFile) any { return f.Size }},
	{"at", false, func(f console.QuarantinedFile) any { return f.At }},
	{"event", false, func(f console.QuarantinedFile) any { return f.Event }},
	{"reason", false, func(f console.QuarantinedFile) any { return f.Reason }},
}

func inboxStatus(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:   "status",
		Short: "Show counters and the files that are quarantined",
		Long: `Show the inbox's counters since the site started, and the files that are quarantined, with
the reason. CSV has the files only. With --at there are no counters: they are of now.`,
		Example: "  bugle inbox status\n  bugle inbox status -o json | jq .quarantined",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var r console.InboxReply
			if err := s.getAs(s.ctx, &past, console.PathInbox, nil, &r); err != nil {
				return err
			}
			switch s.out.format {
			case "json", "jsonl":
				s.out.object(r, nil)
				return nil
			case "csv":
				return list(s.out, fileColumns, all(r.Quarantined))
			}
			if past.text == "" {
				s.out.fields(statFields(r.Stats))
				s.out.printf("\n")
			}
			if len(r.Quarantined) == 0 {
				s.out.printf("No file is quarantined.\n")
				return nil
			}
			return list(s.out, fileColumns, all(r.Quarantined))
		}),
	}
	past.add(c)
	return c
}

// statFields is the counters, by name.
func statFields(stats any) []field {
	m, ok := stats.(map[string]any)
	if !ok {
		return []field{{"Counters", "stats", compact(stats)}}
	}
	fields := make([]field, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fields = append(fields, field{sentenceCase(words(name)), name, scalar(m[name])})
	}
	return fields
}

func inboxRequeue(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "requeue FILE",
		Short: "Put a quarantined file back into the inbox",
		Long: `Put a quarantined file back into the inbox, which tries it again: after a fault on the
site's side was mended. A file that is bad will be quarantined again.`,
		Example: "  bugle inbox requeue BGB-00000001-00000000000000000017.BTS",
		Args:    exactly("FILE"),
		RunE: o.with(func(s *session, args []string) error {
			var w console.Written
			if err := s.client.post(s.ctx, console.Path(console.PathInboxRequeue, args[0]), nil, &w); err != nil {
				return err
			}
			s.out.sentence(s.Quiet, w, "%s is back in the inbox (event %d).", args[0], w.Event)
			return nil
		}),
	}
}
