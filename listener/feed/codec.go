package feed

import (
	"errors"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// MaxMessage is the longest message in bytes.
const MaxMessage = 6 << 20

// version is that of every message.
const version = 1

// The types of messages. They are on the wire and never change their meaning.
const (
	typeBegin uint64 = iota + 1
	typeWhole
	typeOpen
	typeRelease
	typeEnd
	typeKeys
	typeBlock
	typeUnblock
)

// Bounds of what a message holds, in bytes.
const (
	leafSize   = 4 + 32
	maxTargets = (task.MaxDevice/256 + 1) * leafSize
	maxSigned  = 16 << 10 // a task
	maxSpread  = 366 * 24 * time.Hour
)

// A Message is one message of the feed. Its Update is nil if it begins the state,
// or if it is of a type that this bugle does not know.
type Message struct {
	Generation [16]byte // of the reading of the source
	Number     uint64   // in the generation, from 1, without a hole
	Begin      bool     // the state follows, until listener.Whole
	Update     listener.Update
}

// ErrMessage is wrapped by the errors of [Decode] and [Message.Append].
var ErrMessage = errors.New("not a message of the feed")

// Append appends the bytes of m to dst; FORMAT.md describes them.
func (m *Message) Append(dst []byte) ([]byte, error) {
	b, err := bounded.Encode(dst, func(w *bounded.Writer) { m.encode(w) })
	if err != nil {
		return dst, fmt.Errorf("encode message: %w: %w", ErrMessage, err)
	}
	if n := len(b) - len(dst); n > MaxMessage {
		return dst, fmt.Errorf("encode message: %w: %d bytes, at most %d are taken", ErrMessage, n, MaxMessage)
	}
	return b, nil
}

func (m *Message) encode(w *bounded.Writer) {
	head := func(kind uint64, fields int) {
		w.Array(4 + fields)
		w.Uint(version)
		w.Raw(m.Generation[:])
		w.Uint(m.Number)
		w.Uint(kind)
	}
	switch u := m.Update.(type) {
	case nil:
		if !m.Begin {
			w.Fail("neither a begin nor an update")
		}
		head(typeBegin, 0)
	case listener.Whole:
		head(typeWhole, 0)
	case listener.OpenOperation:
		head(typeOpen, 6)
		encodeOpen(w, &u)
	case listener.ReleaseWave:
		head(typeRelease, 5)
		w.Raw(u.ID[:])
		w.Uint(uint64(u.Wave))
		encodeTargets(w, u.Devices)
		w.Int(nanos(u.At))
		w.Uint(uint64(max(0, u.Spread)))
	case listener.EndOperation:
		head(typeEnd, 3)
		w.Raw(u.ID[:])
		w.Bytes(u.Cancel, task.MaxCancel)
		w.Int(nanos(u.Until))
	case listener.ChangeKeys:
		head(typeKeys, 1)
		w.Bytes(u.Ring, task.MaxKeyring)
	case listener.BlockDevice:
		head(typeBlock, 1)
		w.Uint(uint64(u.Device))
	case listener.UnblockDevice:
		head(typeUnblock, 1)
		w.Uint(uint64(u.Device))
	default:
		w.Fail("update of type %T", u)
	}
}

func encodeOpen(w *bounded.Writer, u *listener.OpenOperation) {
	w.Bytes(u.Signed, maxSigned)
	encodeTargets(w, u.Targets)
	encodeTargets(w, u.Done)
	w.Uint(uint64(u.Priority))
	w.Bool(u.Durable)
	w.Bool(u.Held)
}

// Decode reads what [Message.Append] wrote.
func Decode(b []byte) (m Message, err error) {
	err = bounded.Decode(b, bounded.Limits{Bytes: MaxMessage, Depth: 2, Items: 64}, func(r *bounded.Reader) error {
		m.decode(r)
		return nil
	})
	if err != nil {
		return Message{}, fmt.Errorf("decode message: %w: %w", ErrMessage, err)
	}
	return m, nil
}

func (m *Message) decode(r *bounded.Reader) {
	r.Version(version)
	r.Raw(m.Generation[:])
	if m.Number = r.Uint64(); m.Number == 0 {
		r.Fail("number 0, the first is 1")
	}
	switch r.Uint64() {
	case typeBegin:
		m.Begin = true
	case typeWhole:
		m.Update = listener.Whole{}
	case typeOpen:
		m.Update = decodeOpen(r)
	case typeRelease:
		m.Update = decodeRelease(r)
	case typeEnd:
		u := listener.EndOperation{ID: decodeID(r)}
		u.Cancel, u.Until = r.Bytes(task.MaxCancel), instant(r.Int64())
		m.Update = u
	case typeKeys:
		m.Update = listener.ChangeKeys{Ring: r.Bytes(task.MaxKeyring)}
	case typeBlock:
		m.Update = listener.BlockDevice{Device: decodeDevice(r)}
	case typeUnblock:
		m.Update = listener.UnblockDevice{Device: decodeDevice(r)}
	}
	r.End()
}

func decodeOpen(r *bounded.Reader) listener.Update {
	var u listener.OpenOperation
	u.Signed = r.Bytes(maxSigned)
	if u.Targets = decodeTargets(r); u.Targets == nil {
		r.Fail("operation without targets")
	}
	u.Done = decodeTargets(r)
	u.Priority = uint8(r.Uint(1<<8 - 1))
	u.Durable = r.Bool()
	u.Held = r.Bool()
	return u
}

func decodeRelease(r *bounded.Reader) listener.Update {
	u := listener.ReleaseWave{ID: decodeID(r), Wave: r.Uint32(), Devices: decodeTargets(r), At: instant(r.Int64())}
	u.Spread = time.Duration(r.Uint(uint64(maxSpread)))
	if u.Wave == 0 || u.Devices == nil {
		r.Fail("wave %d, or nobody in it", u.Wave)
	}
	return u
}

func decodeID(r *bounded.Reader) (id task.ID) {
	if r.Raw(id[:]); id.IsZero() {
		r.Fail("no operation")
	}
	return id
}

func decodeDevice(r *bounded.Reader) uint32 {
	n := uint32(r.Uint(task.MaxDevice))
	if n == 0 {
		r.Fail("device 0 does not exist")
	}
	return n
}

// nanos is a time as it travels: Unix nanoseconds, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
