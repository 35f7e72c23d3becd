package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

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
	}, viewsList(o), viewsRebuild(o), viewsDigest(o))
}

var viewColumns = []column[console.View]{
	{"view", false, func(v console.View) any { return v.View }},
	{"position", false, func(v console.View) any { return v.Position }},
	{"lag", false, func(v console.View) any { return v.Lag }},
	{"rows", false, func(v console.View) any { return v.Rows }},
	{"generation", false, func(v console.View) any { return v.Generation }},
	{"building", false, func(v console.View) any { return v.Building }},
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
		Long: `List the views: the last event that each holds (POSITION), how many events it is behind
the journal (LAG), how much it holds (ROWS), how often it was built (GENERATION), whether
it is being built for the first time and cannot be read yet (BUILDING), and why it
stopped, if it has (ERROR).`,
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

func viewsRebuild(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild NAME",
		Short: "Make a view anew from the journal",
		Long: `Make a view anew from the journal. The old one serves until the new one has caught up;
then they are compared and the new one serves. If they differ, the old one was damaged:
the command warns of it.`,
		Example:           "  bugle views rebuild presence",
		Args:              exactly("NAME"),
		ValidArgsFunction: onlyFirst(o.complete(viewNames)),
		RunE: o.with(func(s *session, args []string) error {
			r, err := s.rebuild(args[0])
			if err != nil {
				return err
			}
			s.out.object(r, []field{
				{"View", "view", r.View}, {"Generation", "generation", r.Generation}, {"Position", "position", r.Position},
				{"Digest", "digest", r.Digest}, {"Same as before", "same", r.Same}, {"Event", "event", r.Event},
			})
			if !r.Same {
				s.warn("the view that served until now differed from the journal at event %d; the new one serves", r.Position)
			}
			return nil
		}),
	}
}

// rebuild follows the stream of a rebuild to its result.
func (s *session) rebuild(view string) (*console.RebuildReply, error) {
	progress := s.progress(0)
	defer progress.Done()
	var result *console.RebuildReply
	total := 0
	take := func(m message) error {
		switch m.name {
		case "progress":
			var p console.Progress
			if err := json.Unmarshal(m.data, &p); err != nil {
				return fmt.Errorf("read progress: %w", err)
			}
			total = int(p.Total)
			progress.show(int(p.Done), total, "event", "")
		case "result":
			result = new(console.RebuildReply)
			if err := json.Unmarshal(m.data, result); err != nil {
				return fmt.Errorf("read result: %w", err)
			}
			if total > 0 { // the site may leave out the last steps
				progress.show(total, total, "event", "")
			}
		case "problem":
			p := new(problem)
			if err := json.Unmarshal(m.data, p); err != nil {
				return fmt.Errorf("read problem: %w", err)
			}
			return p
		}
		return nil
	}
	r := request{method: http.MethodPost, path: console.Path(console.PathViewRebuild, view)}
	err := s.client.stream(s.ctx, r, take)
	switch {
	case result != nil:
		return result, nil
	case err == nil:
		return nil, errors.New("rebuild view: the site ended the stream before the result; look with 'bugle views list'")
	}
	return nil, err
}

var digestColumns = []column[console.DigestReply]{
	{"view", false, func(d console.DigestReply) any { return d.View }},
	{"position", false, func(d console.DigestReply) any { return d.Position }},
	{"digest", false, func(d console.DigestReply) any { return d.Digest }},
}

func viewsDigest(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "digest [NAME]",
		Short: "Show the digest of a view, or of all",
		Long: `Show the digest of a view: SHA-256 over all that it holds at an event. Two sites with the
same history, or a view before and after it was rebuilt, have the same digest at the same
position. With NAME the JSON is one object, without it a list of them.`,
		Example:           "  bugle views digest\n  bugle views digest presence -o json",
		Args:              atMost("NAME"),
		ValidArgsFunction: onlyFirst(o.complete(viewNames)),
		RunE: o.with(func(s *session, args []string) error {
			if len(args) == 1 {
				d, err := s.digest(args[0])
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
				d, err := s.digest(v.View)
				if err != nil {
					return err
				}
				digests = append(digests, d)
			}
			return list(s.out, digestColumns, all(digests))
		}),
	}
}

func (s *session) digest(view string) (d console.DigestReply, err error) {
	err = s.client.get(s.ctx, console.Path(console.PathViewDigest, view), nil, &d)
	return d, err
}
