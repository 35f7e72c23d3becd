package console_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// fleet is what the views hold: tests fill it. It is all readers at once, each in
// a type of its own below.
type fleet struct {
	mu         sync.Mutex
	err        error // of every read
	devices    map[uint32]device.Device
	presence   map[uint32]presence.Row
	changes    map[uint32][]presence.Change
	pending    map[uint32][]task.ID
	operations map[task.ID]operation.Operation
	states     map[task.ID][]operation.DeviceState
	history    map[task.ID][]operation.Entry
	waves      map[task.ID][]operation.Members
	open       []operation.Open
	cancels    []operation.Cancel
	messages   []status.Message
	listeners  []status.Listener
	bad        []status.Quarantined
	views      []projectors.Status
	waited     uint64       // the last event that was waited for
	onWait     func() error // what a wait does
	rebuilt    projectors.Result
	onReplace  func(context.Context) // what happens while a generation is replaced
}

func newFleet() *fleet {
	return &fleet{
		devices: map[uint32]device.Device{}, presence: map[uint32]presence.Row{},
		operations: map[task.ID]operation.Operation{}, states: map[task.ID][]operation.DeviceState{}, history: map[task.ID][]operation.Entry{},
		waves: map[task.ID][]operation.Members{},
		views: []projectors.Status{{Name: "device", Generation: 1, Position: 5}, {Name: "operation", Generation: 2, Position: 3, Lag: 2}},
	}
}

func (f *fleet) add(number uint32, name string, online bool) device.Device {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := device.Device{Number: number, ID: task.NewRandomID(), Name: name, OS: "linux", Arch: "amd64", Agent: "0.1.0", Joined: start, Event: uint64(number),
		Facts: []event.Fact{{Name: "os.version", Value: "12.11"}}}
	f.devices[number] = d
	f.presence[number] = presence.Row{Device: number, Online: online, Reason: event.SignedIn, Carrier: event.TCP, Since: start, Listener: "SITE01", Event: 2}
	if !online {
		f.presence[number] = presence.Row{Device: number, Reason: event.Closed, Carrier: event.TCP, Since: start, Listener: "SITE01", Event: 2}
	}
	return d
}

// fail makes every read fail with err.
func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

type deviceReader struct{ *fleet }

func (f deviceReader) Get(number uint32) (device.Device, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.devices[number]
	return d, ok && f.err == nil, f.err
}

func (f deviceReader) Find(word string) (found []device.Device, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(f.devices)) {
		if d := f.devices[n]; strings.EqualFold(d.Name, word) || d.ID.String() == word {
			found = append(found, d)
		}
	}
	return found, f.err
}

func (f deviceReader) List(after uint32, limit int) (all []device.Device, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(f.devices)) {
		if n > after && len(all) < limit {
			all = append(all, f.devices[n])
		}
	}
	return all, f.err
}

func (f deviceReader) Numbers() (*roaring.Bitmap, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return roaring.BitmapOf(slices.Collect(maps.Keys(f.devices))...), f.err
}

func (f deviceReader) Count() (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.devices)), f.err
}

func (f deviceReader) Removed() (*roaring.Bitmap, error) { return roaring.New(), nil }

type presenceReader struct{ *fleet }

func (f presenceReader) Get(number uint32) (presence.Row, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.presence[number]
	return r, ok && f.err == nil, f.err
}

func (f presenceReader) List(after uint32, limit int) (rows []presence.Row, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(f.presence)) {
		if n > after && len(rows) < limit {
			rows = append(rows, f.presence[n])
		}
	}
	return rows, f.err
}

func (f presenceReader) History(number uint32) ([]presence.Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes[number], f.err
}

func (f presenceReader) Online() *roaring.Bitmap {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := roaring.New()
	for n, r := range f.presence {
		if r.Online {
			b.Add(n)
		}
	}
	return b
}

type operationReader struct{ *fleet }

