package device

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

// A Device is what the site knows of one device.
type Device struct {
	Number      uint32
	ID          task.ID
	Name        string
	OS, Arch    string
	Agent       string // the agent's version when it joined
	Token       string // the id of the token that it joined with
	Joined      time.Time
	Expires     time.Time // of its newest certificate
	Issued      time.Time // when that was
	Certified   uint64    // the event that did it
	Serial      []byte    // of the certificate, big endian
	Blocked     bool
	BlockReason string
	Facts       []event.Fact // by name; [Reader.List] leaves them out
	Discovered  time.Time    // when the newest facts were seen
	Event       uint64       // the last event that changed the device

	Imported     time.Time // when an administrator imported the record; zero if it is from a join
	RemovedAt    time.Time // zero if it was not removed
	RemoveReason string
}

// HasJoined tells whether an agent has joined for the record. Without one it is
// imported: it has no certificate, and nothing can be sent to it.
func (d *Device) HasJoined() bool { return !d.Joined.IsZero() }

// Removed tells whether an administrator has removed the device.
func (d *Device) Removed() bool { return !d.RemovedAt.IsZero() }

func (d *Device) mayConnect() bool { return d.HasJoined() && !d.Blocked && !d.Removed() }

// A Reader reads the view. It is safe for concurrent use.
type Reader struct{ view projectors.Source }

// At returns the reader of the view as of one event.
func At(past *projectors.Past) *Reader { return &Reader{past.View(name)} }

// At runs read and returns the number of the event that all it saw was after:
// several reads in it see the same devices.
func (r *Reader) At(read func(*Snapshot) error) (position uint64, err error) {
	err = r.view.Read(func(s *projectors.Snapshot) error {
		position = s.Position()
		return read(&Snapshot{s})
	})
	return position, err
}

// Get returns a device by its number, also one that was removed; ok is false if there
// never was one.
func (r *Reader) Get(number uint32) (d Device, ok bool, err error) {
	_, err = r.At(func(s *Snapshot) error {
		d, ok, err = s.Get(number)
		return err
	})
	return d, ok, err
}

// ByID returns a device by its id; ok is false if there is none.
func (r *Reader) ByID(id task.ID) (d Device, ok bool, err error) {
	_, err = r.At(func(s *Snapshot) error {
		d, ok, err = s.ByID(id)
		return err
	})
	return d, ok, err
}

// Find returns the devices that word names, by rising number: as their name,
// whatever its case, as a number, or as an id. It finds none that was removed.
func (r *Reader) Find(word string) (found []Device, err error) {
	_, err = r.At(func(s *Snapshot) error {
		found, err = s.Find(word)
		return err
	})
	return found, err
}

// List returns at most limit devices with numbers above after, by rising number
// and without their facts; those that were removed are among them.
func (r *Reader) List(after uint32, limit int) (devices []Device, err error) {
	_, err = r.At(func(s *Snapshot) error {
		devices, err = s.List(after, limit)
		return err
	})
	return devices, err
}

// Numbers returns the numbers of all devices that have joined and are neither
// blocked nor removed; the bitmap is the caller's.
func (r *Reader) Numbers() (numbers *roaring.Bitmap, err error) {
	_, err = r.At(func(s *Snapshot) error {
		numbers = s.Numbers()
		return nil
	})
	return numbers, err
}

// Count returns how many devices there are, imported and blocked ones included,
// removed ones not.
func (r *Reader) Count() (n uint64, err error) {
	_, err = r.At(func(s *Snapshot) error {
		n = s.Count()
		return nil
	})
	return n, err
}

// Removed returns the numbers of all devices that were removed; the bitmap is the
// caller's. It costs more, the more there are.
func (r *Reader) Removed() (numbers *roaring.Bitmap, err error) {
	numbers = roaring.New()
	_, err = r.At(func(s *Snapshot) error {
		return s.s.Scan([]byte{prefixGone}, nil, func(key, _ []byte) (bool, error) {
			if len(key) == 5 {
				numbers.Add(binary.BigEndian.Uint32(key[1:]))
			}
			return true, nil
		})
	})
	return numbers, err
}

// A Snapshot is the devices after one event.
type Snapshot struct{ s *projectors.Snapshot }

// Get is [Reader.Get].
func (s *Snapshot) Get(number uint32) (d Device, ok bool, err error) {
	var r row
	ok, err = s.s.Get(deviceKey(number), func(v []byte) (err error) {
		r, err = decodeRow(v)
		return err
	})
	if !ok || err != nil {
		return Device{}, false, err
	}
	prefix := factsKey(number)
	err = s.s.Scan(prefix, nil, func(key, value []byte) (bool, error) {
		if len(value) < factSeen {
			return false, fmt.Errorf("fact of device %d has key %x and %d bytes", r.Number, key, len(value))
		}
		if len(value) == factSeen {
			return true, nil
		}
		r.Facts = append(r.Facts, event.Fact{Name: string(key[len(prefix):]), Value: string(value[factSeen:])})
		return true, nil
	})
	return r.Device, err == nil, err
}

// ByID is [Reader.ByID].
func (s *Snapshot) ByID(id task.ID) (Device, bool, error) {
	var number uint32
	ok, err := s.s.Get(idKey(id), func(v []byte) error {
		if len(v) == 4 {
			number = binary.BigEndian.Uint32(v)
		}
		return nil
	})
	if !ok || err != nil {
		return Device{}, false, err
	}
	return s.Get(number)
}

// Find is [Reader.Find].
func (s *Snapshot) Find(word string) ([]Device, error) {
	var numbers []uint32
	prefix := namesKey(word)
	err := s.s.Scan(prefix, nil, func(key, _ []byte) (bool, error) {
		if len(key) == len(prefix)+4 {
			numbers = append(numbers, binary.BigEndian.Uint32(key[len(prefix):]))
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if n, err := strconv.ParseUint(word, 10, 32); err == nil {
		numbers = append(numbers, uint32(n))
	}
	if id, err := task.ParseID(word); err == nil {
		d, ok, err := s.ByID(id)
		if err != nil {
			return nil, err
		}
		if ok {
			numbers = append(numbers, d.Number)
		}
	}
	slices.Sort(numbers)
	var found []Device
	for _, n := range slices.Compact(numbers) {
		d, ok, err := s.Get(n)
		if err != nil {
			return nil, err
		}
		if ok && !d.Removed() {
			found = append(found, d)
		}
	}
	return found, nil
}

// List is [Reader.List].
func (s *Snapshot) List(after uint32, limit int) ([]Device, error) {
	var devices []Device
	if limit <= 0 || after == 1<<32-1 {
		return nil, nil
	}
	err := s.s.Scan([]byte{prefixDevice}, deviceKey(after+1), func(_, value []byte) (bool, error) {
		r, err := decodeRow(value)
		devices = append(devices, r.Device)
		return len(devices) < limit, err
	})
	return devices, err
}

// Numbers is [Reader.Numbers].
func (s *Snapshot) Numbers() *roaring.Bitmap { return s.s.State().(*published).allowed.Clone() }

// Count is [Reader.Count].
func (s *Snapshot) Count() uint64 { return s.s.State().(*published).count }
