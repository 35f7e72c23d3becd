package admin

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
)

func collectionsCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:     "collections",
		Aliases: []string{"collection", "coll"},
		Short:   "Define collections of devices and see who is in them",
		Long: `Define collections of devices and see who is in them.

A collection is limited to the members of another one, and takes from these its direct
members, those that a query selects, and the members of collections that it includes, but
for the members of those that it excludes. 'apply' defines many at once from a file; the
other verbs change one. Every change is in the journal with what was before and after.

Wherever a command takes a collection it takes its id or its name, in any case.`,
		Example: `  bugle collections create Laptops --query "select * from SMS_R_System where Name like 'NB%'" --incremental
  bugle collections apply collections.yaml --dry-run
  bugle collections members Laptops -o csv > laptops.csv
  bugle push scan.quick --collection Laptops --watch`,
	}, collectionsList(o), collectionsShow(o), collectionsMembers(o), collectionsApply(o), collectionsExport(o), collectionsCreate(o),
		collectionsSet(o), collectionsAddRule(o), collectionsRemoveRule(o), collectionsRename(o), collectionsCopy(o), collectionsDelete(o),
		collectionsEvaluate(o), collectionsClasses(o), collectionsStats(o), collectionsGraph(o), collectionsAdvise(o), collectionsWhatIf(o),
		collectionsQueue(o), collectionsQuery(o), collectionsExplain(o))
}

var collectionColumns = []column[console.CollectionInfo]{
	{"id", false, func(c console.CollectionInfo) any { return c.ID }},
	{"name", false, func(c console.CollectionInfo) any { return long(c.Name) }},
	{"limitedTo", false, func(c console.CollectionInfo) any { return long(c.LimitName) }},
	{"members", false, func(c console.CollectionInfo) any { return c.Members }},
	{"rules", false, func(c console.CollectionInfo) any { return rulesInBrief(&c) }},
	{"incremental", false, func(c console.CollectionInfo) any { return c.Incremental }},
	{"schedule", false, func(c console.CollectionInfo) any { return c.Schedule }},
	{"evaluated", false, func(c console.CollectionInfo) any {
		if c.Evaluated == nil {
			return nil
		}
		return c.Evaluated.Done
	}},
	{"changed", true, func(c console.CollectionInfo) any { return markTime(c.Changed) }},
	{"defined", true, func(c console.CollectionInfo) any { return markTime(c.Defined) }},
	{"comment", true, func(c console.CollectionInfo) any { return c.Comment }},
}

func markTime(m *console.EventMark) any {
	if m == nil {
		return nil
	}
	return m.At
}

// rulesInBrief is how many rules of each sort there are.
func rulesInBrief(c *console.CollectionInfo) string {
	var parts []string
	for _, rule := range []struct {
		n    uint64
		name string
	}{{c.Direct, "direct"}, {uint64(c.Queries), "query"}, {uint64(c.Include), "include"}, {uint64(c.Exclude), "exclude"}} {
		if rule.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", rule.n, rule.name))
		}
	}
	return strings.Join(parts, ", ")
}

func collectionsList(o *Options) *cobra.Command {
	var tree bool
	var past pastFlag
	c := &cobra.Command{
		Use:   "list",
		Short: "List collections with the number of their members",
		Long: `List collections by name with the number of their members and rules. --tree shows each
below the one that it is limited to.`,
		Example: "  bugle collections list --tree\n  bugle collections list -o json | jq '.[] | select(.members == 0) | .name'",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var l console.CollectionList
			if err := s.getAs(s.ctx, &past, console.PathCollections, nil, &l); err != nil {
				return err
			}
			items := all(l.Items)
			if tree {
				items = all(inTree(l.Items, s.out.table()))
			}
			return list(s.out, collectionColumns, items)
		}),
	}
	c.Flags().BoolVar(&tree, "tree", false, "show each collection below the one that it is limited to")
	past.add(c)
	return c
}

