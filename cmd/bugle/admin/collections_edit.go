package admin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
)

// settings are the flags for what a collection has beside rules.
type settings struct {
	comment, limit, schedule string
	incremental              bool
}

func (f *settings) add(c *cobra.Command, o *Options) {
	c.Flags().StringVar(&f.comment, "comment", "", "what it is for")
	c.Flags().StringVar(&f.limit, "limit", "", "the limiting collection (default All Systems)")
	c.Flags().StringVar(&f.schedule, "schedule", "", "when it is evaluated in full: 'minute hour day month weekday' in UTC; empty for never")
	c.Flags().BoolVar(&f.incremental, "incremental", false, "evaluate it as soon as devices change")
	c.RegisterFlagCompletionFunc("limit", o.complete(collectionNames))
}

// set sets what was given.
func (f *settings) set(c *cobra.Command, d *definitions.Collection) {
	for name, set := range map[string]func(){
		"comment": func() { d.Comment = f.comment }, "limit": func() { d.Limit = f.limit },
		"schedule": func() { d.Schedule = f.schedule }, "incremental": func() { d.Incremental = f.incremental },
	} {
		if c.Flags().Changed(name) {
			set()
		}
	}
}

// rules are the flags for rules.
type rules struct {
	devices, queries, include, exclude []string
	queryName                          string
}

func (f *rules) add(c *cobra.Command, o *Options, queryHelp string) {
	c.Flags().StringSliceVar(&f.devices, "device", nil, "a direct member, by number, id or name; may be repeated")
	c.Flags().StringArrayVar(&f.queries, "query", nil, queryHelp)
	c.Flags().StringVar(&f.queryName, "query-name", "", "the name of the query rule")
	c.Flags().StringArrayVar(&f.include, "include", nil, "a collection whose members belong to it; may be repeated")
	c.Flags().StringArrayVar(&f.exclude, "exclude", nil, "a collection whose members do not belong to it; may be repeated")
	c.RegisterFlagCompletionFunc("device", o.complete(deviceNames))
	c.RegisterFlagCompletionFunc("include", o.complete(collectionNames))
	c.RegisterFlagCompletionFunc("exclude", o.complete(collectionNames))
}

func (f *rules) none() bool {
	return len(f.devices)+len(f.queries)+len(f.include)+len(f.exclude) == 0 && f.queryName == ""
}

// addTo adds the rules to a definition. A query that has a name replaces the one
// that has it.
func (f *rules) addTo(d *definitions.Collection) error {
	if f.queryName != "" && len(f.queries) != 1 {
		return usage("--query-name is for one --query")
	}
	for _, given := range f.queries {
		q := definitions.Query{Name: f.queryName, WQL: given}
		if file, ok := strings.CutPrefix(given, "@"); ok {
			text, err := readFile(file)
			if err != nil {
				return err
			}
			q.WQL = string(text)
		}
		if i := slices.IndexFunc(d.Queries, func(is definitions.Query) bool { return strings.EqualFold(is.Name, q.Name) }); q.Name != "" && i >= 0 {
			d.Queries[i] = q
		} else if !slices.Contains(d.Queries, q) {
			d.Queries = append(d.Queries, q)
		}
	}
	d.Direct = append(d.Direct, f.devices...)
	d.Include = append(d.Include, f.include...)
	d.Exclude = append(d.Exclude, f.exclude...)
	return nil
}

