package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// changeFlags are what the commands have in common that change definitions.
type changeFlags struct {
	reason             string
	yes, force, dryRun bool
}

func (f *changeFlags) add(c *cobra.Command, asks bool) {
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&f.force, "force", false, "do it however many devices it moves")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would change, and whom it would move, and do nothing")
	if asks {
		c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	}
}

const applyLong = `Make collections, classes of inventory and maintenance windows as a file says, all of it or
nothing. What is as it should be already stays, so the same file can be applied again and
again; what the file does not name stays too.

  collections:
  - name: Laptops                    # the only field that must be there
    comment: what people carry
    limit: All Systems               # the limiting collection; this is the default
    direct: [PC-0042, 17]            # devices by name, id or number
    queries:
    - select * from SMS_R_System where Name like 'NB%'
    - name: by chassis
      wql: |
        select * from SMS_R_System
        inner join SMS_G_System_SYSTEM_ENCLOSURE as E on E.ResourceID = SMS_R_System.ResourceID
        where E.ChassisTypes in ('8', '9', '10')
    include: [Tablets]               # collections in the same file are found in any order
    exclude: [Kiosks]
    schedule: 0 4 * * *              # minute hour day month weekday, UTC
    incremental: true
    windows:                         # all its windows; left out, they stay
    - {name: night, start: 2026-01-03T01:00, minutes: 180, every: {unit: day}}
  - name: Notebooks
    rename-from: Laptop              # or id: P0100012, which finds it whatever its name is
  classes:
  - name: SMS_G_System_BADGE
    properties:
    - {name: Number, type: text, key: true}   # text, number, date or bool; list: true holds several

Several YAML documents in a file are one, JSON is taken too, and FILE may be - for stdin.
A name that is not known is an error with its line.

The changes are shown, and whom they move, and the command asks before it makes them;
--yes answers that. More than 1,000 devices, or 25 % of a collection's members, are only
moved with --force.`

func collectionsApply(o *Options) *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:     "apply FILE",
		Short:   "Make collections as a file says, all of it or nothing",
		Long:    applyLong,
		Example: "  bugle collections apply collections.yaml --dry-run\n  bugle collections export --all | ssh other bugle collections apply - --yes --reason 'as at home'",
		Args:    exactly("FILE"),
		RunE: o.with(func(s *session, args []string) error {
			text, err := s.readDocument(args[0])
			if err != nil {
				return err
			}
			doc, places, err := definitions.Parse(text)
			if err != nil {
				return usage("%s: %w", args[0], err)
			}
			err = s.applyAsking(&console.ApplyRequest{Document: *doc}, &f, "Make these changes?")
			return inFile(args[0], places, err)
		}),
	}
	f.add(c, true)
	return c
}

// readDocument reads a file, or stdin for "-".
func (s *session) readDocument(name string) ([]byte, error) {
	if name != "-" {
		return readFile(name)
	}
	return readAtMost(s.in, "stdin")
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usage("%w", err)
	}
	defer f.Close()
	return readAtMost(f, name)
}

func readAtMost(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, definitions.MaxDocument+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(b) > definitions.MaxDocument:
		return nil, usage("%s has more than %d bytes", name, definitions.MaxDocument)
	}
	return b, nil
}

