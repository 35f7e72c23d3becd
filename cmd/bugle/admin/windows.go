package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console"
)

func windowsCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:     "windows",
		Aliases: []string{"window"},
		Short:   "Maintenance windows of collections: when machines may be interrupted",
		Long: `Maintenance windows say when machines may be interrupted: update.install and restart run
only in one that is open for longer than they may take, and 5 minutes for the restart.
Without a window any time is good.

A window belongs to a collection; a device has those of all its collections, and those in
the policy of the site, which count for all devices ('bugle policy edit'). Windows that
overlap are one. Devices learn of a change with their next policy; 'bugle push
policy.machine' makes them fetch it now. They decide by themselves, by their own clocks.`,
		Example: `  bugle windows set Pilot 'patch night' --start 2026-12-05T01:00 --minutes 180 --every 'month on second tue +2' --kind updates
  bugle windows why PC-0042`,
	}, windowsList(o), windowsShow(o), windowsSet(o), windowsApply(o), windowsDelete(o), windowsNext(o), windowsCalendar(o), windowsWhy(o))
}

// everybodys is where windows are that count for all devices.
const everybodys = "all devices"

// A windowRow is a window as lists have it.
type windowRow struct {
	console.WindowReply
	defined window.Window
}

func newWindowRow(w console.WindowReply) (row windowRow, err error) {
	row.WindowReply = w
	if err = json.Unmarshal(w.Window, &row.defined); err != nil {
		err = fmt.Errorf("read the answer: %w", err)
	}
	return row, err
}

// MarshalJSON writes what the API has.
func (r windowRow) MarshalJSON() ([]byte, error) { return json.Marshal(r.WindowReply) }

func (r *windowRow) where() string {
	if r.Collection == "" {
		return everybodys
	}
	return named(r.CollectionName, r.Collection)
}

// named is a thing by its name, or by its id if it has none.
func named(name, id string) string {
	if name == "" {
		return id
	}
	return name
}

// begins is when a window opens first: with a Z if that is UTC, like an instant.
func begins(w *window.Window) string {
	text := w.Start.Format("2006-01-02T15:04")
	if w.UTC {
		text += "Z"
	}
	return text
}

var windowColumns = []column[windowRow]{
	{"collection", false, func(r windowRow) any { return r.where() }},
	{"collectionId", true, func(r windowRow) any { return r.Collection }},
	{"name", false, func(r windowRow) any { return r.defined.Name }},
	{"kind", false, func(r windowRow) any { return string(r.defined.Kind) }},
	{"enabled", false, func(r windowRow) any { return r.defined.Enabled }},
	{"start", false, func(r windowRow) any { return begins(&r.defined) }},
	{"minutes", false, func(r windowRow) any { return int(r.defined.Length.Minutes()) }},
	{"every", false, func(r windowRow) any { return r.defined.Every.String() }},
	{"event", false, func(r windowRow) any { return r.Event }},
	{"changed", true, func(r windowRow) any { return r.Changed }},
}

func windowsList(o *Options) *cobra.Command {
	var past pastFlag
	var collection, device string
	c := &cobra.Command{
		Use:   "list",
		Short: "List maintenance windows",
		Long: `List maintenance windows: those in the policy of the site first, then by collection and
name. START is in the time of each machine, or UTC if it ends in Z.

With --collection only those of a collection, with --device those that a device has.`,
		Example: "  bugle windows list --device PC-0042\n  bugle windows list --collection Pilot --at 7d -o json",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if collection != "" && device != "" {
				return usage("--collection and --device exclude each other")
			}
			if err := past.check(); err != nil {
				return err
			}
			var l console.WindowList
			if err := s.getAs(s.ctx, &past, console.PathWindows, query("collection", collection, "device", device), &l); err != nil {
				return err
			}
			rows := make([]windowRow, len(l.Items))
			for i, w := range l.Items {
				var err error
				if rows[i], err = newWindowRow(w); err != nil {
					return err
				}
			}
			s.leftOut(l.LeftOut)
			return list(s.out, windowColumns, all(rows))
		}),
	}
	c.Flags().StringVar(&collection, "collection", "", "only those of this collection, by id or name")
	c.Flags().StringVar(&device, "device", "", "only those that this device has, by number, id or name")
	past.add(c)
	return c
}

