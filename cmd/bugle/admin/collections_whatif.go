package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
)

// allNames asks for the names of all devices.
const allNames = 100_000

// A whatIfCall is what 'collections whatif' was asked for.
type whatIfCall struct {
	collection, wql string
	remove          []string
	everyone        bool
}

func collectionsWhatIf(o *Options) *cobra.Command {
	var call whatIfCall
	c := &cobra.Command{
		Use:   "whatif [FILE.yaml]",
		Short: "Tell what definitions would do, without doing it",
		Long: `Tell what definitions would do, without doing it: who would enter and leave each collection,
the changed ones and all that depend on them; which open operations were pushed to one of
them, and which of them have maintenance windows.

FILE.yaml is as 'collections apply' takes it, - is standard input. --collection with --wql
asks what would be if this were the only query rule of the collection, which may be a new
one; --delete what would be without a collection. The targets of operations were fixed when
they were pushed and stay what they are.

The first ten devices that enter and leave are named, with --all every one.`,
		Example: `  bugle collections whatif rings.yaml
  bugle collections whatif --collection Laptops --wql "select * from SMS_R_System where Name like 'nb-%'"
  bugle collections whatif --delete 'Old pilots' -o json`,
		Args: atMost("FILE.yaml"),
		RunE: o.with(func(s *session, args []string) error {
			if err := call.check(args); err != nil {
				return err
			}
			return s.whatIf(&call, strings.Join(args, ""))
		}),
	}
	f := c.Flags()
	f.StringVar(&call.collection, "collection", "", "the collection that --wql is about, by name or id")
	f.StringVar(&call.wql, "wql", "", "its only query rule")
	f.StringArrayVar(&call.remove, "delete", nil, "a collection that would go, by name or id; may be repeated")
	f.BoolVar(&call.everyone, "all", false, "name every device that enters or leaves")
	c.RegisterFlagCompletionFunc("collection", o.complete(collectionNames))
	c.RegisterFlagCompletionFunc("delete", o.complete(collectionNames))
	return c
}

func (call *whatIfCall) check(args []string) error {
	ways := 0
	for _, is := range []bool{len(args) > 0, call.collection != "" || call.wql != "", len(call.remove) > 0} {
		if is {
			ways++
		}
	}
	switch {
	case ways != 1:
		return usage("give one of FILE.yaml, --collection with --wql, or --delete")
	case (call.collection == "") != (call.wql == ""):
		return usage("--collection and --wql go together")
	}
	return nil
}

func (s *session) whatIf(call *whatIfCall, file string) error {
	ask := console.WhatIfRequest{Delete: call.remove}
	if call.everyone {
		ask.Names = allNames
	}
	var places definitions.Places
	switch {
	case file != "":
		text, err := s.readDocument(file)
		if err != nil {
			return err
		}
		document, found, err := definitions.Parse(text)
		if err != nil {
			return usage("%s: %w", file, err)
		}
		ask.Document, places = *document, found
	case call.collection != "":
		changed, err := s.withQuery(call.collection, call.wql)
		if err != nil {
			return err
		}
		ask.Collections = []definitions.Collection{changed}
	}
	var reply console.WhatIfReply
	if err := s.client.post(s.ctx, console.PathWhatIf, ask, &reply); err != nil {
		if file != "" {
			return inFile(file, places, err)
		}
		return marked(err, call.wql)
	}
	return s.showWhatIf(&reply)
}

// withQuery is a collection as it is, or a new one, with one query rule alone.
func (s *session) withQuery(name, wql string) (definitions.Collection, error) {
	var is console.CollectionReply
	err := s.client.get(s.ctx, console.Path(console.PathCollection, name), nil, &is)
	switch {
	case isMissing(err):
		is.Definition = definitions.Collection{Name: name}
	case err != nil:
		return is.Definition, err
	}
	is.Definition.Queries = []definitions.Query{{WQL: wql}}
	is.Definition.Windows = nil
	return is.Definition, nil
}

// isMissing tells whether a site said that there is no such thing.
func isMissing(err error) bool {
	p, ok := errors.AsType[*problem](err)
	return ok && p.Status == http.StatusNotFound
}

var whatIfColumns = []column[console.WhatIfCollection]{
	{"collection", false, func(c console.WhatIfCollection) any { return c.Name }},
	{"id", false, func(c console.WhatIfCollection) any { return c.ID }},
	{"how", false, func(c console.WhatIfCollection) any { return c.How }},
	{"before", false, func(c console.WhatIfCollection) any { return c.Before }},
	{"after", false, func(c console.WhatIfCollection) any { return c.After }},
	{"entered", false, func(c console.WhatIfCollection) any { return c.Entered }},
	{"left", false, func(c console.WhatIfCollection) any { return c.Left }},
	{"enter", true, func(c console.WhatIfCollection) any { return memberNames(c.Enter) }},
	{"leave", true, func(c console.WhatIfCollection) any { return memberNames(c.Leave) }},
}

func memberNames(members []console.Member) string {
	return strings.Join(mapped(members, func(m console.Member) string {
		if m.Name == "" {
			return fmt.Sprint(m.Device)
		}
		return m.Name
	}), ", ")
}

func (s *session) showWhatIf(r *console.WhatIfReply) error {
	switch s.out.format {
	case "json", "jsonl":
		s.out.json(r, s.out.format == "json")
		return nil
	case "csv":
		return list(s.out, whatIfColumns, all(r.Collections))
	}
	for _, c := range r.Changes {
		s.out.printf("%s %s %s\n", c.Action, c.Of, clean(c.Name))
		for _, d := range c.Diff {
			s.out.printf("  %s\n", clean(d.String()))
		}
	}
	if len(r.Collections) == 0 {
		s.out.printf("No device would enter or leave a collection.\n")
		return nil
	}
	s.out.printf("\n")
	if err := list(s.out, whatIfColumns, all(r.Collections)); err != nil {
		return err
	}
	for _, c := range r.Collections {
		s.out.printf("\n%s\n", clean(c.Name))
		s.showMoved("+", c.Enter, c.Entered)
		s.showMoved("−", c.Leave, c.Left)
	}
	s.showTouched(r)
	s.note("%s would enter or leave, as of event %d; nothing was changed.", countOf(uint32(r.Devices), "device"), r.Event)
	return nil
}

func (s *session) showMoved(sign string, members []console.Member, count uint64) {
	if count == 0 {
		return
	}
	text := memberNames(members)
	if more := count - uint64(len(members)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	s.out.printf("  %s %s\n", sign, clean(text))
}

func (s *session) showTouched(r *console.WhatIfReply) {
	if len(r.Operations) > 0 {
		s.out.printf("\nOpen operations, whose targets stay as they are:\n")
	}
	for _, o := range r.Operations {
		s.out.printf("  %s %s to %s as of event %d: %d targets, %d of them would leave, %d would enter and are none\n",
			o.Operation, clean(o.Kind), clean(o.Collection), o.AsOf, o.Targets, o.Leaving, o.Entering)
	}
	if len(r.Windows) > 0 {
		s.out.printf("\nMaintenance windows that come and go with the collection:\n")
	}
	for _, w := range r.Windows {
		s.out.printf("  %s: %s\n", clean(w.Name), clean(strings.Join(w.Windows, ", ")))
	}
}
