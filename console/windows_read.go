package console

import (
	"context"
	"encoding/json"
	"time"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/device"
	view "github.com/bugle-fleet/bugle/projectors/window"
)

// A placedWindow is one of a collection, or of the site's policy.
type placedWindow struct {
	window.Window
	collection, name string // id and name of the collection; empty for the site's policy
	raw              json.RawMessage
	event            uint64
	changed          time.Time
}

func (p *placedWindow) reply() WindowReply {
	r := WindowReply{Collection: p.collection, CollectionName: p.name, Window: p.raw, Event: p.event}
	if !p.changed.IsZero() {
		r.Changed = &p.changed
	}
	return r
}

func (p *placedWindow) ref() WindowRef {
	return WindowRef{Collection: p.collection, CollectionName: p.name, Name: p.Name, Kind: string(p.Kind)}
}

func noCollections() error {
	return notFound("This site has no collections; windows for all devices are in its policy, %s.", PathPolicy)
}

// collectionNamed returns the collection that word names.
func (v *reading) collectionNamed(word string) (info collection.Info, err error) {
	if v.collections == nil || v.windows == nil {
		return info, noCollections()
	}
	found := false
	_, err = v.collections.At(func(s *collection.Snapshot) error {
		info, found = s.Find(word)
		return nil
	})
	if err == nil && !found {
		err = notFound("There is no collection with the id or name %q.", clip(word))
	}
	return info, err
}

// sitesWindows returns the windows in the policy of the site.
func (c *Console) sitesWindows(ctx context.Context, v *reading) (all []placedWindow, err error) {
	l := c.cfg.Policies.line("")
	if v.past {
		if l, err = c.policyAsOf(ctx, "", v.event); err != nil {
			return nil, err
		}
	}
	var p struct{ Windows []json.RawMessage }
	if err := json.Unmarshal(l.body, &p); err != nil {
		return nil, err
	}
	for _, raw := range p.Windows {
		w := placedWindow{raw: raw, event: l.event}
		if err := json.Unmarshal(raw, &w.Window); err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// placedOf makes windows of the view such that say where they are. One that cannot
// be read is none, as it is for devices.
func placedOf(windows []view.Window, nameOf func(id string) string) (all []placedWindow) {
	for _, w := range windows {
		p := placedWindow{collection: w.Collection, name: nameOf(w.Collection), raw: w.JSON, event: w.Event, changed: w.Changed}
		if json.Unmarshal(w.JSON, &p.Window) == nil {
			all = append(all, p)
		}
	}
	return all
}

// windowsOfCollection returns the windows of one collection.
func (v *reading) windowsOfCollection(info *collection.Info) ([]placedWindow, error) {
	of, err := v.windows.Of(info.ID)
	return placedOf(of, func(string) string { return info.Name }), err
}

// allWindows returns the windows of all collections.
func (v *reading) allWindows() ([]placedWindow, error) {
	if v.collections == nil || v.windows == nil {
		return nil, nil
	}
	every, err := v.windows.All()
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	_, err = v.collections.At(func(s *collection.Snapshot) error {
		for _, w := range every {
			if info, ok := s.Get(w.Collection); ok {
				names[w.Collection] = info.Name
			}
		}
		return nil
	})
	return placedOf(every, func(id string) string { return names[id] }), err
}

// windowsOfDevice returns the windows that a device has, in the order in which its
// policy holds them, and how many it does not get. Those of its collections that
// are disabled are apart: they are in no policy.
func (c *Console) windowsOfDevice(ctx context.Context, v *reading, d *device.Device) (has, disabled []placedWindow, leftOut int, err error) {
	if has, err = c.sitesWindows(ctx, v); err != nil {
		return nil, nil, 0, err
	}
	every, err := v.allWindows()
	if err != nil || len(every) == 0 {
		return has, nil, 0, err
	}
	of := map[string]bool{}
	_, err = v.collections.At(func(s *collection.Snapshot) error {
		for _, id := range s.Of(d.Number) {
			of[id] = true
		}
		return nil
	})
	own := 0
	for _, w := range every {
		switch {
		case !of[w.collection]:
		case !w.Enabled:
			disabled = append(disabled, w)
		case len(has) >= window.MaxWindows || own >= window.MaxWindows:
			leftOut++
		default:
			has = append(has, w)
			own++
		}
	}
	return has, disabled, leftOut, err
}

type windowsInput struct {
	When
	Collection string `query:"collection" maxLength:"256" doc:"only those of this collection, by id or name"`
	Device     string `query:"device" maxLength:"256" doc:"only those that this device has, by number, id or name"`
}

func (c *Console) listWindows(ctx context.Context, in *windowsInput) (*out[WindowList], error) {
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	list := WindowList{Items: []WindowReply{}, Event: v.event}
	var found, more []placedWindow
	switch {
	case in.Collection != "" && in.Device != "":
		err = badRequest("The request contradicts itself", "Give collection or device, not both.")
	case in.Collection != "":
		var info collection.Info
		if info, err = v.collectionNamed(in.Collection); err == nil {
			found, err = v.windowsOfCollection(&info)
		}
	case in.Device != "":
		var d device.Device
		if d, err = v.findDevice(in.Device); err == nil {
			found, more, list.LeftOut, err = c.windowsOfDevice(ctx, v, &d)
		}
	default:
		if found, err = c.sitesWindows(ctx, v); err == nil {
			more, err = v.allWindows()
		}
	}
	if err != nil {
		return nil, c.failView(ctx, "list maintenance windows", err)
	}
	for _, all := range [][]placedWindow{found, more} {
		for i := range all {
			list.Items = append(list.Items, all[i].reply())
		}
	}
	return answerAt(list, v.event)
}

type windowInput struct {
	When
	Collection string `path:"collection" maxLength:"256" doc:"id or name"`
	Name       string `path:"name" maxLength:"128" doc:"of the window"`
}

func (c *Console) getWindow(ctx context.Context, in *windowInput) (*versioned[WindowReply], error) {
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	info, err := v.collectionNamed(in.Collection)
	if err != nil {
		return nil, c.failView(ctx, "read the window", err)
	}
	all, err := v.windowsOfCollection(&info)
	if err != nil {
		return nil, c.failView(ctx, "read the window", err)
	}
	for i := range all {
		if all[i].Name == in.Name {
			return answerVersion(all[i].reply(), all[i].event, v.event), nil
		}
	}
	return nil, noWindow(in.Name, info.Name)
}

func noWindow(name, collection string) error {
	return notFound("Collection %q has no window %q; GET %s?collection= lists those that it has.", clip(collection), clip(name), PathWindows)
}

// nameOf is the name of a collection, or its id if it is not there.
func nameOf(s *definitions.State, id string) string {
	if d, ok := s.Get(id); ok {
		return d.Name
	}
	return id
}
