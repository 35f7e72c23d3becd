package definitions

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// classes extends the schema by the request's classes.
func (p *planner) classes() {
	var wanted []event.DefinedClass
	for i, c := range p.r.Classes {
		wanted = append(wanted, p.class(&c, at("classes", i)))
	}
	if len(wanted) == 0 || !p.ok() {
		return
	}
	extended, err := p.was.schema.Extend(ofSchema(wanted))
	if err != nil {
		p.refuse("classes", "%s", err)
		return
	}
	payload := &event.ClassesDefined{Reason: p.r.Reason}
	var steps []Step
	for _, c := range wanted {
		step := Step{Action: Keep, Of: "class", Name: c.Name}
		if was, there := p.was.schema.Class(c.Name); there {
			c.Properties = slices.DeleteFunc(c.Properties, func(d event.ClassProperty) bool { _, has := was.Property(d.Name); return has })
			step.Name = was.Name
			if len(c.Properties) > 0 {
				step.Action = Change
			}
		} else {
			step.Action = Create
		}
		if step.Action != Keep {
			payload.Classes = append(payload.Classes, c)
			step.Payload, step.Diff = payload, []Difference{{Field: "properties", Added: propertyNames(c.Properties)}}
		}
		steps = append(steps, step)
	}
	p.steps, p.is.schema = append(p.steps, steps...), extended
	if len(payload.Classes) > 0 {
		p.is.classes = merged(p.was.classes, payload.Classes)
	}
}

func (p *planner) class(c *Class, path string) event.DefinedClass {
	d := event.DefinedClass{Name: c.Name}
	if len(c.Properties) > event.MaxProperties {
		p.refuse(path+".properties", "%d properties, at most %d are taken", len(c.Properties), event.MaxProperties)
		return d
	}
	for i, q := range c.Properties {
		t := slices.IndexFunc(types, func(of typeName) bool { return of.name == q.Type })
		if t < 0 {
			p.refuse(at(path+".properties", i)+".type", "there is no type %s, only text, number, date and bool", quoted(cut(q.Type)))
			continue
		}
		d.Properties = append(d.Properties, event.ClassProperty{Name: q.Name, Type: types[t].event, List: q.List, Key: q.Key})
	}
	return d
}

func propertyNames(properties []event.ClassProperty) (names []string) {
	for _, d := range properties {
		names = append(names, d.Name+" "+TypeName(d.Type))
	}
	return names
}

// graph refuses cycles, and the end of what others need.
func (p *planner) graph() {
	if cycle := p.is.cycle(p.ids); cycle != nil {
		path := ""
		for _, step := range cycle {
			if i, ok := p.seen[step.ID]; ok {
				path = at("collections", i)
				break
			}
		}
		p.refuse(path, "this closes a cycle: %s", p.is.inWords(cycle))
	}
	if len(p.gone) == 0 {
		return
	}
	needed, gone := map[string][]string{}, map[string]bool{}
	for _, id := range p.gone {
		gone[id] = true
	}
	for _, c := range p.is.All() {
		for _, in := range p.is.Inputs(c.ID) {
			if gone[in.ID] {
				needed[in.ID] = append(needed[in.ID], quoted(c.Name)+" "+string(in.Relation)+" it")
			}
		}
	}
	for i, word := range p.r.Delete {
		if c, ok := p.was.Find(word); ok && len(needed[c.ID]) > 0 {
			p.refuse(at("delete", i), "collection %s is needed: %s", quoted(c.Name), someOf(needed[c.ID]))
		}
	}
}

// maxDependants is how many dependants one sentence names.
const maxDependants = 10

func someOf(list []string) string {
	if more := len(list) - maxDependants; more > 0 {
		return fmt.Sprintf("%s, and %d more", strings.Join(list[:maxDependants], ", "), more)
	}
	return strings.Join(list, ", ")
}

// windows plans the windows of collections.
func (p *planner) windows() {
	some, whole := p.wantedWindows()
	var all []*event.WindowChanged
	for _, list := range []struct {
		windows []Window
		others  bool
	}{{whole, false}, {some, true}} {
		changes, err := p.was.windows.change(list.windows, list.others, p.r.Reason)
		if err != nil {
			p.refuse("windows", "%s", err)
			return
		}
		all = append(all, changes...)
	}
	for i, id := range p.ids {
		if d := &p.r.Collections[i]; d.Windows != nil && len(*d.Windows) == 0 {
			for _, w := range p.was.Windows(id) {
				stored := p.was.windows.of[id][w.Window.Name]
				all = append(all, &event.WindowChanged{Collection: id, Name: w.Window.Name, Before: stored.json, Reason: p.r.Reason})
			}
		}
	}
	if err := p.was.windows.room(all); err != nil {
		p.refuse("windows", "%s", err)
		return
	}
	for _, c := range all {
		p.windowStep(c)
	}
}

func (p *planner) windowStep(c *event.WindowChanged) {
	step := Step{Action: Change, Of: "window", ID: c.Collection, Name: c.Name, Payload: c}
	switch {
	case len(c.Before) == 0:
		step.Action = Create
	case len(c.After) == 0:
		step.Action = Delete
	}
	step.Diff = []Difference{{Field: "window", Before: string(c.Before), After: string(c.After)}}
	p.steps = append(p.steps, step)
}

