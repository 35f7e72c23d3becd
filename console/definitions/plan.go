package definitions

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A Request asks for changes: what a document defines, and collections that go.
type Request struct {
	Document
	Delete []string // collections, by name or id
	// Direct is what Collections[i].Direct stands for, nil for none.
	Direct []*roaring.Bitmap
	Reason string // of all events
	// Device names a device in texts for people; nil means by its number.
	Device func(number uint32) string
}

// An Action is what becomes of a thing.
type Action string

// The actions.
const (
	Create Action = "create"
	Change Action = "change"
	Delete Action = "delete"
	Keep   Action = "keep" // it is as it should be
)

// A Step is what becomes of one collection, class or window.
type Step struct {
	Action Action
	Of     string // "class", "collection" or "window"
	ID     string // of the collection, also of a window's
	Name   string
	Diff   []Difference
	Before *event.Collection // of a collection that there was
	After  *event.Collection // of a collection that there will be

	Payload event.Payload // nil for what stays; several steps may share one
}

// A Plan is what a request changes. It holds as long as nothing else is changed:
// while [Definitions.Version] is Version.
type Plan struct {
	Version uint64
	After   *State // what will be defined, but for the events
	Steps   []Step // in the order in which they can be made
}

// Events returns the payloads of the events that make the changes, in order; none
// if everything is as it should be.
func (p *Plan) Events() (all []event.Payload) {
	for _, s := range p.Steps {
		if s.Payload != nil && !slices.Contains(all, s.Payload) {
			all = append(all, s.Payload)
		}
	}
	return all
}

// Plan checks everything that a request asks for. The error is a [*Refusal], which
// names what does not hold, not only the first; nobody needs to look at half of a
// plan.
func (s *State) Plan(r *Request) (*Plan, error) {
	p := &planner{was: s, r: r, seen: map[string]int{}}
	after := *s
	after.byID = maps.Clone(s.byID)
	p.is = &after
	if p.count(); p.ok() {
		p.classes()
		p.remove()
		p.identify()
	}
	if p.ok() {
		p.define()
	}
	if p.ok() {
		p.graph()
	}
	if p.ok() {
		p.windows()
	}
	if p.ok() {
		p.arrange()
	}
	if !p.ok() {
		return nil, &p.refusal
	}
	return &Plan{Version: s.version, After: p.is, Steps: p.steps}, nil
}

// A planner makes a plan.
type planner struct {
	was, is *State
	r       *Request

	ids     []string       // of the request's collections, in its order
	seen    map[string]int // which of them an id is
	gone    []string       // ids that go
	steps   []Step
	refusal Refusal
}

func (p *planner) ok() bool { return len(p.refusal.Errors) == 0 }

