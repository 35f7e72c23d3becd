package console

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/projectors/collection"
)

// PolicyWindows are the maintenance windows that a device has of its collections,
// for its policy. Nobody changes them: devices in the same collections share them.
type PolicyWindows struct {
	Items []json.RawMessage // enabled ones, each as package window writes it, at most [window.MaxWindows]
	Size  int               // of all items in a document, in bytes
	Key   [sha256.Size]byte // equal keys: equal items
}

// WindowsOf returns the windows that the collections of a device have now, for
// [PolicyParts]: those that are defined at the end of the journal, by the members
// that the view knows. They are in the order of the collections' ids and of their
// names; what is one too many is left out. nil means that there is none.
func WindowsOf(defined *definitions.Definitions, members *collection.Reader) func(device uint32) (*PolicyWindows, error) {
	s := &windowSets{defined: defined, members: members}
	return s.of
}

// maxWindowSets is how many different sets of windows are kept.
const maxWindowSets = 10_000

// windowSets knows which collections have windows, who is in these, and the sets
// of windows that devices were found to have.
type windowSets struct {
	defined *definitions.Definitions
	members *collection.Reader

	mu       sync.Mutex
	state    *definitions.State // that groups were made of
	groups   []windowGroup
	position uint64                    // of the members
	known    map[string]*PolicyWindows // by a bit for each of the groups
	bits     []byte
}

// A windowGroup is a collection that has windows.
type windowGroup struct {
	id      string
	items   []json.RawMessage
	members *roaring.Bitmap
}

func (s *windowSets) of(device uint32) (*PolicyWindows, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, err
	}
	any := false
	clear(s.bits)
	for i := range s.groups {
		if m := s.groups[i].members; m != nil && m.Contains(device) {
			s.bits[i/8] |= 1 << (i % 8)
			any = true
		}
	}
	if !any {
		return nil, nil
	}
	if w := s.known[string(s.bits)]; w != nil {
		return w, nil
	}
	if len(s.known) >= maxWindowSets {
		clear(s.known)
	}
	w := s.render()
	s.known[string(s.bits)] = w
	return w, nil
}

// refresh takes over what was defined and who became a member since.
func (s *windowSets) refresh() error {
	if now := s.defined.Now(); now != s.state {
		if err := s.group(now); err != nil {
			return err
		}
	}
	if len(s.groups) == 0 {
		return nil
	}
	_, err := s.members.At(func(snap *collection.Snapshot) error {
		if p := snap.Position(); p != s.position {
			for i := range s.groups {
				s.groups[i].members = snap.Members(s.groups[i].id)
			}
			s.position = p
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read members of collections with windows: %w", err)
	}
	return nil
}

// group makes the groups anew.
func (s *windowSets) group(now *definitions.State) error {
	groups := s.groups[:0:0]
	for _, w := range now.AllWindows() {
		if !w.Window.Enabled {
			continue
		}
		raw, err := definitions.EncodeWindow(w.Window)
		if err != nil {
			return err
		}
		if n := len(groups); n == 0 || groups[n-1].id != w.Collection {
			groups = append(groups, windowGroup{id: w.Collection})
		}
		g := &groups[len(groups)-1]
		g.items = append(g.items, raw)
	}
	s.state, s.groups, s.position = now, groups, 0
	s.known, s.bits = map[string]*PolicyWindows{}, make([]byte, (len(groups)+7)/8)
	return nil
}

// render makes the set of the groups whose bits are set.
func (s *windowSets) render() *PolicyWindows {
	w := &PolicyWindows{}
	h := sha256.New()
	for i := range s.groups {
		if s.bits[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		for _, raw := range s.groups[i].items {
			if len(w.Items) == window.MaxWindows {
				break
			}
			w.Items = append(w.Items, raw)
			w.Size += len(raw) + 1
			h.Write(raw)
		}
	}
	h.Sum(w.Key[:0])
	return w
}

// addWindows adds the windows of collections to a policy's own, as many as a
// device takes.
func addWindows(own json.RawMessage, more []json.RawMessage) (json.RawMessage, error) {
	var all []json.RawMessage
	if len(own) > 0 {
		if err := json.Unmarshal(own, &all); err != nil {
			return nil, fmt.Errorf("windows of the site's policy: %w", err)
		}
	}
	if room := window.MaxWindows - len(all); len(more) > room {
		more = more[:max(0, room)]
	}
	return json.Marshal(append(all, more...))
}
