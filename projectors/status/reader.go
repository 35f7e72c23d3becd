package status

import (
	"math"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// A Message is what a component had to say to operators.
type Message struct {
	Event     uint64
	Accepted  time.Time
	Observed  time.Time
	Listener  string // whose file it came in, or empty
	Component string
	Number    uint32 // the message's stable number
	Severity  event.Severity
	Device    uint32 // whom it is about, or 0
	Text      string
}

// A ListenerState is where a listener stands. The numbers are on disk.
type ListenerState uint8

// The states.
const (
	Unknown ListenerState = 0 // it was heard of, and nothing else is known
	Granted ListenerState = 1
	Started ListenerState = 2
	Stopped ListenerState = 3
	Lost    ListenerState = 4
)

// String returns the name that people and the API use.
func (s ListenerState) String() string {
	switch s {
	case Granted:
		return "granted"
	case Started:
		return "started"
	case Stopped:
		return "stopped"
	case Lost:
		return "lost"
	}
	return "unknown"
}

// A Listener is how a listener does, in its newest epoch.
type Listener struct {
	Name    string
	Epoch   uint32
	State   ListenerState
	Version string
	Address string    // of the TCP carrier
	Granted time.Time // the four times are the journal's
	Started time.Time
	Ended   time.Time // stopped or lost
	Heard   time.Time // when the last of its files was accepted
	Event   uint64    // that set State
}

// A Refusal counts refused sign-ins from one address within a minute.
type Refusal struct {
	Event    uint64
	Accepted time.Time
	Login    bool   // of an administrator, not of an agent
	Where    string // "listener", "join" or "console"
	Address  string
	Reason   string
	Count    uint32
}

// Quarantined is a file or a record that was put aside.
type Quarantined struct {
	Event    uint64
	Accepted time.Time
	Listener string // whose file it is, or empty
	File     string
	Record   bool   // one record of the file, not the file
	Index    uint32 // of the record, from 0
	Digest   [32]byte
	Size     uint64
	Reason   string
	Raw      []byte    // the record
	Requeued time.Time // when the file was put back, or zero
}

// A Reader reads the view. It is safe for concurrent use.
type Reader struct{ view projectors.Source }

// At returns the reader of the view as of one event.
func At(past *projectors.Past) *Reader { return &Reader{past.View(name)} }

// Messages returns at most limit messages, newest first, of events below before;
// 0 begins with the newest. With severities, only messages of these are returned.
func (r *Reader) Messages(before uint64, limit int, severities ...event.Severity) (all []Message, err error) {
	wanted := func(s event.Severity) bool {
		for _, w := range severities {
			if s == w {
				return true
			}
		}
		return len(severities) == 0
	}
	err = r.newest(prefixMessage, before, func(v []byte) (bool, error) {
		m, err := decodeMessage(v)
		if err == nil && len(all) < limit && wanted(m.Severity) {
			all = append(all, m)
		}
		return len(all) < limit, err
	})
	return all, err
}

// newest walks the rows of one sort from the newest below before.
func (r *Reader) newest(prefix byte, before uint64, visit func(value []byte) (bool, error)) error {
	if before == 0 {
		before = math.MaxUint64
	}
	return r.view.Read(func(s *projectors.Snapshot) error {
		return s.Back([]byte{prefix}, numberKey(prefix, before-1), func(_, v []byte) (bool, error) { return visit(v) })
	})
}

// Listeners returns all listeners by name.
func (r *Reader) Listeners() (all []Listener, err error) {
	err = r.view.Read(func(s *projectors.Snapshot) error {
		return s.Scan([]byte{prefixListener}, nil, func(_, v []byte) (bool, error) {
			l, err := decodeListener(v)
			all = append(all, l)
			return true, err
		})
	})
	return all, err
}

// Quarantined returns what is or was in quarantine, newest first, at most
// [MaxQuarantined].
func (r *Reader) Quarantined() (all []Quarantined, err error) {
	err = r.newest(prefixQuarantined, 0, func(v []byte) (bool, error) {
		q, err := decodeQuarantined(v)
		all = append(all, q)
		return true, err
	})
	return all, err
}

// SignInFailures returns at most limit refusals, newest first.
func (r *Reader) SignInFailures(limit int) (all []Refusal, err error) {
	err = r.newest(prefixRefusal, 0, func(v []byte) (bool, error) {
		f, err := decodeRefusal(v)
		if err == nil && len(all) < limit {
			all = append(all, f)
		}
		return len(all) < limit, err
	})
	return all, err
}