func (f operationReader) Get(id task.ID) (operation.Operation, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.operations[id]
	return o, ok && f.err == nil, f.err
}

func (f operationReader) List(before task.ID, limit int) (all []operation.Operation, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(f.operations), func(a, b task.ID) int { return bytes.Compare(b[:], a[:]) })
	for _, id := range ids {
		if (before.IsZero() || bytes.Compare(id[:], before[:]) < 0) && len(all) < limit {
			all = append(all, f.operations[id])
		}
	}
	return all, f.err
}

func (f operationReader) Device(id task.ID, number uint32) (operation.DeviceState, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.states[id] {
		if s.Device == number {
			return s, true, f.err
		}
	}
	return operation.DeviceState{}, false, f.err
}

func (f operationReader) Devices(id task.ID, state task.State, after uint32, limit int) (all []operation.DeviceState, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.states[id] {
		if s.Device > after && (state == task.NoState || state == s.State) && len(all) < limit {
			all = append(all, s)
		}
	}
	return all, f.err
}

func (f operationReader) InStates(id task.ID, states ...task.State) (*roaring.Bitmap, uint64, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := roaring.New()
	for _, s := range f.states[id] {
		if slices.Contains(states, s.State) {
			in.Add(s.Device)
		}
	}
	_, ok := f.operations[id]
	return in, 3, ok, f.err
}

func (f operationReader) Waves(id task.ID) ([]operation.Members, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waves[id], f.err
}

func (f operationReader) Open() ([]operation.Open, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open, 0, f.err
}

func (f operationReader) Cancels() ([]operation.Cancel, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cancels, f.err
}

func (f operationReader) Pending(number uint32) ([]task.ID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pending[number], f.err
}

func (f operationReader) History(id task.ID) ([]operation.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.history[id], f.err
}

type statusReader struct{ *fleet }

func (f statusReader) Messages(before uint64, limit int, only ...event.Severity) (all []status.Message, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.messages {
		if (before == 0 || m.Event < before) && (len(only) == 0 || slices.Contains(only, m.Severity)) && len(all) < limit {
			all = append(all, m)
		}
	}
	return all, f.err
}

func (f statusReader) Listeners() ([]status.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listeners, f.err
}

func (f statusReader) Quarantined() ([]status.Quarantined, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.bad), f.err
}

type views struct{ *fleet }

func (f views) Status() []projectors.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.views)
}

func (f views) Wait(_ context.Context, number uint64, _ ...string) error {
	f.mu.Lock()
	f.waited = number
	onWait := f.onWait
	f.mu.Unlock()
	if onWait != nil {
		return onWait()
	}
	return nil
}

func (f views) Rebuild(ctx context.Context, name string, progress func(projectors.Progress)) (projectors.Result, error) {
	progress(projectors.Progress{Done: 1, Total: 2})
	return f.replace(ctx)
}

func (f views) Rollback(ctx context.Context, _ string) (projectors.Result, error) {
	return f.replace(ctx)
}

func (f views) replace(ctx context.Context) (projectors.Result, error) {
	f.mu.Lock()
	onReplace := f.onReplace
	f.mu.Unlock()
	if onReplace != nil {
		onReplace(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rebuilt, f.err
}

func (f views) At(_ context.Context, number uint64) (*projectors.Past, error) {
	return nil, fmt.Errorf("read views as of event %d: %w", number, projectors.ErrClosed)
}

func (f views) Digest(name string) (uint64, [32]byte, error) {
	if name != "device" {
		return 0, [32]byte{}, projectors.ErrNoView
	}
	return 5, [32]byte{0xab}, nil
}

// box is the inbox: files that were put aside, by name.
type box struct {
	mu    sync.Mutex
	files map[string]bool
	err   error
}

func (b *box) Requeue(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if !b.files[name] {
		return fs.ErrNotExist
	}
	delete(b.files, name)
	return nil
}
