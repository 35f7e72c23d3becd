package definitions

import (
	"encoding/json"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
)

// Bounds of a document.
const (
	MaxChanges = 1000    // collections, classes and windows that one document may change
	MaxDirect  = 100_000 // direct members of a collection
)

// A Document is what administrators want to be defined. What it does not name
// stays as it is.
type Document struct {
	Classes     []Class      `json:"classes,omitempty" maxItems:"64" doc:"classes of inventory, or more properties of classes"`
	Collections []Collection `json:"collections,omitempty" maxItems:"1000" doc:"collections, in any order"`
	Windows     []Windows    `json:"windows,omitempty" maxItems:"1000" doc:"maintenance windows of collections; windows that it does not name stay"`
}

// A Collection is all of the definition of one: what is left out is empty.
type Collection struct {
	Name        string   `json:"name" doc:"1 to 256 bytes; unique without regard to case"`
	ID          string   `json:"id,omitempty" doc:"finds the collection whatever its name is; of a new one, the id that it gets"`
	RenameFrom  string   `json:"renameFrom,omitempty" doc:"the name or id that it has, if it is to be renamed"`
	Comment     string   `json:"comment,omitempty"`
	Limit       string   `json:"limit,omitempty" doc:"the limiting collection, by name or id; default All Systems"`
	Direct      []string `json:"direct,omitempty" maxItems:"100000" doc:"direct members, by number, id or name of the device"`
	Queries     []Query  `json:"queries,omitempty" maxItems:"64" doc:"query rules"`
	Include     []string `json:"include,omitempty" maxItems:"1000" doc:"collections whose members belong to it, by name or id"`
	Exclude     []string `json:"exclude,omitempty" maxItems:"1000" doc:"collections whose members do not belong to it, by name or id"`
	Schedule    string   `json:"schedule,omitempty" doc:"when it is evaluated in full: minute hour day month weekday in UTC, or a recurrence of 16 hexadecimal digits"`
	Incremental bool     `json:"incremental,omitempty" doc:"it is evaluated as soon as devices change"`

	Windows *[]json.RawMessage `json:"windows,omitempty" doc:"all its maintenance windows; if absent they stay as they are"`
	IfEvent *uint64            `json:"ifEvent,omitempty" doc:"change it only if this event defined it last; 0: only if it is new"`
}

// A Query is a query rule.
type Query struct {
	Name string `json:"name,omitempty"`
	WQL  string `json:"wql"`
}

// A Class is a class of inventory: a new one, or more properties of one.
type Class struct {
	Name       string     `json:"name"`
	Properties []Property `json:"properties" maxItems:"256"`
}

// A Property is a property of a class.
type Property struct {
	Name string `json:"name"`
	Type string `json:"type"`
	List bool   `json:"list,omitempty" doc:"it holds several values"`
	Key  bool   `json:"key,omitempty" doc:"it tells the rows of a device apart, alone or with others"`
}

// Windows are some maintenance windows of a collection.
type Windows struct {
	Collection string            `json:"collection" doc:"by name or id"`
	Windows    []json.RawMessage `json:"windows" doc:"as package agent/window defines them"`
}

// Document returns a collection as a document has it. Others are named by their
// names, devices as device says; those for which it says nothing are left out.
func (s *State) Document(c *Definition, device func(number uint32) string) Collection {
	d := s.document(&c.Collection, device)
	if all := s.Windows(c.ID); len(all) > 0 {
		list := make([]json.RawMessage, 0, len(all))
		for _, w := range all {
			if raw, err := EncodeWindow(w.Window); err == nil {
				list = append(list, raw)
			}
		}
		d.Windows = &list
	}
	return d
}

func (s *State) document(c *event.Collection, device func(number uint32) string) Collection {
	d := Collection{Name: c.Name, ID: c.ID, Comment: c.Comment, Schedule: c.Schedule, Incremental: c.Incremental}
	if c.Limit != "" {
		d.Limit = s.nameOf(c.Limit)
	}
	for n := range roaring.Values(Direct(c)) {
		if name := device(n); name != "" {
			d.Direct = append(d.Direct, name)
		}
	}
	for _, q := range c.Queries {
		d.Queries = append(d.Queries, Query(q))
	}
	for _, id := range c.Include {
		d.Include = append(d.Include, s.nameOf(id))
	}
	for _, id := range c.Exclude {
		d.Exclude = append(d.Exclude, s.nameOf(id))
	}
	return d
}

// Direct returns the numbers of a collection's direct members; the set is the
// caller's. It is empty if the definition holds something else.
func Direct(c *event.Collection) *roaring.Bitmap {
	set := roaring.New()
	if len(c.Direct) == 0 {
		return set
	}
	if err := set.UnmarshalBinary(c.Direct); err != nil || set.Validate() != nil {
		return roaring.New()
	}
	return set
}

// encodeDirect is the one way in which direct members are written in events.
func encodeDirect(set *roaring.Bitmap) ([]byte, error) {
	if set == nil || set.IsEmpty() {
		return nil, nil
	}
	if n := set.GetCardinality(); n > MaxDirect {
		return nil, fmt.Errorf("%d direct members, at most %d are taken", n, MaxDirect)
	}
	set = set.Clone()
	set.RunOptimize()
	raw, err := set.ToBytes()
	if err == nil && len(raw) > event.MaxBitmap {
		err = fmt.Errorf("the numbers of %d direct members are too scattered for one collection: %d bytes, at most %d are taken", set.GetCardinality(), len(raw), event.MaxBitmap)
	}
	return raw, err
}
