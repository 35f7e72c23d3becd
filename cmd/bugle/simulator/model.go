package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A model reads the history as it grows and folds it in its own way, with maps
// and without a store: what the views must show. It also checks that the history
// says of files what is in them, once, and never changes behind it.
type model struct {
	w     *world
	head  journal.Head
	kinds []event.Kind // of every event, by number; 0 is no event
	about []task.ID    // the operation that an event requests or cancels

	orders  map[task.ID]*order
	keys    map[string]uint64 // idempotency keys and their events
	devices map[uint32]*known
	files   map[box.Name]*told
	aside   map[string]int // files that were quarantined, by name
	said    int            // status messages
	heard   map[uint32][]fact
}

// An order is an operation as the history requested it.
type order struct {
	task    task.Task
	event   uint64
	at      time.Time
	targets map[uint32]bool
	states  map[uint32]task.State
	ends    []task.State // what the site said of all targets, in order
	ended   time.Time    // the first of them
}

func (o *order) String() string { return "operation " + o.task.Operation.String() }

// again tells whether the kind may be started more than once.
func (o *order) again() bool {
	return o.task.Kind == "policy.machine" || o.task.Kind == "discovery.collect"
}

// known is a device as the history has it.
type known struct {
	name    string
	blocked bool
}

// A fact is what was last seen of a device, and when.
type fact struct {
	seen  time.Time
	facts map[string]string
}

// told is what the history has of one file.
type told struct {
	digest [32]byte
	of     int
	parts  map[int]bool
	rows   int // results, presence entries, status records, facts
	bad    int // records that were put aside
}

func (t *told) whole() bool { return len(t.parts) == t.of }

func newModel(w *world) *model {
	return &model{w: w, kinds: make([]event.Kind, 1), about: make([]task.ID, 1), orders: make(map[task.ID]*order),
		keys: make(map[string]uint64), devices: make(map[uint32]*known), files: make(map[box.Name]*told),
		aside: make(map[string]int), heard: make(map[uint32][]fact)}
}

// advance reads what is new. What was read before must be there, unchanged.
func (m *model) advance(j journal.Journal) error {
	ctx := context.Background()
	r, err := j.Read(ctx, max(m.head.Event, 1))
	if err != nil {
		return fmt.Errorf("the journal does not hold event %d, which it had: %w", m.head.Event, err)
	}
	defer r.Close()
	for first := true; ; first = false {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if first && m.head.Event > 0 {
			if p.Last() != m.head.Event || p.Hash != m.head.Hash {
				return fmt.Errorf("the page that ends with event %d is not the one that was there", m.head.Event)
			}
			continue
		}
		if err := m.page(p); err != nil {
			return err
		}
	}
}

func (m *model) page(p *journal.Page) error {
	for i := range p.Records {
		e, err := p.Records[i].Event()
		if err != nil {
			return err
		}
		if e.Number != uint64(len(m.kinds)) {
			return fmt.Errorf("event %d where event %d must be", e.Number, len(m.kinds))
		}
		m.kinds, m.about = append(m.kinds, e.Kind()), append(m.about, task.ID{})
		if err := m.take(e); err != nil {
			return fmt.Errorf("event %d, %s: %w", e.Number, e.Kind(), err)
		}
	}
	m.head = journal.Head{Event: p.Last(), Pages: m.head.Pages + 1, Hash: p.Hash}
	return nil
}

func (m *model) take(e *event.Event) error {
	if e.Key != "" {
		if was := m.keys[e.Key]; was != 0 {
			return fmt.Errorf("key %s was used by event %d", e.Key, was)
		}
		m.keys[e.Key] = e.Number
	}
	if e.Source != nil {
		if err := m.source(e); err != nil {
			return err
		}
	}
	switch p := e.Payload.(type) {
	case *event.DeviceJoined:
		m.devices[p.Device] = &known{name: p.Name}
	case *event.DeviceBlocked:
		m.devices[p.Device].blocked = true
	case *event.DeviceUnblocked:
		m.devices[p.Device].blocked = false
	case *event.DeviceDiscovered:
		m.discovered(e, p)
	case *event.OperationRequested:
		return m.requested(e, p)
	case *event.OperationCancelled:
		m.about[e.Number] = p.Operation
		m.end(e, p.Operation, task.Cancelled)
	case *event.OperationStopped:
		m.about[e.Number] = p.Operation
		m.end(e, p.Operation, task.Cancelled)
	case *event.OperationExpired:
		m.end(e, p.Operation, task.Expired)
	case *event.OperationClosed:
		m.end(e, p.Operation, task.Lost)
	case *event.ResultsReported:
		return m.results(p)
	case *event.FileQuarantined:
		m.aside[p.Name]++
	case *event.StatusMessage:
		m.said++
	}
	return nil
}

