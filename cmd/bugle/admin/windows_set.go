package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A windowEdit is the flags that say how a window is to be.
type windowEdit struct {
	start    string
	minutes  int
	every    string
	kind     string
	utc      bool
	disabled bool
}

func (e *windowEdit) add(f *pflag.FlagSet) {
	f.StringVar(&e.start, "start", "", "date and time of the first opening, such as 2026-12-05T01:00")
	f.IntVar(&e.minutes, "minutes", 0, "how long it is open: 5 to 44640")
	f.StringVar(&e.every, "every", "once", "when it comes again")
	f.StringVar(&e.kind, "kind", string(window.General), "what may be done in it: general, updates or task-sequences")
	f.BoolVar(&e.utc, "utc", false, "--start is UTC, not the time of each machine")
	f.BoolVar(&e.disabled, "disabled", false, "it counts for nobody for now; --disabled=false turns it on again")
}

// startLayout is how windows say when they open.
const startLayout = "2006-01-02T15:04"

// apply changes a window by the flags that were given. Of a new one, those that
// were not are the defaults.
func (e *windowEdit) apply(w *window.Window, f *pflag.FlagSet) error {
	isNew := w.Start.IsZero()
	given := func(name string) bool { return isNew || f.Changed(name) }
	if isNew && (e.start == "" || e.minutes == 0) {
		return usage("there is no such window yet: give --start and --minutes to make it")
	}
	if given("start") {
		start, err := time.Parse(startLayout, strings.Replace(e.start, " ", "T", 1))
		if err != nil {
			return usage("--start: %q is no date and time such as 2026-12-05T01:00", e.start)
		}
		w.Start = start
	}
	if given("minutes") {
		w.Length = time.Duration(e.minutes) * time.Minute
	}
	if given("every") {
		every, err := window.ParseEvery(e.every, w.Start)
		if err != nil {
			return usage("--%w", err)
		}
		w.Every = every
	}
	if given("kind") {
		w.Kind = window.Kind(e.kind)
	}
	if given("utc") {
		w.UTC = e.utc
	}
	if given("disabled") {
		w.Enabled = !e.disabled
	}
	if err := w.Check(); err != nil {
		return usage("%w", err)
	}
	return nil
}

func windowsSet(o *Options) *cobra.Command {
	var e windowEdit
	var reason string
	var dryRun bool
	c := &cobra.Command{
		Use:   "set COLLECTION NAME",
		Short: "Make or change a maintenance window of a collection",
		Long: `Make a maintenance window of a collection, or change the one of this name: what is not
named stays as it is.

--every is when it comes again:

  once                          the default
  day, 2 days                   counted from --start
  week, 2 weeks on sat,sun      without days: on the weekday of --start
  month on second tue           first to fourth or last
  month on second tue +2        and days later, in the next month if need be
  month on day 15, 3 months on day 1
  month on last day

--start is the wall time of each machine, unless --utc is given. The answer says what is
worth a second look: a window that is too short for any update, or over already, or
overlaps another.`,
		Example: `  bugle windows set Pilot 'patch night' --start 2026-12-05T01:00 --minutes 180 --every 'month on second tue +2' --kind updates
  bugle windows set Pilot 'patch night' --minutes 240 --reason 'ticket 4711'
  bugle windows set Pilot 'patch night' --disabled`,
		Args: exactly("COLLECTION", "NAME"),
	}
	c.RunE = o.with(func(s *session, args []string) error {
		var reply console.WindowsReply
		if err := s.setWindow(args[0], args[1], &e, c.Flags(), reason, dryRun, &reply); err != nil {
			return err
		}
		return s.showChanges(&reply)
	})
	e.add(c.Flags())
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, only say what would change")
	return c
}

// setWindow changes a window as it is, and again if somebody else changed it
// meanwhile.
func (s *session) setWindow(collection, name string, e *windowEdit, f *pflag.FlagSet, reason string, dryRun bool, reply *console.WindowsReply) error {
	path := console.Path(console.PathWindow, collection, name)
	for try := 1; ; try++ {
		var was console.WindowReply
		w := window.Window{Name: name}
		err := s.client.get(s.ctx, path, nil, &was)
		switch {
		case hasStatus(err, http.StatusNotFound): // it is new
		case err != nil:
			return err
		default:
			if err := json.Unmarshal(was.Window, &w); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
		}
		if err := e.apply(&w, f); err != nil {
			return err
		}
		raw, err := json.Marshal(w)
		if err != nil {
			return err
		}
		err = s.client.call(s.ctx, request{method: http.MethodPut, path: path, match: ifMatch(was.Event),
			body: console.WindowRequest{Window: raw, Reason: reason, DryRun: dryRun}}, reply)
		if !isChanged(err) || try == policyTries {
			return err
		}
	}
}

