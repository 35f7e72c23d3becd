package admin

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console"
)

// A whose is whose windows a command is about, and in which zone.
type whose struct {
	device, collection string
	zone, kind         string
	past               pastFlag
}

func (w *whose) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&w.device, "device", "", "the device, by number, id or name, if a collection has the same name")
	f.StringVar(&w.collection, "collection", "", "the collection, by id or name, if a device has the same name")
	f.StringVar(&w.zone, "zone", "", "the time zone in which local windows are reckoned, such as Europe/Berlin or +02:00 (default that of the device, else UTC)")
	f.StringVar(&w.kind, "kind", "", "only windows that count for general work, updates or task-sequences")
	w.past.add(c)
}

// query makes the parameters of a call.
func (w *whose) query(args []string) (url.Values, error) {
	of := ""
	if len(args) > 0 {
		of = args[0]
	}
	given := 0
	for _, word := range []string{of, w.device, w.collection} {
		if word != "" {
			given++
		}
	}
	if given != 1 {
		return nil, usage("whose windows? Give a DEVICE or a COLLECTION")
	}
	if err := checkWindowKind(w.kind); err != nil {
		return nil, err
	}
	return query("of", of, "device", w.device, "collection", w.collection, "zone", w.zone, "kind", w.kind), w.past.check()
}

func checkWindowKind(kind string) error {
	switch window.Kind(kind) {
	case "", window.General, window.Updates, window.TaskSequences:
		return nil
	}
	return usage("--kind: %q is none of general, updates and task-sequences", kind)
}

// spanLayout is how times are shown in the zone of a machine.
const spanLayout = "Mon 2006-01-02 15:04"

// about says whose windows are shown and in which zone.
func (s *session) about(w *console.WindowsFor) {
	s.leftOut(w.LeftOut)
	s.note("Times are in %s (%s).", w.Zone, w.ZoneFrom)
}

func refs(all []console.WindowRef) string {
	words := make([]string, len(all))
	for i, r := range all {
		where := everybodys
		if r.Collection != "" {
			where = named(r.CollectionName, r.Collection)
		}
		words[i] = fmt.Sprintf("%s (%s)", r.Name, where)
	}
	return strings.Join(words, ", ")
}

func windowsNext(o *Options) *cobra.Command {
	var w whose
	c := &cobra.Command{
		Use:   "next DEVICE|COLLECTION",
		Short: "Say which maintenance window is open, or opens next",
		Long: `Say which maintenance window of a device or of a collection is open now, or opens next.
Those in the policy of the site are among them. Windows that overlap are one.

Local windows are reckoned in the time zone that the device has reported (discovery.collect),
else in UTC, or in that of --zone; the answer says which.`,
		Example: "  bugle windows next PC-0042\n  bugle windows next Pilot --zone Europe/Berlin --kind updates",
		Args:    atMost("DEVICE|COLLECTION"),
		RunE: o.with(func(s *session, args []string) error {
			q, err := w.query(args)
			if err != nil {
				return err
			}
			var n console.WindowNext
			if err := s.getAs(s.ctx, &w.past, console.PathWindowNext, q, &n); err != nil {
				return err
			}
			s.about(&n.WindowsFor)
			if s.out.table() {
				s.out.printf("%s\n", clean(nextInWords(&n)))
				return nil
			}
			fields := []field{{"Open", "isOpen", n.IsOpen}, {"Any", "any", n.Any}}
			if n.Span != nil {
				fields = append(fields, field{"Opens", "open", n.Span.Open}, field{"Closes", "close", n.Span.Close}, field{"Minutes", "minutes", n.Span.Minutes}, field{"Windows", "windows", refs(n.Span.Windows)})
			}
			s.out.object(n, fields)
			return nil
		}),
	}
	w.add(c)
	return c
}

func nextInWords(n *console.WindowNext) string {
	switch {
	case n.Any:
		return "No window counts: any time is good."
	case n.Span == nil:
		return "No window opens ever again: what keeps to windows never runs."
	case n.IsOpen:
		return fmt.Sprintf("Open until %s: %s.", n.Span.Close.Format(spanLayout), refs(n.Span.Windows))
	}
	return fmt.Sprintf("Opens %s for %d min: %s.", n.Span.Open.Format(spanLayout), n.Span.Minutes, refs(n.Span.Windows))
}

var spanColumns = []column[console.WindowSpan]{
	{"opens", false, func(w console.WindowSpan) any { return w.Open.Format(spanLayout) }},
	{"closes", false, func(w console.WindowSpan) any { return w.Close.Format(spanLayout) }},
	{"minutes", false, func(w console.WindowSpan) any { return w.Minutes }},
	{"windows", false, func(w console.WindowSpan) any { return refs(w.Windows) }},
}

