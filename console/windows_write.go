package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
)

const titleWindows = "The windows cannot be taken"

// errDefined is the error of a guard that found other definitions than those that
// a change was made from.
var errDefined = errors.New("definitions have changed")

// defineTries is how often a change is made anew because somebody else was faster.
const defineTries = 8

// A windowPlan makes the changes of windows from what is defined, and counts the
// windows that are as they should be.
type windowPlan func(now *definitions.State) (changes []*event.WindowChanged, unchanged int, err error)

// changeWindows appends what a plan makes of the definitions, all or nothing, and
// says what that was.
func (c *Console) changeWindows(ctx context.Context, key onceKey, dryRun bool, plan windowPlan) (*out[WindowsReply], error) {
	if c.cfg.Definitions == nil {
		return nil, noCollections()
	}
	if !dryRun {
		select {
		case c.defining <- struct{}{}:
			defer func() { <-c.defining }()
		case <-ctx.Done():
			return nil, c.failView(ctx, "change the windows", ctx.Err())
		}
	}
	for try := 1; ; try++ {
		err := c.cfg.Writes.check(key)
		if done, ok := errors.AsType[doneAlready](err); ok {
			return c.windowsChanged(ctx, uint64(done))
		}
		if err != nil {
			return nil, err
		}
		now := c.cfg.Definitions.Now()
		changes, unchanged, err := plan(now)
		if err != nil {
			return nil, err
		}
		reply := WindowsReply{Unchanged: unchanged, DryRun: dryRun, Event: c.cfg.Journal.Head().Event}
		if reply.Changes, err = c.windowChanges(ctx, now, changes); err != nil {
			return nil, c.failView(ctx, "look at the windows", err)
		}
		if dryRun || len(changes) == 0 {
			return answerAt(reply, reply.Event)
		}
		number, err := c.appendWindows(ctx, key, now, changes)
		_, done := errors.AsType[doneAlready](err)
		switch again := done || errors.Is(err, errDefined); {
		case again && try < defineTries:
			continue
		case again:
			return nil, conflict("Others change collections all the time; try again.")
		case err != nil:
			return nil, c.failView(ctx, "change the windows", err)
		}
		reply.Event = number
		return answerAt(reply, number)
	}
}

// appendWindows appends changes if what they were made from still holds, and
// returns the number of the last one.
func (c *Console) appendWindows(ctx context.Context, key onceKey, made *definitions.State, changes []*event.WindowChanged) (uint64, error) {
	events := make([]*event.Event, len(changes))
	for i, p := range changes {
		events[i] = &event.Event{Observed: c.cfg.Now(), Key: key.envelope(), Actor: actorOf(ctx), Payload: p}
	}
	err := c.cfg.Journal.AppendIf(ctx, func() error {
		if err := c.cfg.Writes.check(key); err != nil {
			return err
		}
		if c.cfg.Definitions.Version() != made.Version() {
			return errDefined
		}
		return nil
	}, events...)
	if err != nil {
		return 0, err
	}
	return events[len(events)-1].Number, nil
}

// windowsChanged is the answer to a request that became the given event and those
// behind it with the same key, without advice, which was for then.
func (c *Console) windowsChanged(ctx context.Context, first uint64) (*out[WindowsReply], error) {
	events, err := c.sameKey(ctx, first)
	if err != nil {
		return nil, c.failView(ctx, "read what the request became", err)
	}
	reply, now := WindowsReply{Changes: []WindowChange{}}, c.cfg.Definitions.Now()
	for _, e := range events {
		p, ok := e.Payload.(*event.WindowChanged)
		if !ok {
			return nil, conflictingKey(first)
		}
		reply.Changes = append(reply.Changes, windowChangeOf(now, p))
		reply.Event = e.Number
	}
	return answerAt(reply, reply.Event)
}

func windowChangeOf(now *definitions.State, p *event.WindowChanged) WindowChange {
	return WindowChange{Collection: p.Collection, CollectionName: nameOf(now, p.Collection), Name: p.Name, Before: rawOrNil(p.Before), After: rawOrNil(p.After)}
}

