package definitions

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// Bounds of the windows that collections have.
const (
	MaxWindows           = 10_000 // of all collections
	MaxCollectionWindows = 64     // of one
)

// A Window is a maintenance window of a collection.
type Window struct {
	Collection string // its id
	Window     window.Window
	Event      uint64 // that set it; 0 in what is asked for
}

// EncodeWindow is the one way in which a window is written in events.
func EncodeWindow(w window.Window) ([]byte, error) {
	b, err := json.Marshal(w)
	if err == nil && len(b) > event.MaxWindow {
		err = fmt.Errorf("window %q: %d bytes, at most %d are taken", w.Name, len(b), event.MaxWindow)
	}
	return b, err
}

// Window returns a window of a collection; ok is false if there is none.
func (s *State) Window(collection, name string) (w Window, ok bool) {
	stored, ok := s.windows.of[collection][name]
	if !ok || json.Unmarshal(stored.json, &w.Window) != nil {
		return Window{}, false
	}
	w.Collection, w.Event = collection, stored.event
	return w, true
}

// ChangeWindows returns the events, in order, that make windows what is wanted;
// none if they are so already. The other windows of the collections that want names
// stay if others is true, else they go. An error is for people: a collection that
// cannot have windows, a window that is there twice, too many of them.
func (s *State) ChangeWindows(want []Window, others bool, reason string) ([]*event.WindowChanged, error) {
	for _, w := range want {
		if err := s.mayHaveWindows(w.Collection); err != nil {
			return nil, err
		}
	}
	return s.windows.change(want, others, reason)
}

func (s *State) mayHaveWindows(id string) error {
	if id == event.RootCollection {
		return fmt.Errorf("collection %s (%s) has no windows of its own: those that count for all devices are in the policy of the site (bugle policy edit)", id, RootName)
	}
	if _, ok := s.Get(id); !ok {
		return fmt.Errorf("there is no collection %s", id)
	}
	return nil
}

// DeleteWindow returns the event that deletes a window; nil if there is none.
func (s *State) DeleteWindow(collection, name, reason string) *event.WindowChanged {
	stored, ok := s.windows.of[collection][name]
	if !ok {
		return nil
	}
	return &event.WindowChanged{Collection: collection, Name: name, Before: stored.json, Reason: reason}
}

// windowTable is the part of the fold that knows the windows: by collection, then
// by name. The fold locks.
type windowTable struct {
	of    map[string]map[string]storedWindow
	count int
}

type storedWindow struct {
	json  []byte // as the event had it; nobody changes it
	event uint64
}

// apply takes over window.changed, and collection.changed where it deletes.
func (t *windowTable) apply(e *event.Event) {
	switch p := e.Payload.(type) {
	case *event.CollectionChanged:
		if p.After == nil {
			t.count -= len(t.of[p.ID])
			delete(t.of, p.ID)
		}
	case *event.WindowChanged:
		if len(p.After) == 0 {
			t.remove(p.Collection, p.Name)
		} else {
			t.set(p.Collection, p.Name, storedWindow{p.After, e.Number})
		}
	}
}

func (t *windowTable) remove(collection, name string) {
	of := t.of[collection]
	if _, ok := of[name]; !ok {
		return
	}
	t.count--
	if delete(of, name); len(of) == 0 {
		delete(t.of, collection)
	}
}

// set takes a window, unless it is one more than there may be.
func (t *windowTable) set(collection, name string, w storedWindow) bool {
	if _, ok := t.of[collection][name]; !ok {
		if t.count >= MaxWindows {
			return false
		}
		t.count++
	}
	if t.of == nil {
		t.of = map[string]map[string]storedWindow{}
	}
	if t.of[collection] == nil {
		t.of[collection] = map[string]storedWindow{}
	}
	t.of[collection][name] = w
	return true
}

