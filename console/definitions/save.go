package definitions

import (
	"fmt"
	"maps"
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// What the fold saves is an array, version 1: the site's code, the last event that
// was applied, the lowest number that no id has had, the classes, the collections by
// their ids, and the windows. A class is an array of its name and four values of
// each property: name, type, list, key. A collection is an array of the event that
// defined it and its definition: id, name, comment, limit, direct members, an array
// of name and text of each query, included, excluded, schedule, incremental.
const (
	saves       = "definitions/1"
	saveVersion = 1
)

// MaxSaved is the longest state that is saved. A fold that knows more is told
// everything anew when the journal is opened.
const MaxSaved = 256 << 20

const maxSavedClasses = 100_000

var saveLimits = bounded.Limits{Bytes: MaxSaved, Items: 1 << 25}

// Saves implements [journal.SavingFold].
func (d *Definitions) Saves() string { return saves }

// Save implements [journal.SavingFold].
func (d *Definitions) Save() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(7)
		w.Uint(saveVersion)
		w.Exact(d.site, event.MaxName)
		w.Uint(d.version)
		w.Uint(uint64(d.next))
		w.List(len(d.classes), maxSavedClasses)
		for _, c := range d.classes {
			saveClass(w, &c)
		}
		w.List(len(d.byID), 1<<20)
		for _, id := range slices.Sorted(maps.Keys(d.byID)) {
			d.byID[id].save(w)
		}
		d.windows.save(w)
	})
	if err == nil && len(b) > MaxSaved {
		err = fmt.Errorf("%d bytes, at most %d are kept", len(b), MaxSaved)
	}
	if err != nil {
		return nil, fmt.Errorf("save definitions: %w", err)
	}
	return b, nil
}

func saveClass(w *bounded.Writer, c *event.DefinedClass) {
	w.Array(1 + 4*len(c.Properties))
	w.Exact(c.Name, event.MaxName)
	for _, p := range c.Properties {
		w.Exact(p.Name, event.MaxName)
		w.Uint(uint64(p.Type))
		w.Bool(p.List)
		w.Bool(p.Key)
	}
}

func (c *Definition) save(w *bounded.Writer) {
	w.Array(11)
	w.Uint(c.Event)
	w.Exact(c.ID, event.MaxCollectionID)
	w.Exact(c.Name, event.MaxName)
	w.Exact(c.Comment, event.MaxText)
	w.Exact(c.Limit, event.MaxCollectionID)
	w.Bytes(c.Direct, event.MaxBitmap)
	w.List(2*len(c.Queries), 2*event.MaxQueries)
	for _, q := range c.Queries {
		w.Exact(q.Name, event.MaxName)
		w.Exact(q.WQL, event.MaxQuery)
	}
	for _, ids := range [][]string{c.Include, c.Exclude} {
		w.List(len(ids), event.MaxRules)
		for _, id := range ids {
			w.Exact(id, event.MaxCollectionID)
		}
	}
	w.Exact(c.Schedule, event.MaxName)
	w.Bool(c.Incremental)
}

// Restore implements [journal.SavingFold].
func (d *Definitions) Restore(saved []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget()
	err := bounded.Decode(saved, saveLimits, func(r *bounded.Reader) error {
		r.Version(saveVersion)
		if site := r.String(event.MaxName); r.Err() == nil && site != d.site {
			r.Fail("definitions of site %q, this is site %q", site, d.site)
		}
		d.version = r.Uint64()
		d.next = r.Uint32()
		d.restoreClasses(r)
		d.restoreCollections(r)
		d.windows.restore(r)
		r.End()
		return nil
	})
	if err != nil {
		d.forget()
		return fmt.Errorf("restore definitions: %w", err)
	}
	return nil
}

func (d *Definitions) restoreClasses(r *bounded.Reader) {
	var classes []event.DefinedClass
	r.Array(maxSavedClasses)
	for r.More() {
		n := r.Array(1 + 4*maxSavedClasses)
		c := event.DefinedClass{Name: r.String(event.MaxName)}
		for i := 0; i < (n-1)/4 && r.Err() == nil; i++ {
			c.Properties = append(c.Properties, event.ClassProperty{Name: r.String(event.MaxName), Type: event.PropertyType(r.Uint(1<<8 - 1)), List: r.Bool(), Key: r.Bool()})
		}
		r.End()
		classes = append(classes, c)
	}
	r.End()
	if r.Err() != nil {
		return
	}
	if err := d.extend(classes); err != nil {
		r.Fail("%s", err)
	}
}

// extend makes the schema the standard one with classes.
func (d *Definitions) extend(classes []event.DefinedClass) error {
	var s *schema.Schema
	s, err := schema.Standard().Extend(ofSchema(classes))
	if err == nil {
		d.schema, d.classes = s, classes
	}
	return err
}

func (d *Definitions) restoreCollections(r *bounded.Reader) {
	before := ""
	r.Array(1 << 20)
	for r.More() {
		c := restoreCollection(r)
		if r.Err() == nil && (c.ID <= before || c.ID == event.RootCollection) {
			r.Fail("collection %q behind %q", c.ID, before)
		}
		before, d.byID[c.ID] = c.ID, c
	}
	r.End()
}

func restoreCollection(r *bounded.Reader) *Definition {
	var c event.Collection
	r.Array(11)
	number := r.Uint64()
	c.ID, c.Name, c.Comment = r.String(event.MaxCollectionID), r.String(event.MaxName), r.String(event.MaxText)
	c.Limit, c.Direct = r.String(event.MaxCollectionID), r.Bytes(event.MaxBitmap)
	n := r.Array(2 * event.MaxQueries)
	for i := 0; i < n/2 && r.Err() == nil; i++ {
		c.Queries = append(c.Queries, event.CollectionQuery{Name: r.String(event.MaxName), WQL: r.String(event.MaxQuery)})
	}
	r.End()
	for _, ids := range []*[]string{&c.Include, &c.Exclude} {
		r.Array(event.MaxRules)
		for r.More() {
			*ids = append(*ids, r.String(event.MaxCollectionID))
		}
		r.End()
	}
	c.Schedule, c.Incremental = r.String(event.MaxName), r.Bool()
	r.End()
	return newDefinition(c, number)
}