func windowsDelete(o *Options) *cobra.Command {
	var reason string
	var dryRun bool
	c := &cobra.Command{
		Use:   "delete COLLECTION NAME",
		Short: "Delete a maintenance window of a collection",
		Long: `Delete a maintenance window of a collection. A device that has no window left may be
interrupted at any time; 'bugle windows set COLLECTION NAME --disabled' does the same and
can be taken back.`,
		Example: "  bugle windows delete Pilot 'patch night' --reason 'ticket 4711'",
		Args:    exactly("COLLECTION", "NAME"),
		RunE: o.with(func(s *session, args []string) error {
			var reply console.WindowsReply
			q := query("reason", reason)
			if dryRun {
				q.Set("dry-run", "true")
			}
			r := request{method: http.MethodDelete, path: console.Path(console.PathWindow, args...), query: q}
			if err := s.client.call(s.ctx, r, &reply); err != nil {
				return err
			}
			return s.showChanges(&reply)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, only say what would change")
	return c
}

func windowsApply(o *Options) *cobra.Command {
	var r console.WindowsRequest
	c := &cobra.Command{
		Use:   "apply FILE.yaml",
		Short: "Set the maintenance windows that a file lists",
		Long: `Set the maintenance windows that a file lists, all or none; what is as it should be stays,
and so does what the file does not name. - is stdin. The file is YAML or JSON:

  windows:
    - collection: Pilot
      name: patch night
      kind: updates
      start: 2026-12-05T01:00
      minutes: 180
      every: {unit: month, nth: second, weekday: tue, offset: 2}

With --prune the other windows of the collections that it names are deleted.`,
		Example: "  bugle windows apply windows.yaml --dry-run\n  bugle windows apply windows.yaml --prune --reason 'ticket 4711'",
		Args:    exactly("FILE.yaml"),
		RunE: o.with(func(s *session, args []string) error {
			text, err := s.document(args[0])
			if err != nil {
				return err
			}
			if r.Windows, err = parseWindows(text); err != nil {
				return fmt.Errorf("read %s: %w", args[0], err)
			}
			var reply console.WindowsReply
			q := request{method: http.MethodPost, path: console.PathWindowsApply, body: r, key: task.NewRandomID().String()}
			if err := s.client.callAgain(s.ctx, q, &reply); err != nil {
				return err
			}
			return s.showChanges(&reply)
		}),
	}
	c.Flags().StringVar(&r.Reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&r.DryRun, "dry-run", false, "change nothing, only say what would change")
	c.Flags().BoolVar(&r.Prune, "prune", false, "delete the other windows of the collections that the file names")
	return c
}

// document reads a file of definitions, or stdin.
func (s *session) document(path string) ([]byte, error) {
	from, name := s.in, "stdin"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the windows: %w", err)
		}
		defer f.Close()
		from, name = f, path
	}
	b, err := io.ReadAll(io.LimitReader(from, definitions.MaxDocument+1))
	if err == nil && len(b) > definitions.MaxDocument {
		err = fmt.Errorf("it has more than %d bytes", definitions.MaxDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// parseWindows reads a document of definitions that has windows only, or the bare
// list of them.
func parseWindows(text []byte) ([]definitions.Windows, error) {
	more := 0 // lines that are put in front
	switch listOf(text) {
	case '-':
		text, more = append([]byte("windows:\n"), text...), 1
	case '[':
		text = append(append([]byte("{windows: "), text...), "\n}"...)
	}
	d, places, err := definitions.Parse(text)
	if wrong, ok := errors.AsType[*definitions.SyntaxError](err); ok && wrong.Line > more {
		err = &definitions.SyntaxError{Place: definitions.Place{Line: wrong.Line - more, Column: wrong.Column}, Message: wrong.Message}
	}
	if err != nil {
		return nil, err
	}
	if len(d.Classes) > 0 || len(d.Collections) > 0 {
		return nil, errors.New("it defines more than windows; use 'bugle collections apply'")
	}
	if len(d.Windows) == 0 {
		return nil, errors.New("it has no windows")
	}
	return d.Windows, checkWindows(d.Windows, places, more)
}

// checkWindows finds what is wrong with windows, with its place behind so many
// lines.
func checkWindows(all []definitions.Windows, places definitions.Places, lines int) error {
	for i, l := range all {
		for _, raw := range l.Windows {
			_, err := window.Parse(append(append([]byte("["), raw...), ']'))
			if err == nil {
				continue
			}
			at, _ := places.Find(fmt.Sprintf("windows[%d]", i))
			at.Line -= lines
			return &definitions.SyntaxError{Place: at, Message: strings.TrimPrefix(err.Error(), "window 1: ")}
		}
	}
	return nil
}

// listOf returns the mark that begins a text which is a list: - or [, or else 0.
func listOf(text []byte) byte {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
			continue
		case line[0] == '[' || line[0] == '-' && !bytes.HasPrefix(line, []byte("---")):
			return line[0]
		}
		return 0
	}
	return 0
}
