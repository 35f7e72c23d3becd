package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

var errNoCollections = &Problem{Status: http.StatusServiceUnavailable, Title: "There are no collections",
	Detail: "This site keeps no collections."}

// readCollections opens the view of collections as a call asks for; of now, it
// holds every definition that was accepted.
func (c *Console) readCollections(ctx context.Context, w When) (*reading, error) {
	if c.cfg.Definitions == nil || c.cfg.Collections == nil {
		return nil, errNoCollections
	}
	if defined := c.cfg.Definitions.Version(); w.At == "" && defined > w.MinEvent {
		if err := c.waitForView(ctx, defined, collectionView); err != nil {
			return nil, err
		}
	}
	return c.read(ctx, w)
}

// collectionView is the name of the view of collections.
const collectionView = "collection"

// waitForView lets one view reach an event; the others may be behind.
func (c *Console) waitForView(ctx context.Context, number uint64, name string) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	err := c.cfg.Views.Wait(ctx, number, name)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusGatewayTimeout, "The views are behind", "View %s is not yet at event %d; try again in a moment.", name, number)
	case err != nil:
		return c.failView(ctx, fmt.Sprintf("wait for event %d", number), err)
	}
	return nil
}

// findCollection returns the collection that word names, by id or else by name.
func findCollection(s *collection.Snapshot, word string) (collection.Info, error) {
	info, ok := s.Find(word)
	if !ok {
		return info, notFound("There is no collection with the id or name %q.", clip(word))
	}
	return info, nil
}

type collectionsInput struct {
	When
	Definitions bool `query:"definitions" doc:"show how each is defined"`
}

func (c *Console) listCollections(ctx context.Context, in *collectionsInput) (*out[CollectionList], error) {
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	list := CollectionList{}
	list.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		list.Items = infosJSON(s, s.List())
		if in.Definitions {
			state, name := c.stateOf(v, s), v.deviceNamer()
			for i := range list.Items {
				if is, ok := state.Get(list.Items[i].ID); ok && is.Limit != "" {
					list.Definitions = append(list.Definitions, documentOf(v, state, is, name))
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, c.failView(ctx, "list collections", err)
	}
	return answerAt(list, list.Event)
}

// infosJSON shows collections by name, the root first.
func infosJSON(s *collection.Snapshot, infos []collection.Info) []CollectionInfo {
	all := make([]CollectionInfo, 0, len(infos))
	for i := range infos {
		all = append(all, infoJSON(s, &infos[i]))
	}
	slices.SortStableFunc(all, func(a, b CollectionInfo) int {
		if isRoot, otherIs := a.Limit == "", b.Limit == ""; isRoot != otherIs {
			if isRoot {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(schema.Fold(a.Name), schema.Fold(b.Name)), strings.Compare(a.ID, b.ID))
	})
	return all
}

func infoJSON(s *collection.Snapshot, i *collection.Info) CollectionInfo {
	shown := CollectionInfo{ID: i.ID, Name: i.Name, Comment: i.Comment, Limit: i.Limit, Members: i.Members,
		Direct: definitions.Direct(&i.Collection).GetCardinality(), Queries: len(i.Queries), Include: len(i.Include), Exclude: len(i.Exclude),
		Schedule: i.Schedule, Incremental: i.Incremental,
		Evaluated: runJSON(&i.Evaluated), Changed: markJSON(i.Changed), Created: markJSON(i.Created), Defined: markJSON(i.Defined)}
	if limit, ok := s.Get(i.Limit); ok {
		shown.LimitName = limit.Name
	}
	return shown
}

func markJSON(m collection.Mark) *EventMark {
	if m.Event == 0 {
		return nil
	}
	return &EventMark{m.Event, m.At}
}

func runJSON(r *collection.Run) *EvaluationRun {
	if r.Event == 0 {
		return nil
	}
	return &EvaluationRun{Queue: r.Queue.String(), Cause: r.Cause.String(), By: r.By, Basis: r.Basis, Event: r.Event, Done: r.Done,
		TookMS: float64(r.Took) / float64(time.Millisecond), Members: r.Members, Added: r.Added, Removed: r.Removed}
}

type collectionInput struct {
	When
	Collection string `path:"collection" maxLength:"256" doc:"id or name"`
}

func (c *Console) getCollection(ctx context.Context, in *collectionInput) (*out[CollectionReply], error) {
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	var reply CollectionReply
	reply.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		info, err := findCollection(s, in.Collection)
		if err != nil {
			return err
		}
		return c.fillDefinition(v, s, &info, &reply)
	})
	if err != nil {
		return nil, c.failView(ctx, "read the collection", err)
	}
	return answerAt(reply, reply.Event)
}

// documentOf is a definition as a document has it, without direct members that were
// removed. Windows are those of now, so in the past there are none.
func documentOf(v *reading, s *definitions.State, is *definitions.Definition, name func(uint32) string) definitions.Collection {
	d := s.Document(is, func(number uint32) string {
		if d, ok, err := v.devices.Get(number); err == nil && ok && d.Removed() {
			return ""
		}
		return name(number)
	})
	if v.past {
		d.Windows = nil
	}
	return d
}

// fillDefinition tells how a collection is defined as of a snapshot, and what it
// depends on.
func (c *Console) fillDefinition(v *reading, s *collection.Snapshot, info *collection.Info, reply *CollectionReply) error {
	state := c.stateOf(v, s)
	reply.CollectionInfo = infoJSON(s, info)
	if is, ok := state.Get(info.ID); ok {
		reply.Definition = documentOf(v, state, is, v.deviceNamer())
	}
	refs := func(list []definitions.Input) []CollectionRef {
		shown := make([]CollectionRef, 0, len(list))
		for _, in := range list {
			ref := CollectionRef{ID: in.ID, How: string(in.Relation)}
			if other, ok := state.Get(in.ID); ok {
				ref.Name = other.Name
			}
			shown = append(shown, ref)
		}
		return shown
	}
	reply.Inputs, reply.Dependants = refs(state.Inputs(info.ID)), refs(state.Dependants(info.ID))
	return nil
}

type membersInput struct {
	When
	Collection string `path:"collection" maxLength:"256" doc:"id or name"`
	After      uint32 `query:"after"`
	Limit      int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (c *Console) listMembers(ctx context.Context, in *membersInput) (*out[MemberPage], error) {
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	page := MemberPage{Items: []Member{}}
	var numbers []uint32
	page.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		info, err := findCollection(s, in.Collection)
		if err != nil {
			return err
		}
		page.Collection, page.Name, page.Total = info.ID, info.Name, info.Members
		numbers = s.Page(info.ID, in.After, in.Limit+1)
		return nil
	})
	if err != nil {
		return nil, c.failView(ctx, "list members", err)
	}
	if len(numbers) > in.Limit {
		numbers = numbers[:in.Limit]
		page.Next = numbers[in.Limit-1]
	}
	for _, n := range numbers {
		m, err := v.member(n)
		if err != nil {
			return nil, c.failView(ctx, "list members", err)
		}
		page.Items = append(page.Items, m)
	}
	return answerAt(page, page.Event)
}

