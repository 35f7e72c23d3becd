package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	header      = "bugle-sim records 1\n"
	magic       = "bsg1"
	groupHeader = len(magic) + 4 + 4
	lengthSize  = 4
)

// Bounds of the file.
const (
	maxRecord  = 64 << 20           // bytes of one record's value
	maxEntries = 8 * agent.MaxKnown // in one record
	groupBytes = 1 << 20            // a group that has as many takes no further record
	maxGroup   = groupBytes + lengthSize + maxRecord
	maxEntry   = 12 // items of one entry, itself included
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	limits     = bounded.Limits{Bytes: maxRecord, Depth: 3, Items: 16 + maxEntry*maxEntries}
)

// An action says what a change does to what is known of its device.
type action uint8

const (
	add     action = 1
	replace action = 2
)

// A change is one record: what one agent said in one call.
type change struct {
	device  uint32
	action  action
	entries []agent.Entry
}

// appendChange appends c as a record.
func appendChange(dst []byte, c *change) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, lengthSize)...)
	dst, err := bounded.Encode(dst, func(w *bounded.Writer) {
		w.Array(4)
		w.Uint(1)
		w.Uint(uint64(c.device))
		w.Uint(uint64(c.action))
		w.List(len(c.entries), maxEntries)
		for i := range c.entries {
			encodeEntry(w, &c.entries[i])
		}
	})
	if err != nil {
		return dst[:start], err
	}
	n := len(dst) - start - lengthSize
	if n > maxRecord {
		return dst[:start], fmt.Errorf("%w: record of %d bytes, at most %d are taken", bounded.ErrOutOfBounds, n, maxRecord)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(n))
	return dst, nil
}

func encodeEntry(w *bounded.Writer, e *agent.Entry) {
	r := &e.Result
	fields := maxEntry - 2
	if e.Boot != "" {
		fields++
	}
	w.Array(fields)
	w.Uint(uint64(e.Act))
	w.Exact(e.Kind, task.MaxKind)
	w.Int(nanos(e.Until))
	w.Bool(e.Again)
	w.Raw(r.Operation[:])
	w.Uint(uint64(r.Attempt))
	w.Uint(uint64(r.State))
	w.Int(int64(r.Code))
	w.Int(nanos(r.At))
	w.String(r.Detail, task.MaxDetail)
	if e.Boot != "" {
		w.Exact(e.Boot, agent.MaxBoot)
	}
}

func decodeChange(value []byte) (c change, err error) {
	err = bounded.Decode(value, limits, func(r *bounded.Reader) error {
		r.Version(1)
		c.device = r.Uint32()
		c.action = action(r.Uint(uint64(replace)))
		if c.action == 0 {
			r.Fail("no action")
		}
		n := r.Array(maxEntries)
		for i := 0; i < n && r.Err() == nil; i++ {
			c.entries = append(c.entries, decodeEntry(r))
		}
		r.End()
		r.End()
		return nil
	})
	return c, err
}

func decodeEntry(r *bounded.Reader) (e agent.Entry) {
	r.Array(1 << 8)
	e.Act = agent.Act(r.Uint(uint64(agent.Acked)))
	e.Kind = r.String(task.MaxKind)
	e.Until = instant(r.Int64())
	e.Again = r.Bool()
	r.Raw(e.Result.Operation[:])
	e.Result.Attempt = uint8(r.Uint(1<<8 - 1))
	e.Result.State = task.State(r.Uint(1<<8 - 1))
	code := r.Int64()
	e.Result.Code = int32(code)
	e.Result.At = instant(r.Int64())
	e.Result.Detail = r.String(task.MaxDetail)
	if r.More() {
		e.Boot = r.String(agent.MaxBoot)
	}
	r.End()
	if e.Act == 0 || !e.Result.State.FromAgent() || int64(e.Result.Code) != code {
		r.Fail("act %d, state %s, code %d: not an agent's entry", e.Act, e.Result.State, code)
	}
	return e
}

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

// sealGroup fills in the header of a group that begins with room for it.
func sealGroup(b []byte) {
	payload := b[groupHeader:]
	copy(b, magic)
	binary.BigEndian.PutUint32(b[len(magic):], uint32(len(payload)))
	binary.BigEndian.PutUint32(b[len(magic)+4:], crc32.Checksum(payload, castagnoli))
}

// openGroup returns the payload of the group that b begins with; ok is false if
// b does not begin with a whole one.
func openGroup(b []byte) (payload []byte, ok bool) {
	if len(b) < groupHeader || string(b[:len(magic)]) != magic {
		return nil, false
	}
	n := binary.BigEndian.Uint32(b[len(magic):])
	if n == 0 || n > maxGroup || int(n) > len(b)-groupHeader {
		return nil, false
	}
	payload = b[groupHeader : groupHeader+int(n)]
	return payload, crc32.Checksum(payload, castagnoli) == binary.BigEndian.Uint32(b[len(magic)+4:])
}

// readGroup hands the changes of a payload to take.
func readGroup(payload []byte, take func(*change)) error {
	for len(payload) > 0 {
		if len(payload) < lengthSize {
			return errShortRecord
		}
		n := binary.BigEndian.Uint32(payload)
		payload = payload[lengthSize:]
		if n > maxRecord || int(n) > len(payload) {
			return errShortRecord
		}
		c, err := decodeChange(payload[:n])
		if err != nil {
			return err
		}
		take(&c)
		payload = payload[n:]
	}
	return nil
}
