package console

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// maxTraced is how many devices one trace shows.
const maxTraced = 500

type historyInput struct {
	OperationInput
	After uint64 `query:"after" minimum:"0" doc:"only events behind this one"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"100"`
}

// getHistory shows the events that touched an operation.
func (c *Console) getHistory(ctx context.Context, in *historyInput) (*out[EventPage], error) {
	v, o, err := c.operation(ctx, &in.OperationInput)
	if err != nil {
		return nil, err
	}
	entries, err := v.operations.History(o.ID)
	if err != nil {
		return nil, c.failView(ctx, "read the operation's history", err)
	}
	page := EventPage{Items: []Event{}, Event: v.event}
	for _, entry := range entries {
		if entry.Event <= in.After {
			continue
		}
		if len(page.Items) == in.Limit {
			page.Next = page.Items[in.Limit-1].Number
			break
		}
		e, err := c.event(ctx, entry.Event)
		if err != nil {
			return nil, c.fail(ctx, "read the operation's history", err)
		}
		page.Items = append(page.Items, eventJSON(e))
	}
	return answerAt(page, v.event)
}

type traceInput struct {
	OperationInput
	Device string `query:"device" maxLength:"256" doc:"only this device, by number, id or name"`
}

// getTrace shows the life of an operation: what the site did, then every device
// step by step.
func (c *Console) getTrace(ctx context.Context, in *traceInput) (*out[TraceReply], error) {
	v, o, err := c.operation(ctx, &in.OperationInput)
	if err != nil {
		return nil, err
	}
	rows, cut, err := v.traced(&o, in.Device)
	if err != nil {
		return nil, c.failView(ctx, "trace the operation", err)
	}
	reply := TraceReply{Operation: o.ID.String(), Kind: o.Kind, Event: v.event, Cut: cut}
	reply.Steps = append(reply.Steps,
		TraceStep{At: o.Requested, What: "requested", Detail: o.Actor.Subject},
		TraceStep{At: o.Accepted, What: "accepted", Event: o.Event, HopMS: hop(o.Requested, o.Accepted), Detail: how(&o)})
	waves, err := v.operations.Waves(o.ID)
	if err != nil {
		return nil, c.failView(ctx, "trace the operation", err)
	}
	for i := range waves {
		if in.Device == "" || waves[i].Devices.Contains(rows[0].Device) {
			reply.Steps = append(reply.Steps, releaseStep(&o, waves, i))
		}
	}
	for i := range rows {
		name, err := v.nameOf(rows[i].Device)
		if err != nil {
			return nil, c.failView(ctx, "trace the operation", err)
		}
		reply.Steps = append(reply.Steps, stepsOf(&o, &rows[i], name, begins(&o, waves, rows[i].Device))...)
	}
	ends, err := v.endsOf(&o)
	if err != nil {
		return nil, c.failView(ctx, "trace the operation", err)
	}
	reply.Steps = append(reply.Steps, ends...)
	return answerAt(reply, v.event)
}

func (v *reading) traced(o *operation.Operation, word string) (rows []operation.DeviceState, cut bool, err error) {
	if word == "" {
		rows, err = v.operations.Devices(o.ID, task.NoState, 0, maxTraced+1)
		if len(rows) > maxTraced {
			return rows[:maxTraced], true, err
		}
		return rows, false, err
	}
	d, err := v.findDevice(word)
	if err != nil {
		return nil, false, err
	}
	row, ok, err := v.operations.Device(o.ID, d.Number)
	if err == nil && !ok {
		err = notFound("Device %d (%s) is no target of operation %s.", d.Number, clip(d.Name), o.ID)
	}
	return []operation.DeviceState{row}, false, err
}

// how says in words how an operation goes out.
func how(o *operation.Operation) string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if o.NotBefore.After(o.Requested) {
		add("not before %s", o.NotBefore.Format(time.RFC3339))
	}
	if o.Paced() {
		add("in waves")
	}
	if o.Durable {
		add("also by policy")
	}
	if !o.RetryOf.IsZero() {
		add("a retry of operation %s", o.RetryOf)
	}
	return strings.Join(words, ", ")
}

