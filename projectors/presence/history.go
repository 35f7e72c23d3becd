package presence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/projectors"
)

// MaxHistory is how many changes of one device are kept: the state that holds, and
// those before it.
const MaxHistory = 20

// The last few changes stand in the device's own row. When they are chunk many
// they go into a row of their own, one of so many as hold MaxHistory together: the
// device's row stays short, and one change in chunk many writes a second row.
const (
	chunk    = 10
	slots    = MaxHistory / chunk
	maxChunk = chunk * (1 + 2*binary.MaxVarintLen64 + 1 + maxListener) // bytes
)

// A Change is a state that a device was in.
type Change struct {
	At       time.Time // since when, in milliseconds
	Online   bool
	Reason   event.PresenceReason
	Listener string // that said it, or held the device
	Carrier  event.Carrier
	Event    uint64 // that brought it
}

// trail is what a cell keeps of how it came about.
type trail struct {
	count  uint64 // changes ever, without the state that holds
	recent []byte // the count%chunk newest of them, oldest first, as [appendChange] writes them
	newest former // the last one in recent
	burst  burst
}

// A former is the part of a change that the next one is written against.
type former struct {
	since    int64
	event    uint64
	listener uint16
}

// differs tells whether to is another state than c, and not only another epoch.
func (c *cell) differs(to *cell) bool {
	return c.since != to.since || c.listener != to.listener || c.online != to.online || c.reason != to.reason || c.carrier != to.carrier
}

// remember adds the state that c was in to what to keeps. The row of c must have
// been written before: both share what they keep.
func (f *fold) remember(b *projectors.Batch, device uint32, c, to *cell) error {
	to.trail = c.trail
	if !c.known || !c.differs(to) {
		if f.flapping.Contains(device) {
			f.flaps = nil // of another event
		}
		return nil
	}
	if to.trail == nil {
		to.trail = new(trail)
	}
	f.appendChange(to.trail, c)
	f.flap(device, c, to)
	if to.count%chunk != 0 {
		return nil
	}
	value, err := encodeChunk(device, to.recent)
	if err != nil {
		return err
	}
	key := slotKey(device, to.count-1)
	if to.count <= MaxHistory {
		b.Replace(key, nil, value)
	} else {
		b.Set(key, value)
	}
	to.recent = to.recent[:0]
	return nil
}

// appendChange appends the state that c is in to the changes before it: its flags;
// how many milliseconds later it began and how many events later it came than the
// one before it, of the first one since when; then a zero byte if it is of the same
// listener, else the length of the name and the name.
func (f *fold) appendChange(t *trail, c *cell) {
	last, first := t.newest, len(t.recent) == 0
	if first {
		last = former{}
	}
	b := append(t.recent, c.flags())
	b = binary.AppendVarint(b, c.since-last.since)
	b = binary.AppendVarint(b, int64(c.event-last.event))
	if !first && last.listener == c.listener {
		b = append(b, 0)
	} else {
		name := f.listeners[c.listener].Name
		b = append(append(b, byte(len(name))), name...)
	}
	t.recent, t.newest = b, former{c.since, c.event, c.listener}
	t.count++
}

var errChanges = errors.New("changes cannot be read")

// readChanges reads what [appendChange] wrote.
func readChanges(b []byte) (all []Change, err error) {
	var last Change
	var since int64
	for len(b) > 0 {
		flags := b[0]
		later, n := binary.Varint(b[1:])
		if n <= 0 {
			return nil, errChanges
		}
		b = b[1+n:]
		further, n := binary.Varint(b)
		if n <= 0 || n == len(b) || len(all) == chunk {
			return nil, errChanges
		}
		size, rest := int(b[n]), b[n+1:]
		if size > maxListener || size > len(rest) || size == 0 && len(all) == 0 {
			return nil, errChanges
		}
		if size > 0 {
			last.Listener = string(rest[:size])
		}
		b, since = rest[size:], since+later
		last.Event += uint64(further)
		last.At = time.UnixMilli(since).UTC()
		if last.Online, last.Reason, last.Carrier = readFlags(flags); last.Reason > lastReason {
			return nil, errChanges
		}
		all = append(all, last)
	}
	return all, nil
}

func encodeChunk(device uint32, recent []byte) ([]byte, error) {
	value, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(3)
		w.Uint(chunkVersion)
		w.Uint(uint64(device))
		w.Bytes(recent, maxChunk)
	})
	if err != nil {
		return nil, fmt.Errorf("encode history of device %d: %w", device, err)
	}
	return value, nil
}

// slotKey is the key of the row that holds change n, counted from 0.
func slotKey(device uint32, n uint64) []byte {
	key := binary.BigEndian.AppendUint32([]byte{prefixHistory}, device)
	return append(key, byte(n/chunk%slots))
}

func decodeChunk(value []byte) (device uint32, all []Change, err error) {
	err = bounded.Decode(value, rowLimits, func(d *bounded.Reader) error {
		d.Version(chunkVersion)
		device = d.Uint32()
		recent := d.Bytes(maxChunk)
		d.End()
		all, err = readChanges(recent)
		return err
	})
	if err != nil {
		return 0, nil, fmt.Errorf("decode presence history: %w", err)
	}
	return device, all, nil
}

// History returns the changes of a device, the newest first and at most
// [MaxHistory]: the first one is the state that holds. There is none of a device
// that no listener ever named.
func (r *Reader) History(device uint32) (all []Change, err error) {
	_, err = r.At(func(s *Snapshot) error {
		all, err = s.History(device)
		return err
	})
	return all, err
}

// History is [Reader.History].
func (s *Snapshot) History(device uint32) ([]Change, error) {
	var row stored
	ok, err := s.s.Get(deviceKey(device), func(v []byte) (err error) {
		row, err = decodeRow(v)
		return err
	})
	if err != nil || !ok {
		return nil, err
	}
	all := []Change{{row.Since, row.Online, row.Reason, row.Listener, row.Carrier, row.Event}}
	for older := range formerOf(s.s, &row, &err) {
		if all = append(all, older); len(all) == MaxHistory {
			break
		}
	}
	return all, err
}

// formerOf yields what a device was before, the newest first; err says why it ends
// early.
func formerOf(s *projectors.Snapshot, row *stored, err *error) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		var all []Change
		all, *err = readChanges(row.recent)
		if *err == nil && uint64(len(all)) != row.count%chunk {
			*err = errChanges
		}
		// Then what stands in rows of their own, a chunk each.
		for n := row.count - row.count%chunk; *err == nil; n -= chunk {
			for _, c := range slices.Backward(all) {
				if !yield(c) {
					return
				}
			}
			if n == 0 || n+MaxHistory <= row.count-row.count%chunk {
				return
			}
			ok := false
			ok, *err = s.Get(slotKey(row.Device, n-1), func(v []byte) (err error) {
				_, all, err = decodeChunk(v)
				return err
			})
			if *err == nil && !ok {
				*err = errChanges
			}
		}
		*err = fmt.Errorf("read history of device %d: %w", row.Device, *err)
	}
}