// windowChanges describes changes, with advice.
func (c *Console) windowChanges(ctx context.Context, now *definitions.State, changes []*event.WindowChanged) ([]WindowChange, error) {
	all := make([]WindowChange, len(changes))
	var a *adviser
	for i, p := range changes {
		all[i] = windowChangeOf(now, p)
		if len(p.After) == 0 {
			continue
		}
		if a == nil {
			var err error
			if a, err = c.newAdviser(ctx, now, changes); err != nil {
				return nil, err
			}
		}
		all[i].Advice = a.advise(p)
	}
	return all, nil
}

func rawOrNil(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return b
}

// parseWindow reads one window as somebody wrote it; name is its name if it does
// not say.
func parseWindow(raw json.RawMessage, name string) (window.Window, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return window.Window{}, errors.New("a window is a JSON object")
	}
	if _, ok := fields["name"]; !ok && name != "" {
		fields["name"], _ = json.Marshal(name)
	}
	one, err := json.Marshal([]map[string]json.RawMessage{fields})
	if err != nil {
		return window.Window{}, err
	}
	list, err := window.Parse(one)
	if err != nil {
		return window.Window{}, errors.New(strings.TrimPrefix(err.Error(), "window 1: "))
	}
	return list[0], nil
}

type putWindowInput struct {
	Collection string `path:"collection" maxLength:"256" doc:"id or name"`
	Name       string `path:"name" maxLength:"128" doc:"of the window"`
	IfMatch    string `header:"If-Match" maxLength:"128" doc:"change the window only if this event, as ETag named it, set it last; \"0\": only if there is none"`
	Key        string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body       WindowRequest
}

func (c *Console) putWindow(ctx context.Context, in *putWindowInput) (*out[WindowsReply], error) {
	w, err := parseWindow(in.Body.Window, in.Name)
	if err != nil {
		return nil, badRequest(titleWindows, "%v.", err)
	}
	if w.Name != in.Name {
		return nil, badRequest(titleWindows, "The window is named %q and not %q; a window that is to have another name is deleted and set anew.", clip(w.Name), clip(in.Name))
	}
	key, err := newOnceKey(actorOf(ctx), in.Key, "window "+in.Collection+"/"+in.Name, in.Body)
	if err != nil {
		return nil, err
	}
	return c.changeWindows(ctx, key, in.Body.DryRun, func(now *definitions.State) ([]*event.WindowChanged, int, error) {
		d, err := definedCollection(now, in.Collection)
		if err == nil {
			err = matchWindow(now, d.ID, in.Name, in.IfMatch)
		}
		if err != nil {
			return nil, 0, err
		}
		return c.planWindows(now, []definitions.Window{{Collection: d.ID, Window: w}}, false, in.Body.Reason)
	})
}

func definedCollection(now *definitions.State, word string) (*definitions.Definition, error) {
	d, ok := now.Find(word)
	if !ok {
		return nil, notFound("There is no collection with the id or name %q.", clip(word))
	}
	return d, nil
}

// matchWindow checks the precondition of a change.
func matchWindow(now *definitions.State, collection, name, match string) error {
	if match == "" || match == "*" {
		return nil
	}
	w, ok := now.Window(collection, name)
	if strings.Trim(match, `"`) == fmt.Sprint(w.Event) {
		return nil
	}
	if !ok {
		return problem(412, "The window was deleted meanwhile", "There is no window %q any more that could be changed.", clip(name))
	}
	return problem(412, "The window was changed meanwhile", "Event %d set it, and not the one that was to be changed; read it again.", w.Event)
}

// planWindows makes the changes that set windows.
func (c *Console) planWindows(now *definitions.State, want []definitions.Window, prune bool, reason string) ([]*event.WindowChanged, int, error) {
	changes, err := now.ChangeWindows(want, !prune, reason)
	if err == nil {
		err = c.checkRoom(now, changes)
	}
	if err != nil {
		return nil, 0, badRequest(titleWindows, "%v.", err)
	}
	set := 0
	for _, p := range changes {
		if len(p.After) > 0 {
			set++
		}
	}
	return changes, len(want) - set, nil
}