// releaseStep is the release of a wave, with the time since the one before it or
// not-before.
func releaseStep(o *operation.Operation, waves []operation.Members, i int) TraceStep {
	w, from := &waves[i], o.NotBefore
	if i > 0 {
		from = waves[i-1].At
	}
	detail := fmt.Sprintf("wave %d: %d devices, %d of them online", w.Number, w.Count, w.Online)
	if w.Spread > 0 {
		detail += fmt.Sprintf(", spread over %s", w.Spread)
	}
	return TraceStep{At: w.At, What: "released", Event: w.Event, HopMS: hop(from, w.At), Detail: detail}
}

// begins is when a device may be sent the task: at the release of its wave, else
// from the request or not-before on, whichever is later.
func begins(o *operation.Operation, waves []operation.Members, device uint32) time.Time {
	for i := range waves {
		if waves[i].Devices.Contains(device) {
			return waves[i].At
		}
	}
	if o.NotBefore.After(o.Requested) {
		return o.NotBefore
	}
	return o.Requested
}

// stepsOf are the steps of one device in the order of its states, whatever their
// times: an agent's estimate of the site's time may lag the listener's clock by
// a round trip. Each hop is from the latest step before it, the first from begin.
func stepsOf(o *operation.Operation, s *operation.DeviceState, name string, begin time.Time) []TraceStep {
	var steps []TraceStep
	add := func(at time.Time, what, detail string, number uint64) {
		if !at.IsZero() {
			steps = append(steps, TraceStep{At: at, What: what, Device: s.Device, Name: name, Event: number, Detail: detail})
		}
	}
	add(s.Sent, task.Sent.String(), "", 0)
	add(s.Delivered, task.Delivered.String(), carried(o, s), 0)
	if !s.Started.IsZero() && s.Deferred.After(s.Started) { // it began, and was put off
		add(s.Started, task.Running.String(), "", 0)
		add(s.Deferred, task.Deferred.String(), s.Deferral, 0)
	} else {
		add(s.Deferred, task.Deferred.String(), s.Deferral, 0)
		add(s.Started, task.Running.String(), "", 0)
	}
	add(s.Ended, s.State.String(), s.Detail, 0)
	add(s.Visible, "visible", s.State.String(), s.Event)
	if len(steps) == 0 {
		return []TraceStep{{At: o.Accepted, What: s.State.String(), Device: s.Device, Name: name}}
	}
	before := begin
	for i := range steps {
		steps[i].HopMS = hop(before, steps[i].At)
		if steps[i].At.After(before) {
			before = steps[i].At
		}
	}
	return steps
}

// carried says how a device got the task, if that was not over the channel: one
// that no listener has sent came by policy.
func carried(o *operation.Operation, s *operation.DeviceState) string {
	if o.Durable && s.Sent.IsZero() {
		return "by policy"
	}
	return ""
}

func hop(from, to time.Time) float64 { return milliseconds(max(to.Sub(from), 0)) }

// endsOf are what the site and administrators said of all targets at once.
func (v *reading) endsOf(o *operation.Operation) ([]TraceStep, error) {
	if !o.Cancelled && !o.Stopped && !o.Expired && !o.Closed {
		return nil, nil
	}
	entries, err := v.operations.History(o.ID)
	if err != nil {
		return nil, err
	}
	var ends []TraceStep
	for _, entry := range entries {
		step := TraceStep{At: entry.Accepted, Event: entry.Event, HopMS: hop(o.Requested, entry.Accepted)}
		switch entry.Kind {
		case event.KindOperationCancel:
			step.What, step.Detail = "cancelled", found(&o.Cancel)
		case event.KindOperationStopped:
			step.What, step.Detail = "stopped", found(&o.Stop.Cut)
		case event.KindOperationExpired:
			step.What = "expired"
		case event.KindOperationClosed:
			step.What = "closed"
		default:
			continue
		}
		ends = append(ends, step)
	}
	return ends, nil
}

// found says why a cancel or a stop was, and what it found.
func found(c *operation.Cut) string {
	counts := fmt.Sprintf("%d had ended, %d had begun and went on, %d had not begun", c.Ended, c.Running, c.Spared)
	if c.Reason == "" {
		return counts
	}
	return c.Reason + "; " + counts
}
