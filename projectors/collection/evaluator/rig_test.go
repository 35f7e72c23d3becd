package evaluator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// patience is how long the tests wait, in fake or real time, for what must happen.
const patience = 30 * time.Second

// world is both views, as far as the evaluator reads them. It is a fold of the
// journal, so it never lags.
type world struct {
	mu       sync.Mutex
	schema   *schema.Schema
	devices  map[uint32]schema.Row // of SMS_R_System
	known    map[string]*evaluator.Known
	cycle    uint64
	position uint64
	failing  error // what reads of devices return
	reads    int   // devices that were read one by one
}

func newWorld() *world {
	return &world{schema: schema.Standard(), devices: map[uint32]schema.Row{},
		known: map[string]*evaluator.Known{event.RootCollection: {ID: event.RootCollection, Members: roaring.New()}}}
}

func (w *world) Apply(e *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.position = e.Number
	switch p := e.Payload.(type) {
	case *event.DevicesImported:
		for i := range p.Devices {
			w.put(&p.Devices[i])
		}
	case *event.DeviceRemoved:
		delete(w.devices, p.Device)
	case *event.ClassesDefined:
		var classes []schema.Class
		for _, c := range p.Classes {
			class := schema.Class{Name: c.Name}
			for _, q := range c.Properties {
				class.Properties = append(class.Properties, schema.Property{Name: q.Name, Type: schema.Text, Key: q.Key})
			}
			classes = append(classes, class)
		}
		s, err := w.schema.Extend(classes)
		if err != nil {
			panic(err)
		}
		w.schema = s
	case *event.CollectionChanged:
		if p.ID == "" || p.ID == event.RootCollection {
			return
		}
		if p.After == nil {
			delete(w.known, p.ID)
			return
		}
		k := w.known[p.ID]
		if k == nil {
			k = &evaluator.Known{ID: p.ID, Members: roaring.New()}
			w.known[p.ID] = k
		}
		k.Definition, k.Defined = p.After, e.Number
	case *event.CollectionsEvaluated:
		w.evaluated(e, p)
	}
}

func (w *world) put(d *event.ImportedDevice) {
	class, _ := w.schema.Class(schema.System)
	row := slices.Clone(w.devices[d.Device])
	if row == nil {
		row = make(schema.Row, len(class.Properties))
	}
	for _, c := range d.Classes {
		for _, p := range c.Rows[0].Properties {
			at, ok := class.Property(p.Name)
			if !ok {
				panic(p.Name)
			}
			row[at] = schema.Value{Set: p.Value.Type != event.NoValue, Text: p.Value.Text, Number: p.Value.Number}
		}
	}
	w.devices[d.Device] = row
}

func (w *world) evaluated(e *event.Event, p *event.CollectionsEvaluated) {
	w.cycle = max(w.cycle, p.Cycle)
	for _, r := range p.Results {
		k := w.known[r.ID]
		if k == nil {
			continue
		}
		added, err := event.ParseSet(r.Added)
		removed, err2 := event.ParseSet(r.Removed)
		if err != nil || err2 != nil {
			panic(errors.Join(err, err2))
		}
		raced := k.Defined > p.Basis // the result is of what was there before
		if !raced && (added.Intersects(k.Members) || !roaring.AndNot(removed, k.Members).IsEmpty()) {
			panic(fmt.Sprintf("event %d changes what is so in collection %s: +%v -%v of %v", e.Number, r.ID, added.ToArray(), removed.ToArray(), k.Members.ToArray()))
		}
		k.Members = roaring.AndNot(roaring.Or(k.Members, added), removed)
		if !raced && uint64(r.Members) != k.Members.GetCardinality() {
			panic(fmt.Sprintf("event %d says that collection %s has %d members, but it has %d", e.Number, r.ID, r.Members, k.Members.GetCardinality()))
		}
		if !added.IsEmpty() || !removed.IsEmpty() {
			k.Changed = e.Number
		}
		k.Evaluated, k.Basis, k.Began = e.Number, p.Basis, p.Started
	}
}

func (w *world) inventory(read func(evaluator.Devices) error) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing != nil {
		return 0, w.failing
	}
	return w.position, read(w)
}

func (w *world) collections() (all []evaluator.Known, cycle, position uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.known {
		all = append(all, *k)
	}
	return all, w.cycle, w.position, nil
}

func (w *world) Schema() *schema.Schema { return w.schema }

func (w *world) Record(device uint32) (*schema.Record, bool, error) {
	w.reads++
	row, ok := w.devices[device]
	if !ok {
		return nil, false, nil
	}
	return &schema.Record{Device: device, Classes: []schema.ClassRows{{Rows: []schema.Row{row}}}}, true, nil
}

func (w *world) Records(yield func(*schema.Record) (bool, error)) error {
	for _, device := range slices.Sorted(maps.Keys(w.devices)) {
		r, _, _ := w.Record(device)
		if more, err := yield(r); !more || err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Wait(context.Context, uint64, ...string) error { return nil }

func (w *world) members(id string) []uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := w.known[id]; k != nil {
		return k.Members.ToArray()
	}
	return nil
}

func (w *world) definitions() (all []*event.Collection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(w.known)) {
		if d := w.known[id].Definition; d != nil {
			all = append(all, d)
		}
	}
	return all
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = err
}