// checkRoom refuses windows that no device of a collection could have beside those
// in the policy of the site.
func (c *Console) checkRoom(now *definitions.State, changes []*event.WindowChanged) error {
	if len(changes) > definitions.MaxChanges {
		return fmt.Errorf("%d windows would change, at most %d are taken at once", len(changes), definitions.MaxChanges)
	}
	_, parsed, _ := c.cfg.Policies.current()
	var sites []json.RawMessage
	if len(parsed.Windows) > 0 && json.Unmarshal(parsed.Windows, &sites) != nil {
		return nil
	}
	more := map[string]int{}
	for _, p := range changes {
		switch {
		case len(p.Before) == 0:
			more[p.Collection]++
		case len(p.After) == 0:
			more[p.Collection]--
		}
	}
	for _, p := range changes {
		n := len(now.Windows(p.Collection)) + more[p.Collection]
		if more[p.Collection] > 0 && len(sites)+n > window.MaxWindows {
			return fmt.Errorf("collection %q would have %d windows and the policy of the site has %d: a device takes at most %d", nameOf(now, p.Collection), n, len(sites), window.MaxWindows)
		}
	}
	return nil
}

type deleteWindowInput struct {
	Collection string `path:"collection" maxLength:"256" doc:"id or name"`
	Name       string `path:"name" maxLength:"128" doc:"of the window"`
	IfMatch    string `header:"If-Match" maxLength:"128" doc:"delete the window only if this event, as ETag named it, set it last"`
	Key        string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Reason     string `query:"reason" maxLength:"4096" doc:"why, for the history"`
	DryRun     bool   `query:"dry-run" doc:"change nothing, only say what would change"`
}

func (c *Console) deleteWindow(ctx context.Context, in *deleteWindowInput) (*out[WindowsReply], error) {
	key, err := newOnceKey(actorOf(ctx), in.Key, "delete window "+in.Collection+"/"+in.Name, in.Reason)
	if err != nil {
		return nil, err
	}
	return c.changeWindows(ctx, key, in.DryRun, func(now *definitions.State) ([]*event.WindowChanged, int, error) {
		d, err := definedCollection(now, in.Collection)
		if err == nil {
			err = matchWindow(now, d.ID, in.Name, in.IfMatch)
		}
		if err != nil {
			return nil, 0, err
		}
		p := now.DeleteWindow(d.ID, in.Name, in.Reason)
		if p == nil {
			return nil, 0, noWindow(in.Name, d.Name)
		}
		return []*event.WindowChanged{p}, 0, nil
	})
}

type applyWindowsInput struct {
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body WindowsRequest
}

func (c *Console) applyWindows(ctx context.Context, in *applyWindowsInput) (*out[WindowsReply], error) {
	key, err := newOnceKey(actorOf(ctx), in.Key, "windows", in.Body)
	if err != nil {
		return nil, err
	}
	return c.changeWindows(ctx, key, in.Body.DryRun, func(now *definitions.State) ([]*event.WindowChanged, int, error) {
		want, err := wantedWindows(now, in.Body.Windows)
		if err != nil {
			return nil, 0, err
		}
		return c.planWindows(now, want, in.Body.Prune, in.Body.Reason)
	})
}

// maxWrong is how many wrong windows one answer names.
const maxWrong = 20

// wantedWindows reads the windows of a request; what is wrong with any of them is
// one error, which names the places.
func wantedWindows(now *definitions.State, lists []definitions.Windows) (want []definitions.Window, err error) {
	var wrong []string
	for i, l := range lists {
		d, ok := now.Find(l.Collection)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("windows[%d].collection: there is no collection with the id or name %q", i, clip(l.Collection)))
			continue
		}
		for j, raw := range l.Windows {
			w, err := parseWindow(raw, "")
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("windows[%d].windows[%d]: %v", i, j, err))
				continue
			}
			want = append(want, definitions.Window{Collection: d.ID, Window: w})
		}
	}
	if n := len(wrong); n > 0 {
		if n > maxWrong {
			wrong = append(slices.Clip(wrong[:maxWrong]), fmt.Sprintf("and %d more", n-maxWrong))
		}
		return nil, badRequest(titleWindows, "%s.", strings.Join(wrong, "; "))
	}
	return want, nil
}

// windowChange needs no view: the event has both.
func windowChange(p *event.WindowChanged) *Change {
	return &Change{Of: fmt.Sprintf("maintenance window %q of collection %s", p.Name, p.Collection), Before: rawJSON(p.Before), After: rawJSON(p.After)}
}
