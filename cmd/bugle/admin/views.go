package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func viewsCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "views",
		Short: "List, check and rebuild the views of the journal",
		Long: `List, check and rebuild the views of the journal. A view is what the site makes of its
history to answer questions fast; it can be made anew from the journal at any time.`,
		Example: "  bugle views list\n  bugle views rebuild presence",
	}, viewsList(o), viewsRebuild(o), viewsRollback(o), viewsDigest(o))
}

var viewColumns = []column[console.View]{
	{"view", false, func(v console.View) any { return v.View }},
	{"state", false, func(v console.View) any { return state(v.State) }},
	{"since", false, func(v console.View) any { return v.Since }},
	{"position", false, func(v console.View) any { return v.Position }},
	{"lag", false, func(v console.View) any { return v.Lag }},
	{"lagSeconds", false, func(v console.View) any { return v.LagSeconds }},
	{"rows", false, func(v console.View) any { return v.Rows }},
	{"generation", false, func(v console.View) any { return v.Generation }},
	{"former", true, func(v console.View) any { return v.Former }},
	{"window", true, func(v console.View) any { return v.Window }},
	{"stoppedAt", false, func(v console.View) any { return orNothing(v.StoppedAt) }},
	{"stoppedBy", true, func(v console.View) any { return v.StoppedBy }},
	{"error", false, func(v console.View) any { return v.Error }},
}

func (s *session) views() (console.ViewList, error) {
	var views console.ViewList
	err := s.client.get(s.ctx, console.PathViews, nil, &views)
	return views, err
}

func viewsList(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the views and where they stand",
		Long: `List the views: whether each is serving, lagging (more than 30 seconds behind), building
(for the first time: it cannot be read yet) or stopped, and since when; the last event that
it holds (POSITION), how many events and seconds it is behind the journal (LAG), how much
it holds (ROWS) and which generation of it serves. Of one that has stopped, the event that
stops it (STOPPED AT) and why (ERROR). CSV and JSON also have the generation that a
rollback returns to (former), the first event as of which reads are as fast as of now
(window), and the kind of the event that stops it.`,
		Example: "  bugle views list -o json",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			views, err := s.views()
			if err != nil {
				return err
			}
			return list(s.out, viewColumns, all(views.Items))
		}),
	}
}

var rebuildColumns = []column[*console.RebuildReply]{
	{"view", false, func(r *console.RebuildReply) any { return r.View }},
	{"generation", false, func(r *console.RebuildReply) any { return r.Generation }},
	{"position", false, func(r *console.RebuildReply) any { return r.Position }},
	{"digest", false, func(r *console.RebuildReply) any { return r.Digest }},
	{"same", false, func(r *console.RebuildReply) any { return r.Same }},
	{"event", false, func(r *console.RebuildReply) any { return r.Event }},
}

func viewsRebuild(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild NAME|all",
		Short: "Make a view anew from the journal",
		Long: `Make a view, or with "all" every view, one after the other, anew from the journal. The old
one serves until the new one has caught up; then they are compared at the same event and
the new one serves. If they differ, the old one was damaged: the command warns of it. The
old one is kept for a week ('bugle views rollback').

It says how fast it is and how long it will take. If the command ends, so does the rebuild,
and the old one goes on.`,
		Example:           "  bugle views rebuild presence\n  bugle views rebuild all",
		Args:              exactly("NAME|all"),
		ValidArgsFunction: onlyFirst(o.complete(viewNames)),
		RunE: o.with(func(s *session, args []string) error {
			results, failed := s.rebuild(args[0], request{method: http.MethodPost, path: console.Path(console.PathViewRebuild, args[0])})
			if failed != nil && len(results) == 0 {
				return failed
			}
			for _, r := range results {
				if !r.Same {
					s.warn("view %s as it served until now differed from the journal at event %d; the new one serves", r.View, r.Position)
				}
			}
			if args[0] != console.AllViews {
				s.showRebuilt(results[0])
			} else if err := list(s.out, rebuildColumns, all(results)); err != nil {
				return err
			}
			if failed != nil {
				return &ExitError{codePartly, failed}
			}
			return nil
		}),
	}
}

func (s *session) showRebuilt(r *console.RebuildReply) {
	s.out.object(r, []field{
		{"View", "view", r.View}, {"Generation", "generation", r.Generation}, {"Position", "position", r.Position},
		{"Digest", "digest", r.Digest}, {"Same as before", "same", r.Same}, {"Event", "event", r.Event},
	})
}