// wantedWindows are the windows that stand by themselves, and those that are all
// windows of their collections.
func (p *planner) wantedWindows() (some, whole []Window) {
	seen := map[[2]string]bool{}
	read := func(id, path string, list []json.RawMessage) (windows []Window) {
		for i, raw := range list {
			w, err := readWindow(raw)
			switch key := [2]string{id, w.Name}; {
			case err != nil:
				p.refuse(at(path, i), "%s", err)
			case seen[key]:
				p.refuse(at(path, i), "window %s of the collection is there twice", quoted(w.Name))
			default:
				seen[key] = true
				windows = append(windows, Window{Collection: id, Window: w})
			}
		}
		return windows
	}
	for i := range p.r.Collections {
		if d := &p.r.Collections[i]; d.Windows != nil {
			whole = append(whole, read(p.ids[i], at("collections", i)+".windows", *d.Windows)...)
		}
	}
	for i, d := range p.r.Windows {
		path := at("windows", i)
		id := p.refer(d.Collection, path+".collection")
		switch n, named := p.seen[id]; {
		case id == "":
			continue
		case id == root.ID:
			p.refuse(path+".collection", "%s has no maintenance windows; those of the policy are for all devices", RootName)
		case named && p.r.Collections[n].Windows != nil:
			p.refuse(path, "all windows of collection %s are defined at %s", quoted(d.Collection), at("collections", n))
		}
		some = append(some, read(id, path+".windows", d.Windows)...)
	}
	return some, whole
}

// readWindow reads a window as somebody wrote it: a field that is not known is an
// error, so that a slip does not make another window of it.
func readWindow(raw json.RawMessage) (window.Window, error) {
	if len(raw) > event.MaxWindow {
		return window.Window{}, fmt.Errorf("the window has %d bytes, at most %d are taken", len(raw), event.MaxWindow)
	}
	list, err := window.Parse(slices.Concat([]byte("["), raw, []byte("]")))
	if err != nil {
		return window.Window{}, errors.New(strings.TrimPrefix(err.Error(), "window 1: "))
	}
	return list[0], nil
}

// arrange puts the steps in order: classes, collections behind all that they depend
// on, what goes with dependants first, windows.
func (p *planner) arrange() {
	var all []Step
	for _, s := range p.steps {
		if s.Of == "class" {
			all = append(all, s)
		}
	}
	for _, id := range p.is.order(p.ids) {
		all = append(all, p.collectionStep(id))
	}
	for _, id := range slices.Backward(p.was.order(p.gone)) {
		was := p.was.byID[id]
		all = append(all, Step{Action: Delete, Of: "collection", ID: id, Name: was.Name, Before: &was.Collection,
			Payload: &event.CollectionChanged{ID: id, Before: &was.Collection, Reason: p.r.Reason}})
	}
	for _, s := range p.steps {
		if s.Of == "window" {
			all = append(all, s)
		}
	}
	p.steps = all
	p.measure()
}

func (p *planner) collectionStep(id string) Step {
	is, was := p.is.byID[id], p.was.byID[id]
	step := Step{Action: Keep, Of: "collection", ID: id, Name: is.Name, After: &is.Collection}
	if was == is {
		step.Before = &was.Collection
		return step
	}
	payload := &event.CollectionChanged{ID: id, After: &is.Collection, Reason: p.r.Reason}
	step.Action, step.Payload = Create, payload
	if was != nil {
		step.Action, step.Before, payload.Before = Change, &was.Collection, &was.Collection
	}
	step.Diff = p.diff(step.Before, step.After)
	return step
}

// envelope is how much an event may have beside its payload, in bytes.
const envelope = 1 << 10

// measure refuses what does not fit into one page of the journal: only then it is
// all or nothing.
func (p *planner) measure() {
	events := (&Plan{Steps: p.steps}).Events()
	if len(events) > journal.MaxPageEvents {
		p.refuse("", "this would be %d changes, at most %d can be made at once: apply it in parts", len(events), journal.MaxPageEvents)
		return
	}
	total := 0
	for _, payload := range events {
		b, err := (&event.Event{Payload: payload}).Append(nil)
		switch {
		case err == nil && len(b)+envelope > event.MaxEncoded:
			err = fmt.Errorf("%d bytes before and after, at most %d are taken", len(b), event.MaxEncoded-envelope)
			fallthrough
		case err != nil:
			p.refuse(p.pathOf(payload), "it cannot be kept: %s", err)
		}
		total += len(b) + envelope/4
	}
	if total > journal.MaxPageBytes {
		p.refuse("", "the changes are %d bytes before and after, at most %d can be made at once: apply them in parts", total, journal.MaxPageBytes)
	}
}

func (p *planner) pathOf(payload event.Payload) string {
	if c, ok := payload.(*event.CollectionChanged); ok {
		if i, ok := p.seen[c.ID]; ok {
			return at("collections", i)
		}
	}
	return ""
}