func (p *planner) refuse(path, format string, args ...any) {
	p.refusal.Add(Error{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (p *planner) count() {
	n := len(p.r.Classes) + len(p.r.Collections) + len(p.r.Windows) + len(p.r.Delete)
	if n > MaxChanges {
		p.refuse("", "this would change %d things, at most %d are taken at once", n, MaxChanges)
	}
}

func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// remove takes out what is to go.
func (p *planner) remove() {
	for i, word := range p.r.Delete {
		c, ok := p.was.Find(word)
		switch {
		case !ok:
			p.refuse(at("delete", i), "there is no collection %s", quoted(cut(word)))
		case c == root:
			p.refuse(at("delete", i), "%s is always there", RootName)
		case !slices.Contains(p.gone, c.ID):
			p.gone = append(p.gone, c.ID)
			delete(p.is.byID, c.ID)
		}
	}
}

// identify finds out which collections are meant, and gives ids to new ones. From
// then on is knows the names that there will be.
func (p *planner) identify() {
	for i := range p.r.Collections {
		d := &p.r.Collections[i]
		path := at("collections", i)
		id := p.target(d, path)
		p.ids = append(p.ids, id)
		if id == "" {
			continue
		}
		if before, twice := p.seen[id]; twice {
			p.refuse(path, "collection %s is the same as that at %s", quoted(d.Name), at("collections", before))
		}
		p.seen[id] = i
		if slices.Contains(p.gone, id) {
			p.refuse(path, "collection %s is to be deleted and defined", quoted(d.Name))
		}
		p.is.byID[id] = newDefinition(event.Collection{ID: id, Name: d.Name}, 0)
	}
	p.allot()
	if n := len(p.is.byID); n > MaxCollections {
		p.refuse("", "there would be %d collections, at most %d are taken", n, MaxCollections)
	}
	p.is.name()
	p.checkNames()
}

// target is the id of the collection that a definition is about: what has its id,
// its former name, or its name. It is empty for a new one that gets an id later,
// and if there is an error.
func (p *planner) target(d *Collection, path string) string {
	if err := checkName(d.Name); err != nil {
		p.refuse(path+".name", "%s", err)
		return ""
	}
	found, ok := p.was.Find(d.Name)
	switch {
	case d.ID != "":
		id := strings.ToUpper(d.ID)
		if !IsID(id) {
			p.refuse(path+".id", "%s is no id: three letters or digits and five hexadecimal digits", quoted(cut(d.ID)))
			return ""
		}
		if found, ok = p.was.Get(id); !ok {
			if n, own := numberOf(p.was.site, id); own && n > maxGiven {
				p.refuse(path+".id", "%s leaves no ids for new collections: %s is the highest that may be given", id, idOf(p.was.site, maxGiven))
			} else if own {
				p.is.next = max(p.is.next, n+1)
			}
			return id
		}
	case d.RenameFrom != "":
		if former, there := p.was.Find(d.RenameFrom); there {
			found, ok = former, true
		} else if !ok {
			p.refuse(path+".rename-from", "there is no collection %s to rename, and none %s", quoted(cut(d.RenameFrom)), quoted(d.Name))
			return ""
		}
	}
	if !ok {
		return ""
	}
	if found == root {
		p.refuse(path, "%s is built in and cannot be changed", RootName)
		return ""
	}
	return found.ID
}

// allot gives ids to new collections, in the order of the request.
func (p *planner) allot() {
	if !p.ok() {
		return
	}
	names := map[string]bool{}
	for _, c := range p.is.byID {
		names[c.folded] = true
	}
	for i := range p.r.Collections {
		names[wql.Fold(p.r.Collections[i].Name)] = true
	}
	for i, id := range p.ids {
		if id != "" {
			continue
		}
		for names[wql.Fold(idOf(p.was.site, p.is.next))] || p.is.byID[idOf(p.was.site, p.is.next)] != nil {
			p.is.next++
		}
		if p.is.next > maxNumber {
			p.refuse(at("collections", i), "the site has given all its ids")
			return
		}
		id = idOf(p.was.site, p.is.next)
		p.is.next++
		p.ids[i], p.seen[id] = id, i
		p.is.byID[id] = newDefinition(event.Collection{ID: id, Name: p.r.Collections[i].Name}, 0)
	}
}

// checkNames tells whether each name belongs to one collection, and is no other's id.
func (p *planner) checkNames() {
	holders := make(map[string][]string, len(p.is.byID))
	for id, c := range p.is.byID {
		holders[c.folded] = append(holders[c.folded], id)
	}
	for i, id := range p.ids {
		if id == "" {
			continue
		}
		c, path := p.is.byID[id], at("collections", i)+".name"
		other, taken := p.is.Get(strings.ToUpper(c.Name))
		holder := holders[wql.Fold(id)] // a collection of that name could not be named any more
		switch {
		case c.folded == root.folded:
			p.refuse(path, "%s is built in and cannot be changed", RootName)
		case len(holders[c.folded]) > 1:
			p.refuse(path, "%d collections would have the name %s", len(holders[c.folded]), quoted(c.Name))
		case taken && other.ID != id:
			p.refuse(path, "%s is the id of another collection", quoted(c.Name))
		case p.was.byID[id] == nil && len(holder) > 0 && holder[0] != id:
			p.refuse(at("collections", i)+".id", "%s is the name of another collection", id)
		}
	}
}
