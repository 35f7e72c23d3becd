package operation

import (
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Grace is how long after deliver-by and run timeout an operation is closed.
const Grace = 10 * time.Minute

// An Operation is one act of an administrator and how far it has come.
type Operation struct {
	ID         task.ID
	Kind       string // such as scan.quick
	Params     []byte
	Target     string // what was asked for, in words
	Reason     string
	Actor      event.Actor
	Event      uint64    // that requested it
	Accepted   time.Time // by the journal
	Requested  time.Time // as the task says
	NotBefore  time.Time
	DeliverBy  time.Time
	RunTimeout time.Duration
	Count      uint32     // targets
	Online     uint32     // targets that were online at the request
	States     [14]uint32 // targets by [task.State]; they sum to Count
	Unsent     uint32     // targets of which there never was a report, whatever their state
	Received   uint32     // targets that acknowledged the task, or reported what comes later
	Cancelled  bool
	Expired    bool
	Closed     bool
	RetryOf    task.ID // the operation that this one repeats, or zero
	Last       uint64  // the last event that changed it

	ends [3]end
}

// An end is something that the site said of all targets at once.
type end struct {
	event uint64 // 0 if it was not said
	at    time.Time
}

// The ends of an operation, as indexes.
const (
	expired = iota
	cancelled
	closed
)

// Total returns the number of targets. Completed, Failed, Offline and Unknown
// sum to it.
func (o *Operation) Total() uint32 { return o.Count }

// Success returns how many targets acknowledged the task.
func (o *Operation) Success() uint32 { return o.Received }

// Completed returns how many succeeded or found that there was nothing to do.
func (o *Operation) Completed() uint32 {
	return o.States[task.Succeeded] + o.States[task.NotApplicable]
}

// Failed returns how many failed, refused or ran out of time.
func (o *Operation) Failed() uint32 {
	return o.States[task.Failed] + o.States[task.Refused] + o.States[task.TimedOut]
}

// Offline returns how many never were sent the task.
func (o *Operation) Offline() uint32 { return o.Unsent }

// Unknown returns how many are none of Completed, Failed and Offline.
func (o *Operation) Unknown() uint32 {
	return o.Count - o.Completed() - o.Failed() - o.Offline()
}

// Final returns how many targets are final.
func (o *Operation) Final() (n uint32) {
	for _, s := range task.States {
		if s.Final() {
			n += o.States[s]
		}
	}
	return n
}

// Done tells whether every target is final.
func (o *Operation) Done() bool { return o.Final() == o.Count }

// Open tells whether a listener may still hand out the task.
func (o *Operation) Open() bool { return !o.Cancelled && !o.Expired && !o.Closed && !o.Done() }

// A DeviceState is where one device stands in one operation. The times are by
// the clock of whoever saw the change: listener, agent or site.
type DeviceState struct {
	Device     uint32
	State      task.State
	WasOffline bool  // at the request
	Attempt    uint8 // 0 before the first report of the agent
	Code       int32
	Detail     string
	Sent       time.Time
	Delivered  time.Time
	Started    time.Time
	Ended      time.Time
	Event      uint64    // the last event that changed it
	Visible    time.Time // when the journal accepted that event
}

// affects tells whether an end changes a device at s, and to what.
func affects(which int, s task.State) (to task.State, ok bool) {
	switch which {
	case expired:
		return task.Expired, s == task.Waiting || s == task.Sent
	case cancelled:
		return task.Cancelled, s == task.Waiting || s == task.Sent || s == task.Delivered || s == task.Deferred
	case closed:
		return task.Lost, !s.Final()
	}
	return s, false
}

// settle applies to d what the site said of all targets after d's last report.
func (o *Operation) settle(d *DeviceState) {
	for {
		which := -1 // the first end behind d
		for i, e := range o.ends {
			if e.event > d.Event && (which < 0 || e.event < o.ends[which].event) {
				if _, ok := affects(i, d.State); ok {
					which = i
				}
			}
		}
		if which < 0 {
			return
		}
		e := o.ends[which]
		d.State, _ = affects(which, d.State)
		d.Event, d.Visible, d.Ended = e.event, e.at, e.at
	}
}

// say applies an end to the counts; ok is false if it was said before.
func (o *Operation) say(which int, e *event.Event) (ok bool) {
	if o.ends[which].event != 0 {
		return false
	}
	o.ends[which] = end{e.Number, e.Accepted}
	o.Last = e.Number
	switch which {
	case expired:
		o.Expired = true
	case cancelled:
		o.Cancelled = true
	case closed:
		o.Closed = true
	}
	for _, s := range task.States {
		if to, ok := affects(which, s); ok {
			n := o.States[s]
			o.States[s] -= n
			o.States[to] += n
		}
	}
	return true
}

// A device is a [DeviceState] as it is stored, before [Operation.settle].
type device struct {
	DeviceState
	received bool // an agent reported
}

// move applies the report r to d; first tells that it is the device's first. ok
// is false if the report changes nothing.
func (o *Operation) move(d *device, r *task.Result, first bool, e *event.Event) (ok bool) {
	if r.State != task.Sent && !r.State.FromAgent() || !r.State.Follows(d.State) {
		return false
	}
	o.States[d.State]--
	o.States[r.State]++
	if first {
		o.Unsent--
	}
	if !d.received && r.State.FromAgent() {
		d.received = true
		o.Received++
	}
	o.Last = e.Number
	d.report(r)
	d.Event, d.Visible = e.Number, e.Accepted
	return true
}

// report takes over what a report says.
func (d *device) report(r *task.Result) {
	d.State, d.Code, d.Detail = r.State, r.Code, r.Detail
	if r.State.FromAgent() {
		d.Attempt = max(d.Attempt, r.Attempt)
	}
	switch {
	case r.State == task.Sent:
		d.Sent = r.At
	case r.State == task.Delivered:
		d.Delivered = r.At
	case r.State == task.Running && d.Started.IsZero():
		d.Started = r.At
	case r.State.Final():
		d.Ended = r.At
	}
}
