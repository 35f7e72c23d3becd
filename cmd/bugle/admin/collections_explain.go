package admin

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func collectionsExplain(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:   "explain COLLECTION DEVICE",
		Short: "Say why a device is in a collection, or is not",
		Long: `Say why a device is in a collection, or is not: what decides, since when and by which event,
the chain of limiting collections, and what each rule is for the device. Of a query it shows
the conditions with the values that the device has; those that decide are marked with <.

"unknown" is a condition that needs a value which the device does not have. With --at the
answer is as of then, from what was known of the device and how the collection was defined.`,
		Example:           "  bugle collections explain Laptops PC-0042\n  bugle collections explain P0100001 42 --at 2h -o json",
		Args:              exactly("COLLECTION", "DEVICE"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var x console.ExplainReply
			if err := s.getAs(s.ctx, &past, console.Path(console.PathCollectionExplain, args[0], args[1]), nil, &x); err != nil {
				return err
			}
			return s.showExplanation(&x)
		}),
	}
	past.add(c)
	return c
}

// An explainRow is one line of an explanation in CSV.
type explainRow struct{ of, id, name, truth, decides, text, values string }

var explainColumns = []column[explainRow]{
	{"of", false, func(r explainRow) any { return r.of }},
	{"id", false, func(r explainRow) any { return r.id }},
	{"name", false, func(r explainRow) any { return r.name }},
	{"truth", false, func(r explainRow) any { return r.truth }},
	{"decides", false, func(r explainRow) any { return r.decides }},
	{"text", false, func(r explainRow) any { return r.text }},
	{"values", false, func(r explainRow) any { return r.values }},
}

func (s *session) showExplanation(x *console.ExplainReply) error {
	switch s.out.format {
	case "json", "jsonl":
		s.out.json(x, s.out.format == "json")
		return nil
	case "csv":
		return list(s.out, explainColumns, all(explainRows(x)))
	}
	is := "is not in"
	if x.Member {
		is = "is in"
	}
	s.out.printf("%s %s %s (%s)\n", clean(x.DeviceName), is, clean(x.Name), clean(x.Collection))
	fields := []field{{"Why", "", x.Why}, {"Since", "", s.sinceWords(x.Since)}}
	if x.Broken != "" {
		fields = append(fields, field{"Wrong", "", x.Broken})
	} else if x.Member != x.ByRules {
		would := "leaves it"
		if x.ByRules {
			would = "enters it"
		}
		fields = append(fields, field{"Next", "", "the device " + would + " when the collection is evaluated"})
	}
	s.out.fields(fields)
	if x.Alone {
		s.warn("a query asks for values of other devices, which are not looked at for the past; what is said of it may be wrong")
	}
	s.showRules(x)
	return nil
}

func (s *session) showRules(x *console.ExplainReply) {
	s.showMemberships("Limited by", x.Limits)
	if x.Direct {
		s.out.printf("\nDirect\n  true     a direct rule names the device\n")
	}
	for i, q := range x.Queries {
		name := fmt.Sprintf("Query %d", i+1)
		if q.Name != "" {
			name += " " + clean(q.Name)
		}
		s.out.printf("\n%s\n  %-7s  %s\n", name, q.Truth, cut(clean(q.WQL), maxQueryShown))
		if q.Lacks != "" {
			s.out.printf("           the device has no row of %s\n", clean(q.Lacks))
		}
		if q.Condition != nil {
			s.showCondition(*q.Condition, "  ")
		}
	}
	s.showMemberships("Includes", x.Includes)
	s.showMemberships("Excludes", x.Excludes)
}

// maxQueryShown is how many characters of a query a table shows.
const maxQueryShown = 200

// showCondition shows the parts of a condition, which are what a query has at most
// inside each other; a test by itself with its values.
func (s *session) showCondition(c console.ExplainCondition, indent string) {
	if len(c.Terms) == 0 {
		text := clean(c.Text)
		if len(c.Values) > 0 {
			text += "   [" + clean(strings.Join(c.Values, "; ")) + "]"
		}
		mark := ""
		if c.Decides {
			mark = "  <"
		}
		s.out.printf("%s  %-7s  %s%s\n", indent, c.Truth, text, mark)
		return
	}
	for _, t := range c.Terms {
		s.showCondition(t, indent+"  ")
	}
}

func (s *session) showMemberships(title string, members []console.ExplainMember) {
	if len(members) == 0 {
		return
	}
	s.out.printf("\n%s\n", title)
	for _, m := range members {
		name := m.Name
		if name == "" {
			name = "(is not there)"
		}
		s.out.printf("  %-7t  %s (%s)\n", m.Member, clean(name), clean(m.ID))
	}
}

func (s *session) sinceWords(m *console.MemberSince) string {
	if m == nil {
		return "ever"
	}
	when := ""
	if m.At != nil {
		when = s.instant(*m.At) + ", "
	}
	switch {
	case m.Never:
		return fmt.Sprintf("%sevent %d: never a member since the collection was made", when, m.Event)
	case m.Earlier:
		return fmt.Sprintf("before %sevent %d", when, m.Event)
	case m.By > 0:
		return fmt.Sprintf("%sevent %d (%s, caused by event %d)", when, m.Event, m.Cause, m.By)
	}
	return fmt.Sprintf("%sevent %d (%s)", when, m.Event, m.Cause)
}

func explainRows(x *console.ExplainReply) (rows []explainRow) {
	rows = append(rows, explainRow{of: "member", id: x.Collection, name: x.Name, truth: fmt.Sprint(x.Member), text: x.Why})
	memberships := func(of string, members []console.ExplainMember) {
		for _, m := range members {
			rows = append(rows, explainRow{of: of, id: m.ID, name: m.Name, truth: fmt.Sprint(m.Member)})
		}
	}
	memberships("limit", x.Limits)
	if x.Direct {
		rows = append(rows, explainRow{of: "direct", truth: "true"})
	}
	for _, q := range x.Queries {
		rows = append(rows, explainRow{of: "query", name: q.Name, truth: q.Truth, text: q.WQL, values: q.Lacks})
		if q.Condition != nil {
			rows = conditionRows(rows, *q.Condition)
		}
	}
	memberships("include", x.Includes)
	memberships("exclude", x.Excludes)
	return rows
}

func conditionRows(rows []explainRow, c console.ExplainCondition) []explainRow {
	if len(c.Terms) == 0 {
		return append(rows, explainRow{of: "condition", truth: c.Truth, decides: fmt.Sprint(c.Decides), text: c.Text, values: strings.Join(c.Values, "; ")})
	}
	for _, t := range c.Terms {
		rows = conditionRows(rows, t)
	}
	return rows
}