// source takes note that an event came of a file, which must be one that a
// listener dropped, in its own words.
func (m *model) source(e *event.Event) error {
	s := e.Source
	n := box.Name{Listener: s.Listener, Epoch: s.Epoch, Number: s.Number, Kind: box.Kind(s.File)}
	f := m.w.truth.file(n)
	if f == nil || f.digest != s.Digest {
		return fmt.Errorf("it is of %s, which no listener dropped with digest %x", n, s.Digest[:4])
	}
	t := m.files[n]
	if t == nil {
		t = &told{digest: s.Digest, of: int(s.Of), parts: make(map[int]bool)}
		m.files[n] = t
	}
	if t.parts[int(s.Part)] || int(s.Of) != t.of {
		return fmt.Errorf("part %d of %d of %s is in the history twice", s.Part, s.Of, n)
	}
	t.parts[int(s.Part)] = true
	t.count(e.Payload)
	if !t.whole() {
		return nil
	}
	if want := records(f.contents); t.rows+t.bad != want {
		return fmt.Errorf("the history has %d records of %s and %d were put aside, the file has %d", t.rows, n, t.bad, want)
	}
	return nil
}

func (t *told) count(p event.Payload) {
	switch p := p.(type) {
	case *event.ResultsReported:
		t.rows += len(p.Rows)
	case *event.PresenceSnapshot:
		t.rows += len(p.Entries)
	case *event.PresenceDelta:
		t.rows += len(p.Entries)
	case *event.DeviceDiscovered:
		t.rows += len(p.Facts)
	case *event.RecordQuarantined:
		t.bad++
		var more int
		if _, rest, ok := strings.Cut(p.Reason, "; "); ok {
			fmt.Sscanf(rest, "%d more records", &more)
		}
		t.bad += more
	default:
		t.rows++
	}
}

// records is how many there are in a file.
func records(c box.Contents) (n int) {
	d, ok := c.(*box.Discovery)
	if !ok {
		return c.Len()
	}
	for i := range d.Records {
		n += len(d.Records[i].Facts)
	}
	return n
}

func (m *model) requested(e *event.Event, p *event.OperationRequested) error {
	t, err := p.Task.Task()
	if err != nil {
		return err
	}
	if m.orders[t.Operation] != nil {
		return fmt.Errorf("operation %s is requested twice", t.Operation)
	}
	set := roaring.New()
	if err := set.UnmarshalBinary(p.Targets); err != nil {
		return err
	}
	o := &order{task: t, event: e.Number, at: e.Accepted, targets: make(map[uint32]bool), states: make(map[uint32]task.State)}
	for d := range roaring.Values(set) {
		o.targets[d], o.states[d] = true, task.Waiting
	}
	m.orders[t.Operation], m.about[e.Number] = o, t.Operation
	return nil
}

// end applies what the site says of all targets at once.
func (m *model) end(e *event.Event, id task.ID, to task.State) {
	o := m.orders[id]
	if o == nil {
		return
	}
	for _, said := range o.ends {
		if said == to {
			return
		}
	}
	if len(o.ends) == 0 {
		o.ended = e.Accepted
	}
	o.ends = append(o.ends, to)
	for d, s := range o.states {
		if covers(to, s) {
			o.states[d] = to
		}
	}
}

// covers tells whether an end changes a target at s.
func covers(end, s task.State) bool {
	switch end {
	case task.Expired:
		return s == task.Waiting || s == task.Sent
	case task.Cancelled:
		return s == task.Waiting || s == task.Sent || s == task.Delivered || s == task.Deferred
	}
	return s == task.Waiting || s == task.Sent || s == task.Delivered || s == task.Running || s == task.Deferred
}

// results applies reports, each of which its device must have made.
func (m *model) results(p *event.ResultsReported) error {
	for i := range p.Rows {
		r := &p.Rows[i].Result
		if r.State != task.Sent && r.Device != m.w.evil.machine.number && !m.w.truth.wasSaid(key{r.Operation, r.Device}, r.State) {
			return fmt.Errorf("device %d never said that operation %s is %s there", r.Device, r.Operation, r.State)
		}
		o := m.orders[r.Operation]
		if o == nil || !o.targets[r.Device] {
			continue
		}
		if s := o.states[r.Device]; leads(s, r.State) {
			o.states[r.Device] = r.State
		}
	}
	return nil
}

// leads tells whether a report of to is news to a target at from.
func leads(from, to task.State) bool {
	end := to == task.Succeeded || to == task.Failed || to == task.TimedOut || to == task.NotApplicable
	switch from {
	case task.Waiting:
		return true
	case task.Sent:
		return to != task.Sent
	case task.Delivered:
		return to == task.Running || to == task.Deferred || end || to == task.Refused
	case task.Running:
		return to == task.Deferred || end || to == task.Refused
	case task.Deferred:
		return to == task.Running || end || to == task.Refused
	case task.Expired, task.Cancelled:
		return end
	case task.Lost:
		return end || to == task.Refused
	}
	return false
}

func (m *model) discovered(e *event.Event, p *event.DeviceDiscovered) {
	f := fact{seen: e.Observed, facts: make(map[string]string)}
	for _, one := range p.Facts {
		f.facts[one.Name] = one.Value
	}
	m.heard[p.Device] = append(m.heard[p.Device], f)
}
