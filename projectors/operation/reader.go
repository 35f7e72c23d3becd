package operation

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

// Bounds of what one read returns.
const (
	MaxHistory = 10_000 // entries, the first ones
	MaxDue     = 1000   // operations of each sort, the earliest ones
)

// An Open is an operation whose task may still be handed out. Nobody changes
// what it holds.
type Open struct {
	ID      task.ID
	Event   uint64 // that requested it
	Signed  task.Signed
	Targets *roaring.Bitmap
	Final   *roaring.Bitmap // targets that have reported finally

	Priority  uint8
	Durable   bool
	DeliverBy time.Time
	Held      bool            // only those in Waves are sent the task
	Released  *roaring.Bitmap // who is in Waves; all targets if it is not held
	Waves     []Members
}

// An Entry is an event that changed an operation.
type Entry struct {
	Event    uint64
	Kind     event.Kind
	Accepted time.Time
}

// Ignored counts what the journal says and the view did not take.
type Ignored struct {
	Operations uint64 // requests that cannot be read or repeat an id; ends of operations that nobody requested
	Reports    uint64 // of operations that nobody requested
	Devices    uint64 // reports of devices that are no targets
	Late       uint64 // reports that do not follow what was known
}

// A Reader reads the view. It is safe for concurrent use.
type Reader struct{ view projectors.Source }

// At returns the reader of the view as of one event.
func At(past *projectors.Past) *Reader { return &Reader{past.View(name)} }

// At runs read and returns the number of the event that all it saw was after:
// several reads in it see the same operations.
func (r *Reader) At(read func(*Snapshot) error) (position uint64, err error) {
	err = r.view.Read(func(s *projectors.Snapshot) error {
		position = s.Position()
		return read(&Snapshot{s})
	})
	return position, err
}

// Get returns an operation; ok is false if there is none with this id.
func (r *Reader) Get(id task.ID) (o Operation, ok bool, err error) {
	_, err = r.At(func(s *Snapshot) error {
		o, ok, err = s.Get(id)
		return err
	})
	return o, ok, err
}

// List returns at most limit operations, newest first, whose ids are below
// before; the zero id begins with the newest.
func (r *Reader) List(before task.ID, limit int) (all []Operation, err error) {
	_, err = r.At(func(s *Snapshot) error {
		all, err = s.List(before, limit)
		return err
	})
	return all, err
}

// Devices returns at most limit targets of an operation with numbers above
// after, in order: those at state, or all if it is [task.NoState].
func (r *Reader) Devices(id task.ID, state task.State, after uint32, limit int) (all []DeviceState, err error) {
	_, err = r.At(func(s *Snapshot) error {
		all, err = s.Devices(id, state, after, limit)
		return err
	})
	return all, err
}

// Device returns where one device stands; ok is false if it is no target.
func (r *Reader) Device(id task.ID, number uint32) (d DeviceState, ok bool, err error) {
	_, err = r.At(func(s *Snapshot) error {
		d, ok, err = s.Device(id, number)
		return err
	})
	return d, ok, err
}

// Open returns the operations whose task may still be handed out, in the order of
// their requests, and the event that this was after.
func (r *Reader) Open() (open []Open, position uint64, err error) {
	position, err = r.At(func(s *Snapshot) error {
		open = s.Open()
		return nil
	})
	return open, position, err
}

// Cancels returns what agents may have to be told of operations that were
// cancelled or stopped.
func (r *Reader) Cancels() (cancels []Cancel, err error) {
	_, err = r.At(func(s *Snapshot) error {
		cancels = s.Cancels()
		return nil
	})
	return cancels, err
}

// History returns the events that changed an operation, in order.
func (r *Reader) History(id task.ID) (all []Entry, err error) {
	_, err = r.At(func(s *Snapshot) error {
		all, err = s.History(id)
		return err
	})
	return all, err
}