// inTree orders collections so that each stands below the one that it is limited to,
// in a table farther to the right. What is limited to nothing that there is stands at
// the end.
func inTree(items []console.CollectionInfo, indent bool) []console.CollectionInfo {
	below := map[string][]console.CollectionInfo{}
	for _, c := range items {
		below[c.Limit] = append(below[c.Limit], c)
	}
	ordered := make([]console.CollectionInfo, 0, len(items))
	type step struct {
		console.CollectionInfo
		depth int
	}
	var left []step
	push := func(list []console.CollectionInfo, depth int) {
		for _, c := range slices.Backward(list) {
			left = append(left, step{c, depth})
		}
	}
	take := func() {
		for len(left) > 0 {
			top := left[len(left)-1]
			left = left[:len(left)-1]
			next, ok := below[top.ID]
			delete(below, top.ID) // each once, whatever the site says
			if indent {
				top.Name = strings.Repeat("  ", top.depth) + top.Name
			}
			if ordered = append(ordered, top.CollectionInfo); ok {
				push(next, top.depth+1)
			}
		}
	}
	push(below[""], 0)
	delete(below, "")
	take()
	for _, id := range sortedKeys(below) {
		push(below[id], 0)
		delete(below, id)
		take()
	}
	return ordered
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func collectionsShow(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:   "show COLLECTION",
		Short: "Show a collection with all its rules",
		Long: `Show a collection: its rules, what it depends on and what depends on it, how many members
it has, and when it was evaluated last.`,
		Example:           "  bugle collections show Laptops\n  bugle collections show P0100012 --at 7d",
		Args:              exactly("COLLECTION"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var c console.CollectionReply
			if err := s.getAs(s.ctx, &past, console.Path(console.PathCollection, args[0]), nil, &c); err != nil {
				return err
			}
			s.showCollection(&c)
			return nil
		}),
	}
	past.add(c)
	return c
}

func (s *session) showCollection(c *console.CollectionReply) {
	d := &c.Definition
	fields := []field{
		{"Collection", "id", c.ID}, {"Name", "name", c.Name}, {"Comment", "comment", c.Comment},
		{"Limited to", "limitedTo", c.LimitName}, {"Members", "members", c.Members},
		{"Direct members", "direct", directShown(d.Direct)}, {"Includes", "include", strings.Join(d.Include, ", ")}, {"Excludes", "exclude", strings.Join(d.Exclude, ", ")},
		{"Schedule", "schedule", c.Schedule}, {"Incremental", "incremental", c.Incremental},
	}
	if r := c.Evaluated; r != nil {
		fields = append(fields, field{"Evaluated", "evaluated", r.Done}, field{"By", "evaluatedBy", fmt.Sprintf("%s, %s: +%d -%d in %.1f ms", r.Queue, r.Cause, r.Added, r.Removed, r.TookMS)})
	} else {
		fields = append(fields, field{"Evaluated", "evaluated", nil}, field{"By", "evaluatedBy", nil})
	}
	fields = append(fields, field{"Members changed", "changed", markTime(c.Changed)}, field{"Defined", "defined", markTime(c.Defined)},
		field{"By event", "definedBy", definedBy(c)}, field{"Event", "event", c.Event})
	s.out.object(c, fields)
	if !s.out.table() {
		return
	}
	for i, q := range d.Queries {
		name := strconv.Itoa(i + 1)
		if q.Name != "" {
			name += " " + strconv.Quote(q.Name)
		}
		s.out.printf("\nQuery %s:\n", clean(name))
		for line := range strings.Lines(printable(q.WQL)) {
			s.out.printf("  %s\n", strings.TrimRight(line, "\n"))
		}
	}
	if len(c.Dependants) > 0 {
		s.out.printf("\nDepend on it:\n")
		for _, ref := range c.Dependants {
			s.out.printf("  %s (%s) %s it\n", clean(ref.Name), clean(ref.ID), clean(ref.How))
		}
	}
}

// maxDirectShown is how many direct members a table names.
const maxDirectShown = 10

func directShown(names []string) string {
	if more := len(names) - maxDirectShown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxDirectShown], ", "), more)
	}
	return strings.Join(names, ", ")
}