func (s *session) leftOut(n int) {
	if n > 0 {
		s.warn("the device has %d windows more than the %d that it takes; it does not get these", n, window.MaxWindows)
	}
}

func windowsShow(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:     "show COLLECTION NAME",
		Short:   "Show a maintenance window of a collection",
		Long:    "Show a maintenance window of a collection, as 'bugle windows apply' takes it with -o json.",
		Example: "  bugle windows show Pilot 'patch night'",
		Args:    exactly("COLLECTION", "NAME"),
		RunE: o.with(func(s *session, args []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var w console.WindowReply
			if err := s.getAs(s.ctx, &past, console.Path(console.PathWindow, args...), nil, &w); err != nil {
				return err
			}
			r, err := newWindowRow(w)
			if err != nil {
				return err
			}
			d := &r.defined
			s.out.object(w, []field{
				{"Collection", "collection", r.where()}, {"Id", "collectionId", w.Collection}, {"Name", "name", d.Name}, {"Kind", "kind", string(d.Kind)},
				{"Enabled", "enabled", d.Enabled}, {"Start", "start", begins(d)}, {"Time", "utc", timeOf(d)}, {"Minutes", "minutes", int(d.Length.Minutes())},
				{"Every", "every", d.Every.String()}, {"Changed", "changed", w.Changed}, {"Event", "event", w.Event},
			})
			return nil
		}),
	}
	past.add(c)
	return c
}

func timeOf(w *window.Window) string {
	if w.UTC {
		return "UTC"
	}
	return "of each machine"
}

// showChanges shows what became of windows, or would become.
func (s *session) showChanges(r *console.WindowsReply) error {
	if !s.out.table() {
		s.out.object(r, []field{{"Event", "event", r.Event}, {"Changes", "changes", len(r.Changes)}, {"Unchanged", "unchanged", r.Unchanged}})
		return nil
	}
	if s.Quiet {
		return nil
	}
	for _, c := range r.Changes {
		before, err := inWords(c.Before)
		after, err2 := inWords(c.After)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		where := fmt.Sprintf("%q of %s", c.Name, named(c.CollectionName, c.Collection))
		switch {
		case before == "":
			s.out.printf("%s\n", clean("+ "+where+": "+after))
		case after == "":
			s.out.printf("%s\n", clean("- "+where+": "+before))
		default:
			s.out.printf("%s\n", clean("~ "+where+": "+after+" (was "+before+")"))
		}
		for _, a := range c.Advice {
			s.note("note: %s: %s.", where, a)
		}
	}
	switch n := len(r.Changes); {
	case n == 0:
		s.out.printf("Nothing to change; %d as they should be.\n", r.Unchanged)
	case r.DryRun:
		s.note("Nothing was done: this is what would change.")
	default:
		s.note("Changed by event %d. Devices fetch this by themselves; now, with: bugle push policy.machine --collection %s", r.Event, theOne(r.Changes))
	}
	return nil
}

// theOne is the collection that changes are about, if it is one.
func theOne(changes []console.WindowChange) string {
	for _, c := range changes {
		if c.Collection != changes[0].Collection {
			return "COLLECTION"
		}
	}
	return changes[0].Collection
}

// inWords is a window for people, without its name; empty for none.
func inWords(raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", nil
	}
	var w window.Window
	if err := json.Unmarshal(raw, &w); err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	words := []string{begins(&w), fmt.Sprintf("%d min", int(w.Length.Minutes())), w.Every.String(), string(w.Kind)}
	if !w.Enabled {
		words = append(words, "disabled")
	}
	return strings.Join(words, ", "), nil
}