func (v *reading) member(number uint32) (Member, error) {
	m := Member{Device: number}
	d, ok, err := v.devices.Get(number)
	if err != nil {
		return m, err
	}
	if ok {
		m.Name, m.ID = d.Name, d.ID.String()
	}
	row, _, err := v.presence.Get(number)
	m.Online = row.Online
	return m, err
}

func (c *Console) listDeviceCollections(ctx context.Context, in *deviceInput) (*out[DeviceCollections], error) {
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	d, err := v.findDevice(in.Device)
	if err != nil {
		return nil, c.failView(ctx, "find the device", err)
	}
	list := DeviceCollections{Device: d.Number, Name: d.Name}
	list.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		var infos []collection.Info
		for _, id := range s.Of(d.Number) {
			if info, ok := s.Get(id); ok {
				infos = append(infos, info)
			}
		}
		list.Items = infosJSON(s, infos)
		return nil
	})
	if err != nil {
		return nil, c.failView(ctx, "list collections of the device", err)
	}
	return answerAt(list, list.Event)
}

func (c *Console) listClasses(context.Context, *struct{}) (*out[ClassList], error) {
	if c.cfg.Definitions == nil {
		return nil, errNoCollections
	}
	state := c.cfg.Definitions.Now()
	list := ClassList{Items: []definitions.Class{}, Event: state.Version()}
	for _, class := range state.Schema().Classes() {
		shown := definitions.Class{Name: class.Name, Properties: []definitions.Property{}}
		for _, p := range class.Properties {
			shown.Properties = append(shown.Properties, definitions.Property{Name: p.Name, Type: p.Type.String(), List: p.List, Key: p.Key})
		}
		list.Items = append(list.Items, shown)
	}
	return answerAt(list, list.Event)
}