func definedBy(c *console.CollectionReply) any {
	if c.Defined == nil {
		return nil
	}
	return c.Defined.Event
}

var collectionMemberColumns = []column[console.Member]{
	{"device", false, func(m console.Member) any { return m.Device }},
	{"name", false, func(m console.Member) any { return m.Name }},
	{"online", false, func(m console.Member) any { return m.Online }},
	{"id", true, func(m console.Member) any { return m.ID }},
}

func collectionsMembers(o *Options) *cobra.Command {
	var limit int
	var past pastFlag
	c := &cobra.Command{
		Use:               "members COLLECTION",
		Short:             "List the devices in a collection",
		Long:              "List the devices in a collection by rising number, as the last evaluation left it.",
		Example:           "  bugle collections members Laptops --limit 20\n  bugle collections members Laptops --at 2026-12-24T18:00:00Z -o csv",
		Args:              exactly("COLLECTION"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := errors.Join(checkLimit(limit), past.check()); err != nil {
				return err
			}
			members := pages(func(next string) ([]console.Member, string, error) {
				var page console.MemberPage
				q := query("after", next, "limit", limited(limit))
				err := s.getAs(s.ctx, &past, console.Path(console.PathCollectionMembers, args[0]), q, &page)
				return page.Items, number(page.Next), err
			})
			return list(s.out, collectionMemberColumns, first(limit, members))
		}),
	}
	past.add(c)
	limitFlag(c, &limit, 0)
	return c
}

// devicesCollections is a verb of devices: the other direction of members.
func devicesCollections(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:               "collections DEVICE",
		Short:             "List the collections that a device is in",
		Long:              "List the collections that a device is in, as the last evaluations left them.",
		Example:           "  bugle devices collections PC-0042\n  bugle devices collections PC-0042 --at 7d",
		Args:              exactly("DEVICE"),
		ValidArgsFunction: onlyFirst(o.complete(deviceNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var l console.DeviceCollections
			if err := s.getAs(s.ctx, &past, console.Path(console.PathDeviceCollections, args[0]), nil, &l); err != nil {
				return err
			}
			return list(s.out, collectionColumns, all(l.Items))
		}),
	}
	past.add(c)
	return c
}

// A propertyRow is a property of a class.
type propertyRow struct {
	Class    string `json:"class"`
	Property string `json:"property"`
	Type     string `json:"type"`
	List     bool   `json:"list"`
	Key      bool   `json:"key"`
}

var propertyColumns = []column[propertyRow]{
	{"class", false, func(r propertyRow) any { return r.Class }},
	{"property", false, func(r propertyRow) any { return r.Property }},
	{"type", false, func(r propertyRow) any { return r.Type }},
	{"list", false, func(r propertyRow) any { return r.List }},
	{"key", false, func(r propertyRow) any { return r.Key }},
}

func collectionsClasses(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "classes [WORD]",
		Short: "List the classes and properties that queries can name",
		Long: `List the classes and properties that queries can name, those of the site among them, or
those whose names contain a word. A list holds several values; keys tell the rows of one
device apart. 'apply' defines classes of the site's own.`,
		Example: "  bugle collections classes disk\n  bugle collections classes -o json",
		Args:    atMost("WORD"),
		RunE: o.with(func(s *session, args []string) error {
			var l console.ClassList
			if err := s.client.get(s.ctx, console.PathClasses, nil, &l); err != nil {
				return err
			}
			return list(s.out, propertyColumns, propertiesOf(l.Items, strings.ToLower(strings.Join(args, ""))))
		}),
	}
}

func propertiesOf(classes []definitions.Class, word string) iter.Seq2[propertyRow, error] {
	return func(yield func(propertyRow, error) bool) {
		for _, c := range classes {
			whole := strings.Contains(strings.ToLower(c.Name), word)
			for _, p := range c.Properties {
				if !whole && !strings.Contains(strings.ToLower(p.Name), word) {
					continue
				}
				if !yield(propertyRow{c.Name, p.Name, p.Type, p.List, p.Key}, nil) {
					return
				}
			}
		}
	}
}