// rig is an evaluator over a journal and a world.
type rig struct {
	t        testing.TB
	j        *journaltest.Memory
	w        *world
	e        *evaluator.Evaluator
	settings evaluator.Settings
	refuse   func(engine.Request) error                // may be nil
	now      func() time.Time                          // may be nil
	through  func(evaluator.Journal) evaluator.Journal // may be nil
	stop     func() error

	mu       sync.Mutex
	messages []*event.SiteMessage
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, w: newWorld()}
	r.j = journaltest.NewMemory(journal.Options{Folds: []journal.Fold{r.w}})
	return r
}

// start runs an evaluator until stop.
func (r *rig) start() {
	j := evaluator.Journal(r.j)
	if r.through != nil {
		j = r.through(j)
	}
	r.e = evaluator.New(evaluator.Config{Journal: j, Inventory: r.w.inventory, Collections: r.w.collections, Views: r.w, Notify: func(m *event.SiteMessage) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.messages = append(r.messages, m)
	}, Settings: r.settings, Now: r.now, Log: slog.New(slog.DiscardHandler)})
	if r.refuse != nil {
		r.e.Refuse(r.refuse)
	}
	e := r.e
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
}

// in runs a test in a bubble with an evaluator that runs.
func in(t *testing.T, settings evaluator.Settings, test func(r *rig)) {
	t.Helper()
	inRefusing(t, settings, nil, test)
}

// inRefusing is in with an engine that refuses evaluations.
func inRefusing(t *testing.T, settings evaluator.Settings, refuse func(engine.Request) error, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.settings, r.refuse = settings, refuse
		r.start()
		synctest.Wait() // it has begun
		test(r)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if err := r.j.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (r *rig) append(payloads ...event.Payload) uint64 {
	r.t.Helper()
	events := make([]*event.Event, len(payloads))
	for i, p := range payloads {
		events[i] = &event.Event{Payload: p}
	}
	if err := r.j.Append(context.Background(), events...); err != nil {
		r.t.Fatal(err)
	}
	return events[len(events)-1].Number
}

// settle lets whatever follows within a second happen.
func (r *rig) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// named imports devices under names.
func named(name string, devices ...uint32) *event.DevicesImported {
	p := &event.DevicesImported{Source: "test"}
	for _, d := range devices {
		p.Devices = append(p.Devices, event.ImportedDevice{Device: d, Name: name, Classes: []event.ClassChange{{Class: schema.System,
			Rows: []event.RowChange{{Properties: []event.PropertyValue{{Name: "Name", Value: event.Value{Type: event.TextValue, Text: name}}}}}}}})
	}
	return p
}

// created imports a device with the date of its record.
func created(device uint32, at time.Time) *event.DevicesImported {
	return &event.DevicesImported{Devices: []event.ImportedDevice{{Device: device, Classes: []event.ClassChange{{Class: schema.System,
		Rows: []event.RowChange{{Properties: []event.PropertyValue{{Name: "CreationDate", Value: event.Value{Type: event.DateValue, Number: at.UnixMilli()}}}}}}}}}}
}

// An option changes a definition.
type option func(*event.Collection)

func limit(id string) option { return func(c *event.Collection) { c.Limit = id } }
func scheduled(text string) option {
	return func(c *event.Collection) { c.Schedule, c.Incremental = text, false }
}
func manual(c *event.Collection) { c.Incremental = false }
func include(id string) option {
	return func(c *event.Collection) { c.Include = append(c.Include, id) }
}
func exclude(id string) option {
	return func(c *event.Collection) { c.Exclude = append(c.Exclude, id) }
}
func called(name string) option { return func(c *event.Collection) { c.Name = name } }
func where(condition string) option {
	return func(c *event.Collection) {
		c.Queries = append(c.Queries, event.CollectionQuery{Name: "q", WQL: "select * from SMS_R_System where " + condition})
	}
}

// definition is of an incremental collection of all devices that the options leave.
func definition(id string, options ...option) *event.CollectionChanged {
	c := &event.Collection{ID: id, Name: id, Limit: event.RootCollection, Incremental: true}
	for _, o := range options {
		o(c)
	}
	return &event.CollectionChanged{ID: id, After: c}
}

func gone(id string) *event.CollectionChanged { return &event.CollectionChanged{ID: id} }

func (r *rig) expect(id string, want ...uint32) {
	r.t.Helper()
	if got := r.w.members(id); !slices.Equal(got, want) {
		r.t.Errorf("members of %s are %v, want %v", id, got, want)
	}
}

// A cycleSaid is a cycle as the journal has it, all its parts together.
type cycleSaid struct {
	event.CollectionsEvaluated
	event uint64
	at    time.Time
	ids   []string
}

func (c cycleSaid) String() string {
	return fmt.Sprintf("%s by %s %d: %v", c.Queue, c.Cause, c.By, c.ids)
}

// cycles returns those that the journal has behind an event.
func (r *rig) cycles(behind uint64) (all []cycleSaid) {
	r.t.Helper()
	reader, err := r.j.Read(context.Background(), 1)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	for {
		p, err := reader.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				r.t.Fatal(err)
			}
			c, ok := e.Payload.(*event.CollectionsEvaluated)
			if !ok || e.Number <= behind {
				continue
			}
			if c.Part == 1 {
				all = append(all, cycleSaid{CollectionsEvaluated: *c, event: e.Number, at: e.Accepted})
			}
			last := &all[len(all)-1]
			for _, result := range c.Results {
				last.ids = append(last.ids, result.ID)
			}
		}
	}
}

func (r *rig) head() uint64 { return r.j.Head().Event }

func (r *rig) said() []*event.SiteMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

func (r *rig) state(id string) evaluator.State {
	r.t.Helper()
	s, err := r.e.State(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) queue(q event.EvaluationQueue) evaluator.QueueState { return r.e.Queues()[q-1] }
