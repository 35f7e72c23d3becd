package definitions

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// RootName is the name of the collection that is always there,
// [event.RootCollection].
const RootName = "All Systems"

// MaxCollections is how many collections a site can have beside the root.
const MaxCollections = 20_000

// A Definition is a collection as it was defined last. Nobody changes it.
type Definition struct {
	event.Collection
	Event uint64 // that defined it so; 0 for the root

	folded  string // its name, for comparisons
	queries *queries
}

func newDefinition(c event.Collection, number uint64) *Definition {
	return &Definition{c, number, wql.Fold(c.Name), new(queries)}
}

var root = newDefinition(event.Collection{ID: event.RootCollection, Name: RootName, Comment: "Every device of the site."}, 0)

// Definitions is the fold of the journal that knows what administrators defined:
// classes, collections and windows. It is safe for concurrent use; the zero value
// is not, call [New].
type Definitions struct {
	site string

	mu      sync.Mutex
	version uint64 // the last event that was applied
	next    uint32 // the lowest number that no id of this site has had
	schema  *schema.Schema
	classes []event.DefinedClass // what schema has beside the standard
	byID    map[string]*Definition
	windows windowTable
	now     *State // as of version, or nil until somebody asks
}

// New returns an empty fold for a site, whose code begins the ids of its
// collections.
func New(site string) *Definitions {
	d := &Definitions{site: site}
	d.forget()
	return d
}

func (d *Definitions) forget() {
	d.version, d.next, d.now = 0, 1, nil
	d.schema, d.classes = schema.Standard(), nil
	d.byID, d.windows = map[string]*Definition{}, windowTable{}
}

// Wants implements [journal.SelectiveFold].
func (d *Definitions) Wants(k event.Kind) bool {
	return k == event.KindClassesDefined || k == event.KindCollectionChanged || k == event.KindWindowChanged
}

// Apply implements [journal.Fold]. What cannot be is left out: the console appends
// no such events.
func (d *Definitions) Apply(e *event.Event) {
	if !d.Wants(e.Kind()) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version, d.now = e.Number, nil
	switch p := e.Payload.(type) {
	case *event.ClassesDefined:
		d.define(p.Classes)
	case *event.CollectionChanged:
		d.change(p, e.Number)
	}
	d.windows.apply(e)
}

// define extends the schema, by none of the classes if one of them does not fit.
func (d *Definitions) define(classes []event.DefinedClass) {
	if s, err := d.schema.Extend(ofSchema(classes)); err == nil {
		d.schema, d.classes = s, merged(d.classes, classes)
	}
}

func (d *Definitions) change(p *event.CollectionChanged, number uint64) {
	if p.ID == "" || p.ID == event.RootCollection || p.After != nil && p.After.ID != p.ID {
		return
	}
	if n, ok := numberOf(d.site, p.ID); ok {
		d.next = max(d.next, n+1)
	}
	if p.After == nil {
		delete(d.byID, p.ID)
	} else {
		d.byID[p.ID] = newDefinition(*p.After, number)
	}
}

// Version returns the event that changed a definition last, 0 if none did.
func (d *Definitions) Version() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.version
}

// Now returns what is defined now. It does not change any more.
func (d *Definitions) Now() *State {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now == nil {
		d.now = &State{site: d.site, version: d.version, next: d.next, schema: d.schema, classes: d.classes,
			byID: maps.Clone(d.byID), windows: d.windows.clone()}
		d.now.name()
	}
	return d.now
}

func (t *windowTable) clone() windowTable {
	c := windowTable{of: make(map[string]map[string]storedWindow, len(t.of)), count: t.count}
	for id, of := range t.of {
		c.of[id] = maps.Clone(of)
	}
	return c
}

// A State is all that was defined right after one event. It is never changed, and
// safe for concurrent use.
type State struct {
	site    string
	version uint64
	next    uint32
	schema  *schema.Schema
	classes []event.DefinedClass
	byID    map[string]*Definition
	byName  map[string]string // ids by folded name
	windows windowTable
}

// name fills byName. The console gives no name twice; of two that a journal gives
// all the same, the lower id has it.
func (s *State) name() {
	s.byName = make(map[string]string, len(s.byID))
	for id, c := range s.byID {
		if other, taken := s.byName[c.folded]; !taken || id < other {
			s.byName[c.folded] = id
		}
	}
}

// Version returns the event that changed a definition last, 0 if none did.
func (s *State) Version() uint64 { return s.version }

// Schema returns the standard classes with those that were defined.
func (s *State) Schema() *schema.Schema { return s.schema }

// Classes returns what was defined beside the standard: classes, and properties of
// classes. Nobody changes it.
func (s *State) Classes() []event.DefinedClass { return s.classes }

// All returns all collections but the root by their names, whatever the case.
func (s *State) All() []*Definition {
	all := slices.Collect(maps.Values(s.byID))
	slices.SortFunc(all, func(a, b *Definition) int {
		return cmp.Or(strings.Compare(a.folded, b.folded), strings.Compare(a.ID, b.ID))
	})
	return all
}

// Get returns a collection by its id, also the root.
func (s *State) Get(id string) (*Definition, bool) {
	if id == event.RootCollection {
		return root, true
	}
	c, ok := s.byID[id]
	return c, ok
}

// Find returns the collection that word names: one that has it as its id, else one
// that has it as its name, both in any case.
func (s *State) Find(word string) (*Definition, bool) {
	if c, ok := s.Get(strings.ToUpper(word)); ok {
		return c, true
	}
	name := wql.Fold(word)
	if name == root.folded {
		return root, true
	}
	c, ok := s.byID[s.byName[name]]
	return c, ok
}

// Windows returns the windows of a collection by their names.
func (s *State) Windows(id string) []Window {
	if id == "" {
		return nil
	}
	return s.windows.list(id)
}

// AllWindows returns the windows of all collections, by collection and name.
func (s *State) AllWindows() []Window { return s.windows.list("") }

// nameOf is how texts for people name a collection.
func (s *State) nameOf(id string) string {
	if c, ok := s.Get(id); ok {
		return c.Name
	}
	return id
}

// Of is a definition from elsewhere: an event, or a view.
func Of(c event.Collection, number uint64) *Definition { return newDefinition(c, number) }

// With returns a state with other collections, and with the classes and windows of
// s: what a view knew after some event.
func (s *State) With(all []*Definition) *State {
	other := *s
	other.byID = make(map[string]*Definition, len(all))
	for _, c := range all {
		if c.ID != root.ID {
			other.byID[c.ID] = c
		}
	}
	other.name()
	return &other
}
