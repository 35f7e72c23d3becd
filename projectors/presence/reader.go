package presence

import (
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// A Row is the presence of one device.
type Row struct {
	Device   uint32
	Online   bool
	Reason   event.PresenceReason
	Carrier  event.Carrier
	Since    time.Time // of this state, in milliseconds
	SignedIn time.Time // when the session began that is there, or was last; 1970 if nobody said it
	Listener string    // that holds the device, or held it last
	Epoch    uint32
	Event    uint64 // that changed the row last
}

// A Listener is what the view knows of the reports of one listener.
type Listener struct {
	Name   string
	Epoch  uint32
	Online uint32 // devices that it holds
	Full   uint64 // number of the newest full report of this epoch
	Last   uint64 // number of the newest file of this epoch
	Gaps   uint64 // numbers that were not there when a later one came, ever
	Gap    bool   // there is a hole that no full report has healed yet
	Stale  uint64 // parts of files that were not applied, ever
}

// A Reader reads the view. It is safe for concurrent use.
type Reader struct{ view projectors.Source }

// At returns the reader of the view as of one event.
func At(past *projectors.Past) *Reader { return &Reader{past.View(name)} }

// At runs read and returns the number of the event that all it saw was after.
func (r *Reader) At(read func(*Snapshot) error) (position uint64, err error) {
	err = r.view.Read(func(s *projectors.Snapshot) error {
		position = s.Position()
		return read(&Snapshot{s})
	})
	return position, err
}

// Get returns the presence of a device; ok is false if no listener ever named it.
func (r *Reader) Get(device uint32) (row Row, ok bool, err error) {
	_, err = r.At(func(s *Snapshot) error {
		row, ok, err = s.Get(device)
		return err
	})
	return row, ok, err
}

// Online returns which devices are online; the bitmap is the caller's. It is
// empty while the view cannot be read; [Reader.At] says why.
func (r *Reader) Online() *roaring.Bitmap {
	online := roaring.New()
	_, _ = r.At(func(s *Snapshot) error {
		online = s.Online()
		return nil
	})
	return online
}

// Counts returns how many devices are online, in all and at each listener. All
// is zero while the view cannot be read; [Reader.At] says why.
func (r *Reader) Counts() (online uint64, byListener map[string]uint64) {
	_, _ = r.At(func(s *Snapshot) error {
		online, byListener = s.Counts()
		return nil
	})
	return online, byListener
}

// List returns at most limit rows with device numbers above after, in order.
func (r *Reader) List(after uint32, limit int) (rows []Row, err error) {
	_, err = r.At(func(s *Snapshot) error {
		rows, err = s.List(after, limit)
		return err
	})
	return rows, err
}

// Listener returns what is known of a listener's reports; ok is false if nothing
// is.
func (r *Reader) Listener(name string) (l Listener, ok bool, err error) {
	_, err = r.At(func(s *Snapshot) error {
		l, ok = s.Listener(name)
		return nil
	})
	return l, ok, err
}

// A Snapshot is the presence after one event.
type Snapshot struct{ s *projectors.Snapshot }

func (s *Snapshot) state() *published { return s.s.State().(*published) }

// Get is [Reader.Get].
func (s *Snapshot) Get(device uint32) (row Row, ok bool, err error) {
	ok, err = s.s.Get(deviceKey(device), func(v []byte) error {
		r, err := decodeRow(v)
		row = r.Row
		return err
	})
	return row, ok, err
}

// Online is [Reader.Online].
func (s *Snapshot) Online() *roaring.Bitmap { return s.state().online.Clone() }

// Counts is [Reader.Counts].
func (s *Snapshot) Counts() (online uint64, byListener map[string]uint64) {
	byListener = make(map[string]uint64)
	for name, l := range s.state().listeners {
		byListener[name] = uint64(l.Online)
		online += uint64(l.Online)
	}
	return online, byListener
}

// List is [Reader.List].
func (s *Snapshot) List(after uint32, limit int) (rows []Row, err error) {
	if limit <= 0 || after == 1<<32-1 {
		return nil, nil
	}
	err = s.s.Scan([]byte{prefixDevice}, deviceKey(after+1), func(_, value []byte) (bool, error) {
		r, err := decodeRow(value)
		rows = append(rows, r.Row)
		return len(rows) < limit, err
	})
	return rows, err
}

// Listener is [Reader.Listener].
func (s *Snapshot) Listener(name string) (Listener, bool) {
	l, ok := s.state().listeners[name]
	return l, ok
}
