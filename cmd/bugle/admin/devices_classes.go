package admin

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
)

func devicesClasses(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:     "classes",
		Aliases: []string{"class"},
		Short:   "List the classes of the inventory, and add own ones",
		Long: `List the classes of the inventory, and add own ones.

A class is what is known of one side of a device: its disks, its programs. Queries of
collections and imports name classes and their properties.`,
		Example: "  bugle devices classes list LOGICAL_DISK\n  bugle devices classes apply classes.yaml",
	}, classesList(o), classesApply(o))
}

// A classRow is a property of a class.
type classRow struct {
	Class    string `json:"class"`
	Property string `json:"property"`
	Type     string `json:"type"`
	List     bool   `json:"list"`
	Key      bool   `json:"key"`
}

var classColumns = []column[classRow]{
	{"class", false, func(r classRow) any { return r.Class }},
	{"property", false, func(r classRow) any { return r.Property }},
	{"type", false, func(r classRow) any { return r.Type }},
	{"list", false, func(r classRow) any { return r.List }},
	{"key", false, func(r classRow) any { return r.Key }},
}

func classesList(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "list [WORD]",
		Short: "List the classes of the inventory and their properties",
		Long: `List the classes of the inventory with their properties, under the names that queries and
imports use; with WORD only those classes whose name contains it. Of a class with a key a
device can have several rows.`,
		Example: "  bugle devices classes list\n  bugle devices classes list programs",
		Args:    atMost("WORD"),
		RunE: o.with(func(s *session, args []string) error {
			var known console.ClassList
			if err := s.client.get(s.ctx, console.PathClasses, nil, &known); err != nil {
				return err
			}
			var rows []classRow
			for _, c := range known.Items {
				if len(args) > 0 && !strings.Contains(strings.ToLower(c.Name), strings.ToLower(args[0])) {
					continue
				}
				for _, p := range c.Properties {
					rows = append(rows, classRow{c.Name, p.Name, p.Type, p.List, p.Key})
				}
			}
			return list(s.out, classColumns, all(rows))
		}),
	}
}

func classesApply(o *Options) *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Add own classes, or properties to own classes, as a file says",
		Long: `Add own classes to the inventory, or properties to them, as a YAML file says:

  classes:
  - name: ACME_Rack
    properties:
    - {name: Rack, type: text, key: true}   # text, number, date or bool; list: true holds several

Nothing is taken away, and a class that is there already as the file says is no change.
The changes are shown, and the command asks before it makes them; --yes answers that.
'bugle collections apply' takes such a file too, with collections beside the classes.`,
		Example: "  bugle devices classes apply classes.yaml --dry-run",
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
			if len(doc.Classes) == 0 || len(doc.Collections)+len(doc.Windows) > 0 {
				return usage("%s: it has to say classes, and nothing else; 'bugle collections apply' takes the rest", args[0])
			}
			err = s.applyAsking(&console.ApplyRequest{Document: *doc}, &f, "Add these classes?")
			return inFile(args[0], places, err)
		}),
	}
	f.add(c, true)
	return c
}