// inFile says where in a file stands what was refused.
func inFile(name string, places definitions.Places, err error) error {
	p, ok := errors.AsType[*problem](err)
	if !ok || len(p.Errors) == 0 {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: nothing was done", clean(p.Title))
	for _, part := range p.Errors {
		e := definitions.Error(part)
		fmt.Fprintf(&b, "\n%s", name)
		if at, ok := places.Find(e.Path); ok {
			fmt.Fprintf(&b, ":%d:%d", at.Line, at.Column)
		}
		fmt.Fprintf(&b, ": %s", clean(e.Error()))
	}
	return &ExitError{ExitCode(err), errors.New(b.String())}
}

// applyAsking shows what a request would change, asks, and does it.
func (s *session) applyAsking(r *console.ApplyRequest, f *changeFlags, question string) error {
	r.Reason, r.Force, r.DryRun = f.reason, f.force, f.dryRun
	if f.dryRun || f.yes {
		return s.applyNow(r)
	}
	r.DryRun = true
	reply, err := s.apply(r)
	if err != nil {
		return err
	}
	if len(reply.Changes) > 0 {
		shown := &printer{w: s.err, format: "table", zone: s.out.zone}
		shown.changes(reply)
		switch {
		case reply.Impact != nil && reply.Impact.Force && !r.Force:
			return &ExitError{codeUsage, fmt.Errorf("nothing was done: %s Give --force to do it all the same", clean(strings.Join(reply.Impact.Why, " ")))}
		case !s.asks():
			return usage("there is no terminal to ask on: look with --dry-run, then give --yes")
		}
		if err := s.confirm(false, true, 0, question); err != nil {
			return err
		}
	}
	r.DryRun, r.IfVersion = false, &reply.Version
	return s.applyNow(r)
}

// applyNow carries a request out, or rehearses it, and shows what became of it.
func (s *session) applyNow(r *console.ApplyRequest) error {
	reply, err := s.apply(r)
	if err != nil {
		return err
	}
	s.showApplied(reply)
	return nil
}

// apply sends a request, again if need be: its key makes that harmless.
func (s *session) apply(r *console.ApplyRequest) (*console.ApplyReply, error) {
	call := request{method: http.MethodPost, path: console.PathCollections, body: r}
	if !r.DryRun {
		call.key = task.NewRandomID().String()
	}
	reply := new(console.ApplyReply)
	return reply, s.client.callAgain(s.ctx, call, reply)
}

// showApplied shows what a request changed, or would change.
func (s *session) showApplied(r *console.ApplyReply) {
	if !s.out.table() {
		s.out.object(r, []field{{"Changes", "changes", len(r.Changes)}, {"Unchanged", "unchanged", r.Unchanged},
			{"Dry run", "dryRun", r.DryRun}, {"Event", "event", r.Event}})
		return
	}
	if s.Quiet {
		for _, c := range r.Changes {
			if c.Of == "collection" {
				s.out.printf("%s\n", clean(c.ID))
			}
		}
		return
	}
	s.out.changes(r)
	switch {
	case len(r.Changes) == 0:
		s.out.printf("Nothing to do: everything is as it should be.\n")
	case r.DryRun:
		s.note("Nothing was changed.")
	default:
		s.out.printf("%s, event %d.\n", countOf(len(r.Changes), "change"), r.Event)
	}
}

var signs = map[string]string{"create": "+", "change": "~", "delete": "-"}

// changes shows definitions that change, and whom that moves.
func (p *printer) changes(r *console.ApplyReply) {
	for _, c := range r.Changes {
		line := signs[c.Action] + " " + c.Of + " " + c.Name
		if c.ID != "" {
			line += " (" + c.ID + ")"
		}
		p.printf("%s\n", p.paint(clean(line), map[string]string{"create": green, "delete": red}[c.Action]))
		for _, d := range c.Diff {
			p.printf("    %s\n", clean(d.String()))
		}
	}
	if r.Impact == nil {
		return
	}
	g := &grid{head: []string{"COLLECTION", "BEFORE", "AFTER", "ENTER", "LEAVE"}}
	for _, c := range r.Impact.Collections {
		g.rows = append(g.rows, []any{long(c.Name), c.Before, c.After, c.Entered, c.Left})
	}
	p.printf("\n")
	if len(g.rows) == 0 {
		p.printf("No device enters or leaves a collection that there is.\n")
	} else {
		p.grid(g)
		if r.Impact.More > 0 {
			p.printf("and %d more collections\n", r.Impact.More)
		}
		p.printf("%s in all.\n", countOf(uint32(r.Impact.Devices), "device"))
	}
	for _, why := range r.Impact.Why {
		p.printf("%s\n", clean(why))
	}
}

// namedInQueries are the collections that queries name by their ids.
var namedInQueries = regexp.MustCompile(`(?i)SMS_CM_RES_COLL_([0-9A-Z]{8})`)

func collectionsExport(o *Options) *cobra.Command {
	var everything, ids bool
	c := &cobra.Command{
		Use:   "export (COLLECTION... | --all)",
		Short: "Write collections as 'apply' takes them",
		Long: `Write collections, with their windows, as YAML that 'apply' takes. Other collections are
named by their names; ids are written only of collections that a query names by its id, or
with --ids. Collections that the chosen ones depend on are not written by themselves.`,
		Example:           "  bugle collections export --all > collections.yaml\n  bugle collections export Laptops Tablets -o json",
		ValidArgsFunction: o.complete(collectionNames),
		Args:              cobra.ArbitraryArgs,
		RunE: o.with(func(s *session, args []string) error {
			if everything == (len(args) > 0) {
				return usage("name collections, or give --all")
			}
			var l console.CollectionList
			if err := s.client.get(s.ctx, console.PathCollections, query("definitions", "true"), &l); err != nil {
				return err
			}
			doc, err := exported(l.Definitions, args, ids)
			if err != nil {
				return err
			}
			if s.out.format == "json" || s.out.format == "jsonl" {
				s.out.json(doc, s.out.format == "json")
				return nil
			}
			_, err = io.Copy(s.out.w, bytes.NewReader(definitions.Print(doc)))
			return err
		}),
	}
	c.Flags().BoolVar(&everything, "all", false, "all collections")
	c.Flags().BoolVar(&ids, "ids", false, "write all ids")
	return c
}

// exported makes a document of the collections that words name, or of all.
func exported(all []definitions.Collection, words []string, ids bool) (*definitions.Document, error) {
	named := map[string]bool{}
	for _, c := range all {
		for _, q := range c.Queries {
			for _, found := range namedInQueries.FindAllStringSubmatch(q.WQL, -1) {
				named[strings.ToUpper(found[1])] = true
			}
		}
	}
	chosen := all
	if len(words) > 0 {
		chosen = nil
	}
	for _, word := range words {
		i := slices.IndexFunc(all, func(c definitions.Collection) bool { return strings.EqualFold(c.ID, word) })
		if i < 0 {
			i = slices.IndexFunc(all, func(c definitions.Collection) bool { return strings.EqualFold(c.Name, word) })
		}
		if i < 0 {
			return nil, fmt.Errorf("there is no collection with the id or name %q that has a definition", word)
		}
		chosen = append(chosen, all[i])
	}
	doc := &definitions.Document{}
	for _, c := range chosen {
		if !ids && !named[c.ID] {
			c.ID = ""
		}
		doc.Collections = append(doc.Collections, c)
	}
	return doc, nil
}
