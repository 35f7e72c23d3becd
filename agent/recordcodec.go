package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// The record is a header and frames. All integers are big-endian.
//
//	header  "bugle record 1\n"
//	frame   length of payload uint32, CRC-32C of payload uint32, payload
//	payload act uint8, flags uint8 (1: may start again), attempt uint8, state uint8,
//	        operation 16 bytes, code int32, at int64 ns, until int64 ns,
//	        kind length uint8, kind, detail: the rest
const (
	recordHeader = "bugle record 1\n"
	frameHeader  = 8
	fixedPayload = 4 + 16 + 4 + 8 + 8 + 1
	maxPayload   = fixedPayload + task.MaxKind + task.MaxDetail
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendEntry(b []byte, e *Entry) ([]byte, error) {
	r := &e.Result
	if len(e.Kind) > task.MaxKind || len(r.Detail) > task.MaxDetail {
		return b, fmt.Errorf("kind of %d bytes and detail of %d, at most %d and %d are taken",
			len(e.Kind), len(r.Detail), task.MaxKind, task.MaxDetail)
	}
	start := len(b)
	b = append(b, make([]byte, frameHeader)...)
	var flags byte
	if e.Again {
		flags = 1
	}
	b = append(b, byte(e.Act), flags, r.Attempt, byte(r.State))
	b = append(b, r.Operation[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Code))
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(r.At)))
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(e.Until)))
	b = append(b, byte(len(e.Kind)))
	b = append(b, e.Kind...)
	b = append(b, r.Detail...)
	payload := b[start+frameHeader:]
	binary.BigEndian.PutUint32(b[start:], uint32(len(payload)))
	binary.BigEndian.PutUint32(b[start+4:], crc32.Checksum(payload, castagnoli))
	return b, nil
}

// nanos is t in Unix nanoseconds, 0 for the zero time.
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

var errEntry = errors.New("not an entry")

// decodeEntry reads the frame at the start of b and returns its size.
func decodeEntry(b []byte) (e Entry, size int, err error) {
	if len(b) < frameHeader {
		return e, 0, errEntry
	}
	n := binary.BigEndian.Uint32(b)
	if n < fixedPayload || n > maxPayload || int(n) > len(b)-frameHeader {
		return e, 0, errEntry
	}
	size = frameHeader + int(n)
	p := b[frameHeader:size]
	if crc32.Checksum(p, castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return e, 0, errEntry
	}
	return parsePayload(p, size)
}

func parsePayload(p []byte, size int) (e Entry, _ int, err error) {
	r := &e.Result
	e.Act, e.Again, r.Attempt, r.State = Act(p[0]), p[1]&1 != 0, p[2], task.State(p[3])
	r.Operation = task.ID(p[4:20])
	r.Code = int32(binary.BigEndian.Uint32(p[20:]))
	r.At = instant(int64(binary.BigEndian.Uint64(p[24:])))
	e.Until = instant(int64(binary.BigEndian.Uint64(p[32:])))
	kind := int(p[40])
	if p[1] > 1 || kind > task.MaxKind || fixedPayload+kind > len(p) {
		return Entry{}, 0, errEntry
	}
	e.Kind = string(p[fixedPayload : fixedPayload+kind])
	r.Detail = string(p[fixedPayload+kind:])
	if len(r.Detail) > task.MaxDetail || (e.Act != Reached && e.Act != Acked) || !r.State.FromAgent() {
		return Entry{}, 0, errEntry
	}
	return e, size, nil
}

// A DamagedError says that a record has a bad place with good entries behind it.
// That is no torn tail: something changed the file. To go on without what it
// held would mean to run tasks again.
type DamagedError struct {
	Path   string
	Offset int64 // of the bad place, in bytes
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("read record %s: damaged at byte %d with good entries behind; "+
		"move the file away to go on (tasks of the last day that the site sends again will run again)", e.Path, e.Offset)
}

// decodeRecord reads the file's bytes. What follows good is a tail that a crash
// tore, to be cut off.
func decodeRecord(path string, b []byte) (entries []Entry, good int, err error) {
	if len(b) < len(recordHeader) {
		if string(b) != recordHeader[:len(b)] {
			return nil, 0, fmt.Errorf("read record %s: not a record of an agent", path)
		}
		return nil, 0, nil
	}
	if string(b[:len(recordHeader)]) != recordHeader {
		return nil, 0, fmt.Errorf("read record %s: not a record of an agent, or of a later version", path)
	}
	for good = len(recordHeader); good < len(b); {
		e, n, err := decodeEntry(b[good:])
		if err != nil {
			break
		}
		entries = append(entries, e)
		good += n
	}
	for at := good + 1; at+frameHeader+fixedPayload <= len(b); at++ {
		if _, _, err := decodeEntry(b[at:]); err == nil {
			return nil, 0, &DamagedError{path, int64(good)}
		}
	}
	return entries, good, nil
}
