package console

import (
	"context"
	"errors"
	"io/fs"
	"reflect"
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/status"
)

func (c *Console) listComponents(ctx context.Context, in *readInput) (*out[ComponentList], error) {
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	rows, err := v.status.Listeners()
	if err != nil {
		return nil, c.failView(ctx, "list components", err)
	}
	messages, err := v.status.Messages(0, listStep)
	if err != nil {
		return nil, c.failView(ctx, "list components", err)
	}
	list := ComponentList{Items: []Component{}, Event: v.event}
	for i := range rows {
		shown := componentJSON(&rows[i])
		j := slices.IndexFunc(messages, func(m status.Message) bool { return m.Listener == shown.Name })
		if j >= 0 {
			last := messageJSON(&messages[j])
			shown.Last = &last
		}
		list.Items = append(list.Items, shown)
	}
	return answerAt(list, v.event)
}

func componentJSON(l *status.Listener) Component {
	shown := Component{
		Component: "listener", Name: l.Name, State: l.State.String(), Epoch: l.Epoch,
		Version: l.Version, Address: l.Address, Heard: instant(l.Heard),
	}
	switch l.State {
	case status.Granted:
		shown.Since = instant(l.Granted)
	case status.Started:
		shown.Since = instant(l.Started)
	case status.Stopped, status.Lost:
		shown.Since = instant(l.Ended)
	}
	return shown
}

type messagesInput struct {
	When
	Before   uint64 `query:"before" minimum:"0" doc:"only messages of events below this one"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Severity string `query:"severity" enum:"info,warning,error" doc:"only these"`
}

func (c *Console) listMessages(ctx context.Context, in *messagesInput) (*out[MessagePage], error) {
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	var only []event.Severity
	for _, s := range []event.Severity{event.Info, event.Warning, event.Error} {
		if s.String() == in.Severity {
			only = append(only, s)
		}
	}
	rows, err := v.status.Messages(in.Before, in.Limit, only...)
	if err != nil {
		return nil, c.failView(ctx, "list messages", err)
	}
	page := MessagePage{Items: []Message{}, Event: v.event}
	for i := range rows {
		page.Items = append(page.Items, messageJSON(&rows[i]))
	}
	if len(rows) == in.Limit {
		page.Next = rows[len(rows)-1].Event
	}
	return answerAt(page, v.event)
}

func messageJSON(m *status.Message) Message {
	return Message{m.Event, m.Accepted, m.Component, m.Number, m.Severity.String(), m.Device, m.Text}
}

func (c *Console) listCatalogue(context.Context, *struct{}) (*out[MessageCatalogue], error) {
	return answer(MessageCatalogue{Messages()})
}

func (c *Console) getInbox(ctx context.Context, in *readInput) (*out[InboxReply], error) {
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	rows, err := v.status.Quarantined()
	if err != nil {
		return nil, c.failView(ctx, "list quarantined files", err)
	}
	reply := InboxReply{Quarantined: []QuarantinedFile{}, Event: v.event}
	if reply.Stats = statsJSON(nil); !v.past { // counters are of now
		reply.Stats = statsJSON(c.cfg.InboxStats())
	}
	for i := range rows {
		reply.Quarantined = append(reply.Quarantined, quarantinedJSON(&rows[i]))
	}
	return answerAt(reply, v.event)
}

func quarantinedJSON(q *status.Quarantined) QuarantinedFile {
	shown := QuarantinedFile{Name: q.File, Reason: q.Reason, Size: q.Size, At: q.Accepted, Requeued: instant(q.Requeued), Event: q.Event}
	if q.Record {
		shown.Record = &q.Index
	}
	return shown
}

// statsJSON shows counters with names like those of everything else.
func statsJSON(stats any) any {
	if stats == nil {
		return struct{}{}
	}
	return plain(reflect.ValueOf(stats))
}

type requeueInput struct {
	Name string `path:"name" maxLength:"256"`
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key gets the same answer"`
}

// requeueFile says that the file goes back, and puts it back. The event comes
// first, for the inbox takes a file again only if an administrator said so; if
// the server ends between the two, the call is made again and finishes.
func (c *Console) requeueFile(ctx context.Context, in *requeueInput) (*out[Written], error) {
	const doing = "requeue the file"
	key, err := newOnceKey(actorOf(ctx), in.Key, "requeue "+in.Name, struct{}{})
	if err != nil {
		return nil, err
	}
	q, ok, err := c.now().quarantined(in.Name)
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	if !ok {
		return nil, notFound("There is no file %q in quarantine.", clip(in.Name))
	}
	written, _ := answerAt(Written{q.Event}, q.Event)
	said := !q.Requeued.IsZero()
	if !said || c.cfg.Writes.check(key) != nil {
		nothing := func() error { return nil }
		if written, err = c.write(ctx, key, doing, &event.FileRequeued{Name: in.Name}, nothing); err != nil {
			return nil, err
		}
	}
	switch err := c.cfg.Inbox.Requeue(ctx, in.Name); {
	case err == nil:
		return written, nil
	case errors.Is(err, fs.ErrNotExist) && said && key.key == "":
		return nil, conflict("The file %q was put back already.", clip(in.Name))
	case errors.Is(err, fs.ErrNotExist) && said:
		return written, nil
	case errors.Is(err, fs.ErrExist):
		return nil, conflict("The file %q cannot go back while another of its name waits.", clip(in.Name))
	case errors.Is(err, fs.ErrNotExist):
		return nil, notFound("The file %q is not in the quarantine folder any more.", clip(in.Name))
	default:
		return nil, c.fail(ctx, doing, err)
	}
}

// quarantined returns the newest row of a file of that name.
func (v *reading) quarantined(name string) (q status.Quarantined, ok bool, err error) {
	rows, err := v.status.Quarantined()
	for i := range rows {
		if rows[i].File == name && !rows[i].Record {
			return rows[i], true, err
		}
	}
	return q, false, err
}