// list returns the windows of a collection, or of all if id is empty, by
// collection and name. One that cannot be read is left out.
func (t *windowTable) list(id string) (all []Window) {
	from := t.of
	if id != "" {
		from = map[string]map[string]storedWindow{id: t.of[id]}
	}
	for collection, of := range from {
		for _, stored := range of {
			w := Window{Collection: collection, Event: stored.event}
			if json.Unmarshal(stored.json, &w.Window) == nil {
				all = append(all, w)
			}
		}
	}
	slices.SortFunc(all, compareWindows)
	return all
}

func compareWindows(a, b Window) int {
	return cmp.Or(strings.Compare(a.Collection, b.Collection), strings.Compare(a.Window.Name, b.Window.Name))
}

// change returns the events that make the windows of some collections what is
// wanted, in order: those that are wanted are set unless they are as they should
// be and, if others is false, the other windows of the collections that want names
// go. Errors are for people.
func (t *windowTable) change(want []Window, others bool, reason string) (changes []*event.WindowChanged, err error) {
	wanted := map[string]map[string]bool{}
	for _, w := range want {
		after, err := EncodeWindow(w.Window)
		if err != nil {
			return nil, err
		}
		if wanted[w.Collection] == nil {
			wanted[w.Collection] = map[string]bool{}
		}
		if wanted[w.Collection][w.Window.Name] {
			return nil, fmt.Errorf("window %q of collection %s is there twice", w.Window.Name, w.Collection)
		}
		wanted[w.Collection][w.Window.Name] = true
		if before := t.of[w.Collection][w.Window.Name].json; string(before) != string(after) {
			changes = append(changes, &event.WindowChanged{Collection: w.Collection, Name: w.Window.Name, Before: before, After: after, Reason: reason})
		}
	}
	if !others {
		for collection, names := range wanted {
			for name, stored := range t.of[collection] {
				if !names[name] {
					changes = append(changes, &event.WindowChanged{Collection: collection, Name: name, Before: stored.json, Reason: reason})
				}
			}
		}
	}
	slices.SortFunc(changes, func(a, b *event.WindowChanged) int {
		return cmp.Or(strings.Compare(a.Collection, b.Collection), strings.Compare(a.Name, b.Name))
	})
	if err := t.room(changes); err != nil {
		return nil, err
	}
	return changes, nil
}

// room tells whether there is room for what changes.
func (t *windowTable) room(changes []*event.WindowChanged) error {
	count, of := t.count, map[string]int{}
	for _, c := range changes {
		more := 0
		switch {
		case len(c.Before) == 0:
			more = 1
		case len(c.After) == 0:
			more = -1
		}
		count += more
		of[c.Collection] += more
	}
	if count > MaxWindows {
		return fmt.Errorf("collections would have %d windows, at most %d are taken", count, MaxWindows)
	}
	for _, id := range sorted(of) {
		if n := len(t.of[id]) + of[id]; n > MaxCollectionWindows {
			return fmt.Errorf("collection %s would have %d windows, at most %d are taken", id, n, MaxCollectionWindows)
		}
	}
	return nil
}

// save writes an array: four values of each window, by collection and name.
func (t *windowTable) save(w *bounded.Writer) {
	w.List(4*t.count, 4*MaxWindows)
	for _, id := range sorted(t.of) {
		for _, name := range sorted(t.of[id]) {
			stored := t.of[id][name]
			w.Exact(id, event.MaxCollectionID)
			w.Exact(name, event.MaxName)
			w.Bytes(stored.json, event.MaxWindow)
			w.Uint(stored.event)
		}
	}
}

// restore reads what save wrote.
func (t *windowTable) restore(r *bounded.Reader) {
	*t = windowTable{}
	if n := r.Array(4 * MaxWindows); n%4 != 0 {
		r.Fail("%d values of windows", n)
	}
	before := [2]string{}
	for r.More() {
		id, name := r.String(event.MaxCollectionID), r.String(event.MaxName)
		stored := storedWindow{r.Bytes(event.MaxWindow), r.Uint64()}
		if now := [2]string{id, name}; t.count > 0 && slices.Compare(now[:], before[:]) <= 0 || len(stored.json) == 0 {
			r.Fail("window %q of collection %s is not in its place, or empty", name, id)
		}
		before = [2]string{id, name}
		t.set(id, name, stored)
	}
	r.End()
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