func viewsRollback(o *Options) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Let a view serve again as it was before its last rebuild",
		Long: `Let the generation of a view serve again that served before its last rebuild, while that is
kept: for a week. It is brought up to the same event, verified and compared first. The
other one is then kept in its place, so that a second rollback undoes the first.`,
		Example:           "  bugle views rollback presence --reason 'the rebuild was made with a broken version'",
		Args:              exactly("NAME"),
		ValidArgsFunction: onlyFirst(o.complete(viewNames)),
		RunE: o.with(func(s *session, args []string) error {
			r := request{method: http.MethodPost, path: console.Path(console.PathViewRollback, args[0]), body: console.ReasonRequest{Reason: reason}}
			results, err := s.rebuild(args[0], r)
			if err != nil {
				return err
			}
			s.showRebuilt(results[0])
			if !results[0].Same {
				s.warn("the generation that served until now differed from the one that serves again at event %d: one of the two is not what the journal says; 'bugle views rebuild %s' tells", results[0].Position, args[0])
			}
			return nil
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

// rebuild follows the stream of a rebuild or a rollback to its results.
func (s *session) rebuild(view string, r request) (results []*console.RebuildReply, err error) {
	progress := s.progress(0)
	defer progress.Done()
	last, shown, terminal := console.Progress{}, time.Time{}, s.isTerminal(s.err)
	err = s.client.stream(s.ctx, r, func(m message) error {
		switch m.name {
		case "progress":
			last = console.Progress{}
			if err := json.Unmarshal(m.data, &last); err != nil {
				return fmt.Errorf("read progress: %w", err)
			}
			if now := s.time(); terminal || now.Sub(shown) >= scanEvery {
				shown = now
				progress.show(int(last.Done), int(last.Total), "event", pace(&last, view))
			}
		case "result":
			result := new(console.RebuildReply)
			if err := json.Unmarshal(m.data, result); err != nil {
				return fmt.Errorf("read result: %w", err)
			}
			results = append(results, result)
			if last.Total > 0 { // the site may leave out the last steps
				last.Rate, last.LeftSeconds = 0, 0
				progress.show(int(last.Total), int(last.Total), "event", pace(&last, view))
			}
		case "problem":
			p := new(problem)
			if err := json.Unmarshal(m.data, p); err != nil {
				return fmt.Errorf("read problem: %w", err)
			}
			return p
		}
		return nil
	})
	if err == nil && len(results) == 0 {
		err = errors.New("rebuild view: the site ended the stream before the result; look with 'bugle views list'")
	}
	var cut *unreachableError
	if errors.As(err, &cut) && len(results) > 0 && view != console.AllViews {
		err = nil // the result is there
	}
	return results, err
}

// pace is the view, how fast its rebuild is and how long it will take.
func pace(p *console.Progress, view string) string {
	var parts []string
	if view == console.AllViews {
		parts = append(parts, p.View)
	}
	if p.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%.0f events/s", p.Rate))
	}
	if p.LeftSeconds > 0 {
		parts = append(parts, (time.Duration(math.Ceil(p.LeftSeconds))*time.Second).String()+" left")
	}
	return strings.Join(parts, ", ")
}

var digestColumns = []column[console.DigestReply]{
	{"view", false, func(d console.DigestReply) any { return d.View }},
	{"position", false, func(d console.DigestReply) any { return d.Position }},
	{"digest", false, func(d console.DigestReply) any { return d.Digest }},
}

func viewsDigest(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:   "digest [NAME|all]",
		Short: "Show the digest of a view, or of all",
		Long: `Show the digest of a view: SHA-256 over all that it holds at an event. Two sites with the
same history, or a view before and after it was rebuilt, have the same digest at the same
position. With NAME the JSON is one object, without it or with "all" a list of them. --at gives
the digest at an event, to compare two sites or copies that are not at the same one.`,
		Example:           "  bugle views digest\n  bugle views digest presence --at 4711 -o json",
		Args:              atMost("NAME"),
		ValidArgsFunction: onlyFirst(o.complete(viewNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := past.check(); err != nil {
				return err
			}
			if len(args) == 1 && args[0] != console.AllViews {
				d, err := s.digest(&past, args[0])
				if err != nil {
					return err
				}
				s.out.object(d, []field{{"View", "view", d.View}, {"Position", "position", d.Position}, {"Digest", "digest", d.Digest}})
				return nil
			}
			views, err := s.views()
			if err != nil {
				return err
			}
			digests := make([]console.DigestReply, 0, len(views.Items))
			for _, v := range views.Items {
				d, err := s.digest(&past, v.View)
				if err != nil {
					return err
				}
				digests = append(digests, d)
			}
			return list(s.out, digestColumns, all(digests))
		}),
	}
	past.add(c)
	return c
}

func (s *session) digest(past *pastFlag, view string) (d console.DigestReply, err error) {
	err = s.getAs(s.ctx, past, console.Path(console.PathViewDigest, view), nil, &d)
	return d, err
}
