package admin

import (
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
)

func journalCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "journal",
		Short: "Read the history of the site",
		Long: `Read the history of the site: everything that happened is an event, numbered from 1
without a hole.`,
		Example: "  bugle journal tail --follow\n  bugle journal show 4711\n  bugle journal prove 4711 > event.proof",
	}, journalTail(o), journalShow(o), journalHead(o), journalCheckpoint(o), journalProve(o), journalCheck())
}

type tailFlags struct {
	limit  int
	from   uint64
	kinds  []string
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

The table shows what an event says in brief; -o jsonl has all of it. With --follow the
outputs are table, jsonl and csv.`,
		Example: `  bugle journal tail -n 50
  bugle journal tail --follow --kind operation.requested,results.reported
  bugle journal tail --from 1 -o jsonl > history.jsonl`,
		Args: exactly(),
		RunE: o.with(func(s *session, _ []string) error { return s.tail(f) }),
	}
	c.Flags().IntVarP(&f.limit, "limit", "n", 10, "show at most so many events before what --follow shows")
	c.Flags().Uint64Var(&f.from, "from", 0, "begin with this event, not with the last ones")
	c.Flags().StringSliceVar(&f.kinds, "kind", nil, "only events of this kind; may be repeated")
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "stay and show what happens")
	f.limitGiven = func() bool { return c.Flags().Changed("limit") }
	kinds := mapped(event.Kinds(), func(k event.Kind) string { return string(k) })
	slices.Sort(kinds)
	c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (f *tailFlags) check(s *session) error {
	switch {
	case f.limit < 0:
		return usage("--limit: %d is less than 0", f.limit)
	case f.from == 0 && f.limit > maxTail:
		return usage("--limit: at most the last %d events are shown; use --from for more", maxTail)
	case f.from > 0 && f.follow && f.limitGiven():
		return usage("--follow goes on from --from without a hole, which --limit would make")
	case f.follow && s.out.format == "json":
		return usage("with --follow there is no end at which JSON could be closed: use -o jsonl")
	}
	for _, k := range f.kinds {
		if _, ok := event.AppenderOf(event.Kind(k)); !ok {
			s.note("This bugle does not know events of kind %q; the site may.", k)
		}
	}
	return nil
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
		Use:     "show N",
		Short:   "Show one event",
		Long:    "Show the event with number N: who made it happen, which file said so, and all it says.",
		Example: "  bugle journal show 4711 -o json",
		Args:    exactly("N"),
		RunE: o.with(func(s *session, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || n == 0 {
				return usage("%q is not the number of an event", args[0])
			}
			var e console.Event
			if err := s.client.get(s.ctx, console.Path(console.PathEvent, strconv.FormatUint(n, 10)), nil, &e); err != nil {
				return err
			}
			fields := eventFields(e)
			if !s.out.table() {
				s.out.object(e, append(fields, field{"Payload", "payload", compact(e.Payload)}))
				return nil
			}
			s.out.fields(fields)
			s.out.printf("\n%s", encoded(e.Payload, "", "  "))
			return nil
		}),
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