// Due returns for which operations deliver-by has passed and for which the time
// to close them has come, in the order of these times. An operation that is done
// is not among them.
func (r *Reader) Due(now time.Time) (expire, close []task.ID, err error) {
	_, err = r.At(func(s *Snapshot) error {
		expire, close, err = s.Due(now)
		return err
	})
	return expire, close, err
}

// Pending returns the open operations that device is a target of and has not
// reported finally, in the order of their requests.
func (r *Reader) Pending(device uint32) (ids []task.ID, err error) {
	_, err = r.At(func(s *Snapshot) error {
		for _, o := range s.Open() {
			if o.Targets.Contains(device) && !o.Final.Contains(device) {
				ids = append(ids, o.ID)
			}
		}
		return nil
	})
	return ids, err
}

// Paced returns the open operations that go out by waves, in the order of their
// requests.
func (r *Reader) Paced() (paced []Paced, err error) {
	_, err = r.At(func(s *Snapshot) error {
		paced = s.s.State().(*published).paced
		return nil
	})
	return paced, err
}

// Waves returns who is in the waves of an operation that were released, in order.
func (r *Reader) Waves(id task.ID) (waves []Members, err error) {
	_, err = r.At(func(s *Snapshot) error {
		waves, err = s.Waves(id)
		return err
	})
	return waves, err
}

// InStates returns the targets of an operation that are at one of the states, and
// the event that this was after; ok is false if there is no such operation.
func (r *Reader) InStates(id task.ID, states ...task.State) (devices *roaring.Bitmap, event uint64, ok bool, err error) {
	event, err = r.At(func(s *Snapshot) error {
		devices, ok, err = s.InStates(id, states...)
		return err
	})
	return devices, event, ok, err
}

// Ignored returns how much the view did not take.
func (r *Reader) Ignored() (i Ignored, err error) {
	_, err = r.At(func(s *Snapshot) error {
		i = s.s.State().(*published).ignored
		return nil
	})
	return i, err
}

// A Snapshot is the operations after one event.
type Snapshot struct{ s *projectors.Snapshot }

// Get is [Reader.Get].
func (s *Snapshot) Get(id task.ID) (o Operation, ok bool, err error) {
	var stored []byte
	ok, err = loadOperation(s.s.Get, id, &o, &stored)
	return o, ok, err
}

// List is [Reader.List].
func (s *Snapshot) List(before task.ID, limit int) (all []Operation, err error) {
	if limit <= 0 {
		return nil, nil
	}
	var from []byte
	if !before.IsZero() {
		from = idKey(prefixProgress, before)
	}
	err = s.s.Back([]byte{prefixProgress}, from, func(key, _ []byte) (bool, error) {
		id := task.ID(key[1:])
		if id == before {
			return true, nil
		}
		o, _, err := s.Get(id)
		all = append(all, o)
		return len(all) < limit, err
	})
	return all, err
}

// Device is [Reader.Device].
func (s *Snapshot) Device(id task.ID, number uint32) (DeviceState, bool, error) {
	st, err := load(s.s.Get, id)
	if err != nil || st == nil || !st.targets.Contains(number) {
		return DeviceState{}, false, err
	}
	d := st.begin(number)
	_, err = s.s.Get(deviceKey(id, number), func(v []byte) (err error) {
		d, err = decodeDevice(v)
		return err
	})
	st.op.settle(&d.DeviceState)
	return d.DeviceState, err == nil, err
}

// devicesAtOnce is for how many devices there is room before they are looked for.
const devicesAtOnce = 8192

