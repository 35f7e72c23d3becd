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
	Priority   uint8      // order in the send queues: 1 before 2 before 3
	Durable    bool       // also in the policy of its targets
	Pacing     event.Pacing
	Released   uint32 // targets that were let go: all, unless the operation is paced
	Waves      []Wave // that were released, in order
	Cancelled  bool
	Stopped    bool
	Expired    bool
	Closed     bool
	Cancel     Cut     // what the cancel ended, zero without one
	Stop       Stop    // what the site's stop ended, and why, zero without one
	RetryOf    task.ID // the operation that this one repeats, or zero
	Last       uint64  // the last event that changed it

	ends [4]end
}

// A Wave is a part of a paced operation's targets that was let go.
type Wave struct {
	Number      uint32 // from 1
	Event       uint64 // that released it
	At          time.Time
	Spread      time.Duration // over which it is sent
	Last        bool          // no further one follows
	Count       uint32        // targets
	Online      uint32        // of them those that were online at the release
	OnlineFinal uint32        // of these, those that have reported an end
	Final       uint32        // of all, those that have reported an end
	Failed      uint32        // of these, those that failed or ran out of time
}

// Settled tells whether every device that was online at the release has reported
// its end.
func (w *Wave) Settled() bool { return w.OnlineFinal == w.Online }

// A Cut is what a cancel or a stop found and ended.
type Cut struct {
	Event   uint64 // that said it, 0 if nothing did
	At      time.Time
	Reason  string
	Running uint32 // targets that had begun and went on
	Ended   uint32 // targets that had reported an end
	Spared  uint32 // targets that had not begun, and are cancelled
}

// A Stop is the [Cut] by the site itself, and the counts that made it stop.
type Stop struct {
	Cut
	Wave   uint32 // that was under way
	Failed uint32 // failed or timed out
	Final  uint32 // of so many that had ended
	Limit  uint8  // percent
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
	stopped
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

// Reported returns how many targets have reported an end themselves.
func (o *Operation) Reported() uint32 {
	return o.States[task.Succeeded] + o.States[task.Failed] + o.States[task.Refused] + o.States[task.TimedOut] + o.States[task.NotApplicable]
}

// Faulty returns how many failed or ran out of time: what a stop on failure
// counts.
func (o *Operation) Faulty() uint32 { return o.States[task.Failed] + o.States[task.TimedOut] }

// Paced tells whether only those are sent the task whose wave was released.
func (o *Operation) Paced() bool { return !o.Pacing.IsZero() }

// Held returns how many targets wait for their wave.
func (o *Operation) Held() uint32 { return o.Count - o.Released }

// Done tells whether every target is final.
func (o *Operation) Done() bool { return o.Final() == o.Count }

// Open tells whether a listener may still hand out the task.
func (o *Operation) Open() bool {
	return !o.Cancelled && !o.Stopped && !o.Expired && !o.Closed && !o.Done()
}

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
	Deferred   time.Time // when it was put off last
	Deferral   string    // why, and until when
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
	case cancelled, stopped:
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
	cut := Cut{Event: e.Number, At: e.Accepted, Running: o.States[task.Running], Ended: o.Reported()}
	for _, s := range task.States {
		if to, ok := affects(which, s); ok {
			n := o.States[s]
			o.States[s] -= n
			o.States[to] += n
			cut.Spared += n
		}
	}
	switch which {
	case expired:
		o.Expired = true
	case cancelled:
		o.Cancelled, o.Cancel = true, cut
	case closed:
		o.Closed = true
	case stopped:
		o.Stopped, o.Stop.Cut = true, cut
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
	case r.State == task.Deferred:
		d.Deferred, d.Deferral = r.At, r.Detail
	case r.State == task.Running && d.Started.IsZero():
		d.Started = r.At
	case r.State.Final():
		d.Ended = r.At
	}
}
