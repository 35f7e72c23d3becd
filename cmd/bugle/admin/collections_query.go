package admin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func collectionsQuery(o *Options) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "query QUERY",
		Short: "Try a query: which devices it selects",
		Long: `Try a query in WQL, as the query rules of collections have it: how many devices it selects
now, the first of them by number (at most 10,000), and how long that took. Nothing is
changed.

What cannot be evaluated is refused, with the place in the query under a mark.`,
		Example: `  bugle collections query "select * from SMS_R_System where Name like 'nb-%'"
  bugle collections query 'select * from SMS_R_System where Client is null' --limit 0 -o csv`,
		Args: exactly("QUERY"),
		RunE: o.with(func(s *session, args []string) error {
			if err := checkLimit(limit); err != nil {
				return err
			}
			return s.tryQuery(args[0], limit)
		}),
	}
	limitFlag(c, &limit, 20)
	return c
}

// maxQueried is how many devices the site names at most.
const maxQueried = 10_000

var memberColumns = []column[console.Member]{
	{"device", false, func(m console.Member) any { return m.Device }},
	{"name", false, func(m console.Member) any { return m.Name }},
	{"online", false, func(m console.Member) any { return m.Online }},
	{"id", true, func(m console.Member) any { return m.ID }},
}

func (s *session) tryQuery(text string, limit int) error {
	ask := console.QueryRequest{Query: text, Limit: limit}
	if limit == 0 || limit > maxQueried {
		ask.Limit = maxQueried
	}
	var reply console.QueryReply
	if err := s.client.post(s.ctx, console.PathQuery, ask, &reply); err != nil {
		return marked(err, text)
	}
	switch s.out.format {
	case "json", "jsonl":
		s.out.json(reply, s.out.format == "json")
		return nil
	}
	if err := list(s.out, memberColumns, all(reply.Items)); err != nil {
		return err
	}
	s.note("%s selected in %.1f ms, %d shown.", countOf(uint32(reply.Count), "device"), 1000*reply.Seconds, len(reply.Items))
	return nil
}

// marked puts the line of a query under its error, with a mark at the place.
func marked(err error, query string) error {
	p, ok := errors.AsType[*problem](err)
	if !ok || len(p.Errors) == 0 || p.Errors[0].Line < 1 {
		return err
	}
	lines := strings.Split(query, "\n")
	at := p.Errors[0]
	if at.Line > len(lines) {
		return err
	}
	line := []rune(strings.ReplaceAll(strings.TrimSuffix(lines[at.Line-1], "\r"), "\t", " "))
	from, column := 0, min(max(at.Column-1, 0), len(line))
	// Of a long line what is around the place is shown.
	if column > maxMarked {
		from = column - maxMarked
	}
	shown := clean(string(line[from:min(len(line), column+maxMarked)]))
	return &ExitError{ExitCode(err), fmt.Errorf("%w\n  %s\n  %s^", err, shown, strings.Repeat(" ", column-from))}
}

// maxMarked is how many characters before and behind the mark are shown.
const maxMarked = 70