// removeFrom takes the rules out of a definition. Collections and devices are given
// as the definition names them.
func (f *rules) removeFrom(d *definitions.Collection) error {
	for _, list := range []struct {
		what  string
		words []string
		from  *[]string
	}{{"direct member", f.devices, &d.Direct}, {"include rule for", f.include, &d.Include}, {"exclude rule for", f.exclude, &d.Exclude}} {
		for _, word := range list.words {
			i := slices.IndexFunc(*list.from, func(is string) bool { return strings.EqualFold(is, word) })
			if i < 0 {
				return fmt.Errorf("%s has no %s %q", clean(d.Name), list.what, word)
			}
			*list.from = slices.Delete(*list.from, i, i+1)
		}
	}
	for _, q := range f.queries {
		if err := removeQuery(d, q, func(i int, is definitions.Query) bool { return strconv.Itoa(i+1) == q || is.WQL == q }); err != nil {
			return err
		}
	}
	if f.queryName != "" {
		return removeQuery(d, f.queryName, func(_ int, is definitions.Query) bool { return strings.EqualFold(is.Name, f.queryName) })
	}
	return nil
}

func removeQuery(d *definitions.Collection, word string, is func(int, definitions.Query) bool) error {
	for i, q := range d.Queries {
		if is(i, q) {
			d.Queries = slices.Delete(d.Queries, i, i+1)
			return nil
		}
	}
	return fmt.Errorf("%s has no query %q", clean(d.Name), word)
}

func collectionsCreate(o *Options) *cobra.Command {
	var f changeFlags
	var with settings
	var by rules
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a collection",
		Long:  "Make a collection. Without a rule it has no members. A query may be @FILE.",
		Example: `  bugle collections create Laptops --limit Clients --query "select * from SMS_R_System where Name like 'NB%'" --incremental
  bugle collections create Pilot --device PC-0042,PC-0043 --include Testers --exclude Kiosks --reason 'ticket 4711'`,
		Args: exactly("NAME"),
	}
	c.RunE = o.with(func(s *session, args []string) error {
		d := definitions.Collection{Name: args[0], IfEvent: new(uint64)}
		with.set(c, &d)
		if err := by.addTo(&d); err != nil {
			return err
		}
		return s.changeOne(&f, d)
	})
	with.add(c, o)
	by.add(c, o, "a query rule, or @FILE; may be repeated")
	f.add(c, false)
	return c
}

func collectionsSet(o *Options) *cobra.Command {
	var f changeFlags
	var with settings
	c := &cobra.Command{
		Use:               "set COLLECTION",
		Short:             "Change comment, limit, schedule or incremental evaluation of a collection",
		Long:              "Change what is given of a collection; the rest stays.",
		Example:           "  bugle collections set Laptops --schedule '0 4 * * *'\n  bugle collections set Laptops --incremental=false --limit Clients",
		Args:              exactly("COLLECTION"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
	}
	c.RunE = o.with(func(s *session, args []string) error {
		if !slices.ContainsFunc([]string{"comment", "limit", "schedule", "incremental"}, c.Flags().Changed) {
			return usage("nothing to set: give --comment, --limit, --schedule or --incremental")
		}
		return s.editCollection(args[0], &f, func(d *definitions.Collection) error {
			with.set(c, d)
			return nil
		})
	})
	with.add(c, o)
	f.add(c, false)
	return c
}

func collectionsAddRule(o *Options) *cobra.Command {
	var f changeFlags
	var by rules
	c := &cobra.Command{
		Use:   "add-rule COLLECTION",
		Short: "Add direct members, queries, included or excluded collections",
		Long: `Add rules to a collection. A query with a name replaces the one that has the name; it may be
@FILE.`,
		Example:           "  bugle collections add-rule Pilot --device PC-0042 --exclude Kiosks\n  bugle collections add-rule Pilot --query @ring1.wql --query-name ring",
		Args:              exactly("COLLECTION"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			if by.none() {
				return usage("no rule: give --device, --query, --include or --exclude")
			}
			return s.editCollection(args[0], &f, by.addTo)
		}),
	}
	by.add(c, o, "a query rule, or @FILE; may be repeated")
	f.add(c, false)
	return c
}

