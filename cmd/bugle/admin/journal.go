package admin

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func journalCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "journal",
		Short: "Read the history of the site",
		Long: `Read the history of the site: everything that happened is an event, numbered from 1
without a hole.`,
		Example: "  bugle journal tail --follow\n  bugle journal show 4711\n  bugle journal prove 4711 > event.proof",
	}, journalTail(o), journalShow(o), journalHead(o), journalCheckpoint(o), journalProve(o), journalCheck(), journalConsistency(o), journalExport(o), journalVerify(o), journalSalvage(o))
}

type tailFlags struct {
	eventFilter
	limit  int
	follow bool

	limitGiven func() bool
}

func journalTail(o *Options) *cobra.Command {
	f := new(tailFlags)
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show the last events, and with --follow those that happen",
		Long: `Show the last events (--limit, 10), or with --from those from an event on (all, unless
--limit is given). With --follow the command stays and shows what happens, until Ctrl-C;
if the connection breaks it goes on where it was.

` + filterHelp + `

The table shows what an event says in brief; -o jsonl has all of it. With --follow the
outputs are table, jsonl and csv.`,
		Example: `  bugle journal tail -n 50
  bugle journal tail --follow --kind operation.requested,results.reported
  bugle journal tail --from 2h --actor admin
  bugle journal tail --from 2026-12-24T18:00:00Z --to 2026-12-24T19:00:00Z --device PC-0042
  bugle journal tail --from 1 --kind operation.,policy.changed -o jsonl > decisions.jsonl`,
		Args: exactly(),
		RunE: o.with(func(s *session, _ []string) error { return s.tail(f) }),
	}
	c.Flags().IntVarP(&f.limit, "limit", "n", 10, "show at most so many events before what --follow shows")
	f.add(c, o)
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "stay and show what happens")
	f.limitGiven = func() bool { return c.Flags().Changed("limit") }
	return c
}

func (f *tailFlags) check(s *session) error {
	switch {
	case f.limit < 0:
		return usage("--limit: %d is less than 0", f.limit)
	case f.from == "" && f.limit > maxTail:
		return usage("--limit: at most the last %d events are shown; use --from for more", maxTail)
	case f.follow && f.to != "":
		return usage("--follow shows what happens from now on, and --to ends before that: leave one of them out")
	case f.from != "" && f.follow && f.limitGiven():
		return usage("--follow goes on from --from without a hole, which --limit would make")
	case f.follow && s.out.format == "json":
		return usage("with --follow there is no end at which JSON could be closed: use -o jsonl")
	}
	return f.eventFilter.check(s)
}

// maxTail is the largest number of last events; more are read with --from.
const maxTail = 10_000

func (s *session) tail(f *tailFlags) error {
	if err := f.check(s); err != nil {
		return err
	}
	out := newEventPrinter(s.out)
	next, err := s.showLast(f, out)
	if err == nil && f.follow {
		err = s.showNew(f, next, out)
	}
	if err != nil {
		return err
	}
	out.close()
	return nil
}

func journalShow(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "show N",
		Short: "Show one event",
		Long: `Show the event with number N: who made it happen and from where, which file said so, when it
was observed and when the journal accepted it (and the difference, if it is large), why, and
all it says. Of an event that changes what an administrator defines or owns (the policy, a
blocked device, a token, an operation, a quarantined file, a view) it also shows the state
of the thing right before and right after.`,
		Example: "  bugle journal show 4711 -o json",
		Args:    exactly("N"),
		RunE: o.with(func(s *session, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || n == 0 {
				return usage("%q is not the number of an event", args[0])
			}
			var e console.Event
			if err := s.client.get(s.ctx, console.Path(console.PathEvent, strconv.FormatUint(n, 10)), query("change", "true"), &e); err != nil {
				return err
			}
			fields := eventFields(e)
			if !s.out.table() {
				change := changeOf(e)
				s.out.object(e, append(fields, field{"Payload", "payload", compact(e.Payload)}, field{"Changed", "changed", change.Of},
					field{"Before", "before", compact(change.Before)}, field{"After", "after", compact(change.After)}))
				return nil
			}
			s.out.fields(fields)
			s.out.printf("\n%s", encoded(e.Payload, "", "  "))
			s.showChange(e.Change)
			return nil
		}),
	}
}

func (s *session) showChange(c *console.Change) {
	if c == nil {
		return
	}
	s.out.printf("\nChanged: %s\n", clean(c.Of))
	if c.Before != nil || c.After != nil {
		s.out.printf("\nBefore:\n%s\nAfter:\n%s", encoded(c.Before, "", "  "), encoded(c.After, "", "  "))
	}
	if c.Note != "" {
		s.out.printf("\n%s\n", clean(c.Note))
	}
}

func journalHead(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "head",
		Short: "Show the end of the journal",
		Long: `Show the end of the journal: how many events and pages there are, and the hash of the last
page, which holds for all that is before it.`,
		Example: "  bugle journal head -o json",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			j, err := s.head()
			if err != nil {
				return err
			}
			s.out.object(j, []field{{"Events", "events", j.Events}, {"Pages", "pages", j.Pages}, {"Head", "head", j.Head}})
			return nil
		}),
	}
}

func (s *session) head() (j console.JournalReply, err error) {
	err = s.client.get(s.ctx, console.PathJournal, nil, &j)
	return j, err
}