func windowsCalendar(o *Options) *cobra.Command {
	var w whose
	var from, to string
	var weeks int
	c := &cobra.Command{
		Use:   "calendar DEVICE|COLLECTION",
		Short: "List when maintenance windows are open within some weeks",
		Long: `List when the maintenance windows of a device or of a collection are open within some weeks,
from now on or from --from. Windows that overlap are one line.

Local windows are reckoned in the time zone that the device has reported (discovery.collect),
else in UTC, or in that of --zone; the answer says which. --from and --to are days, times
in that zone, or instants.`,
		Example: "  bugle windows calendar PC-0042\n  bugle windows calendar Pilot --zone Europe/Berlin --from 2026-12-01 --to 2027-01-01",
		Args:    atMost("DEVICE|COLLECTION"),
		RunE: o.with(func(s *session, args []string) error {
			q, err := w.query(args)
			if err != nil {
				return err
			}
			if weeks < 1 || weeks > 57 {
				return usage("--weeks: %d is not from 1 to 57", weeks)
			}
			if from != "" {
				q.Set("from", from)
			}
			q.Set("weeks", strconv.Itoa(weeks))
			if to != "" {
				q.Del("weeks")
				q.Set("to", to)
			}
			var cal console.WindowCalendar
			if err := s.getAs(s.ctx, &w.past, console.PathWindowCalendar, q, &cal); err != nil {
				return err
			}
			s.about(&cal.WindowsFor)
			if cal.Any {
				s.note("No window counts: any time is good.")
			}
			return list(s.out, spanColumns, all(cal.Spans))
		}),
	}
	w.add(c)
	c.Flags().StringVar(&from, "from", "", "where it begins: a day, a time or an instant (default now)")
	c.Flags().StringVar(&to, "to", "", "where it ends, likewise")
	c.Flags().IntVar(&weeks, "weeks", 4, "how many weeks, if there is no --to")
	return c
}

func windowsWhy(o *Options) *cobra.Command {
	var past pastFlag
	var kind, zone string
	var minutes int
	c := &cobra.Command{
		Use:   "why DEVICE",
		Short: "Say whether work may begin on a device now, and why not",
		Long: `Say whether work that keeps to maintenance windows may begin on a device now, and if not,
why and when it may. It needs more than its longest run time and 5 minutes for a restart.

Updates keep to windows for updates if the device has any, else to general ones.`,
		Example:           "  bugle windows why PC-0042\n  bugle windows why PC-0042 --kind general --minutes 30",
		Args:              exactly("DEVICE"),
		ValidArgsFunction: onlyFirst(o.complete(deviceNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := checkWindowKind(kind); err != nil {
				return err
			}
			if minutes < 1 || minutes > 10080 {
				return usage("--minutes: %d is not from 1 to 10080", minutes)
			}
			if err := past.check(); err != nil {
				return err
			}
			var w console.WindowWhy
			q := query("device", args[0], "kind", kind, "minutes", strconv.Itoa(minutes), "zone", zone)
			if err := s.getAs(s.ctx, &past, console.PathWindowWhy, q, &w); err != nil {
				return err
			}
			s.about(&w.WindowsFor)
			s.showWhy(&w)
			return nil
		}),
	}
	c.Flags().StringVar(&kind, "kind", string(window.Updates), "the sort of work: general, updates or task-sequences")
	c.Flags().IntVar(&minutes, "minutes", 60, "its longest run time")
	c.Flags().StringVar(&zone, "zone", "", "the time zone in which local windows are reckoned (default that of the device, else UTC)")
	past.add(c)
	return c
}

func (s *session) showWhy(w *console.WindowWhy) {
	fields := []field{{"Runs now", "run", w.Run}, {"Why", "why", w.Why}, {"Needs more than", "needs", w.Needs}}
	if s.out.table() {
		fields[2].value = fmt.Sprintf("%d min", w.Needs)
	}
	if w.Current != nil {
		fields = append(fields, field{"Open until", "until", w.Current.Close.Format(spanLayout)})
	}
	if w.Next != nil {
		fields = append(fields, field{"Next", "next", fmt.Sprintf("%s for %d min: %s", w.Next.Open.Format(spanLayout), w.Next.Minutes, refs(w.Next.Windows))})
	}
	fields = append(fields, field{"Windows", "windows", refs(w.Windows)})
	if w.OtherKinds > 0 {
		fields = append(fields, field{"Of other kinds", "otherKinds", w.OtherKinds})
	}
	if w.SwitchedOff > 0 {
		fields = append(fields, field{"Disabled", "switchedOff", w.SwitchedOff})
	}
	s.out.object(w, fields)
}