func collectionsRemoveRule(o *Options) *cobra.Command {
	var f changeFlags
	var by rules
	c := &cobra.Command{
		Use:               "remove-rule COLLECTION",
		Short:             "Take direct members, queries, included or excluded collections away",
		Long:              "Take rules away from a collection, as 'collections show' names them.",
		Example:           "  bugle collections remove-rule Pilot --device PC-0042 --query 2\n  bugle collections remove-rule Pilot --query-name ring",
		Args:              exactly("COLLECTION"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			if by.none() {
				return usage("no rule: give --device, --query, --query-name, --include or --exclude")
			}
			return s.editCollection(args[0], &f, by.removeFrom)
		}),
	}
	by.add(c, o, "a query rule, by its number or its text; may be repeated")
	f.add(c, false)
	return c
}

func collectionsRename(o *Options) *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:               "rename COLLECTION NAME",
		Short:             "Give a collection another name",
		Long:              "Give a collection another name. Its id stays, and so does all that names it.",
		Example:           "  bugle collections rename Laptop Laptops",
		Args:              exactly("COLLECTION", "NAME"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			return s.editCollection(args[0], &f, func(d *definitions.Collection) error { d.Name = args[1]; return nil })
		}),
	}
	f.add(c, false)
	return c
}

func collectionsCopy(o *Options) *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:   "copy COLLECTION NAME",
		Short: "Make a collection with the rules of another one",
		Long: `Make a collection with the rules, limit, schedule and comment of another one. The copy has
no maintenance windows.`,
		Example:           "  bugle collections copy Laptops 'Laptops, second ring'",
		Args:              exactly("COLLECTION", "NAME"),
		ValidArgsFunction: onlyFirst(o.complete(collectionNames)),
		RunE: o.with(func(s *session, args []string) error {
			d, err := s.definition(args[0])
			if err != nil {
				return err
			}
			d.Name, d.ID, d.Windows, d.IfEvent = args[1], "", nil, new(uint64)
			return s.changeOne(&f, d)
		}),
	}
	f.add(c, false)
	return c
}

func collectionsDelete(o *Options) *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:   "delete COLLECTION...",
		Short: "Delete collections that no other one needs",
		Long: `Delete collections with their maintenance windows, all of them or none. One that another
one is limited by, includes, excludes or asks for in a query is not deleted unless that one
goes too. Devices stay.

The command asks first; --yes answers that.`,
		Example:           "  bugle collections delete 'Pilot 2024' --reason 'is over'",
		Args:              atLeastOne("COLLECTION"),
		ValidArgsFunction: o.complete(collectionNames),
		RunE: o.with(func(s *session, args []string) error {
			return s.applyAsking(&console.ApplyRequest{Delete: args}, &f, "Delete "+countOf(len(args), "collection")+"?")
		}),
	}
	f.add(c, true)
	return c
}

// definition reads a collection as it is defined now, to be changed only if it
// still is.
func (s *session) definition(word string) (d definitions.Collection, err error) {
	var c console.CollectionReply
	if err := s.client.get(s.ctx, console.Path(console.PathCollection, word), nil, &c); err != nil {
		return d, err
	}
	if c.Defined == nil {
		return d, fmt.Errorf("%s is built in and cannot be changed or copied", c.Name)
	}
	d = c.Definition
	d.Windows, d.IfEvent = nil, &c.Defined.Event
	return d, nil
}

// editCollection changes a collection as it is, and again if it was changed meanwhile.
func (s *session) editCollection(word string, f *changeFlags, change func(*definitions.Collection) error) error {
	for try := 1; ; try++ {
		d, err := s.definition(word)
		if err != nil {
			return err
		}
		if err := change(&d); err != nil {
			return err
		}
		err = s.changeOne(f, d)
		if !isChanged(err) || try == policyTries {
			return err
		}
	}
}

// changeOne makes a collection what d says.
func (s *session) changeOne(f *changeFlags, d definitions.Collection) error {
	return s.applyNow(&console.ApplyRequest{Document: definitions.Document{Collections: []definitions.Collection{d}},
		Reason: f.reason, Force: f.force, DryRun: f.dryRun})
}