// Devices is [Reader.Devices].
func (s *Snapshot) Devices(id task.ID, state task.State, after uint32, limit int) (all []DeviceState, err error) {
	st, err := load(s.s.Get, id)
	if err != nil || st == nil || limit <= 0 || after == 1<<32-1 || state > task.Lost {
		return nil, err
	}
	if state != task.NoState {
		limit = int(min(int64(limit), int64(st.op.States[state])))
	}
	if limit == 0 {
		return nil, nil
	}
	limit = int(min(int64(limit), int64(st.op.Count)))
	all = make([]DeviceState, 0, min(limit, devicesAtOnce))
	add := func(d device) {
		st.op.settle(&d.DeviceState)
		if state == task.NoState || state == d.State {
			all = append(all, d.DeviceState)
		}
	}
	targets := st.targets.Iterator()
	targets.AdvanceIfNeeded(after + 1)
	// fill adds the targets below number, of which nothing was reported.
	fill := func(number uint64) {
		for targets.HasNext() && uint64(targets.PeekNext()) < number && len(all) < limit {
			add(st.begin(targets.Next()))
		}
	}
	err = s.s.Scan(devicesKey(id), deviceKey(id, after+1), func(_, value []byte) (bool, error) {
		d, err := decodeDevice(value)
		if err != nil {
			return false, err
		}
		fill(uint64(d.Device))
		if len(all) < limit {
			add(d)
			targets.AdvanceIfNeeded(d.Device + 1)
		}
		return len(all) < limit, nil
	})
	fill(1 << 32)
	return all, err
}

// InStates is [Reader.InStates].
func (s *Snapshot) InStates(id task.ID, states ...task.State) (*roaring.Bitmap, bool, error) {
	st, err := load(s.s.Get, id)
	if err != nil || st == nil {
		return nil, false, err
	}
	in := roaring.New()
	silent := st.targets.Clone() // of whom nothing was reported
	add := func(d device) {
		st.op.settle(&d.DeviceState)
		if slices.Contains(states, d.State) {
			in.Add(d.Device)
		}
	}
	err = s.s.Scan(devicesKey(id), nil, func(_, value []byte) (bool, error) {
		d, err := decodeDevice(value)
		if err == nil {
			silent.Remove(d.Device)
			add(d)
		}
		return err == nil, err
	})
	if err != nil || silent.IsEmpty() {
		return in, true, err
	}
	d := st.begin(silent.Minimum())
	st.op.settle(&d.DeviceState)
	if slices.Contains(states, d.State) {
		in.Or(silent) // they all are where one is
	}
	return in, true, nil
}

// Waves is [Reader.Waves].
func (s *Snapshot) Waves(id task.ID) ([]Members, error) {
	var o Operation
	var stored []byte
	ok, err := loadOperation(s.s.Get, id, &o, &stored)
	if err != nil || !ok {
		return nil, err
	}
	st := &state{op: o}
	err = st.loadWaves(s.s.Get)
	return st.opened().Waves, err
}

// Cancels returns what agents may have to be told of operations that were
// cancelled or stopped.
func (s *Snapshot) Cancels() []Cancel { return s.s.State().(*published).cancels }

// Open is [Reader.Open].
func (s *Snapshot) Open() []Open { return s.s.State().(*published).open }

// History is [Reader.History].
func (s *Snapshot) History(id task.ID) (all []Entry, err error) {
	err = s.s.Scan(idKey(prefixHistory, id), nil, func(_, value []byte) (bool, error) {
		e, err := decodeEntry(value)
		all = append(all, e)
		return len(all) < MaxHistory, err
	})
	return all, err
}

// Due is [Reader.Due].
func (s *Snapshot) Due(now time.Time) (expire, close []task.ID, err error) {
	err = s.s.Scan([]byte{prefixDue}, nil, func(key, _ []byte) (bool, error) {
		if len(key) != 1+8+1+len(task.ID{}) || int64(binary.BigEndian.Uint64(key[1:])) > now.UnixNano() {
			return false, nil
		}
		list := &expire
		if key[9] == closed {
			list = &close
		}
		if len(*list) < MaxDue {
			*list = append(*list, task.ID(key[10:]))
		}
		return len(expire) < MaxDue || len(close) < MaxDue, nil
	})
	return expire, close, err
}
