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
//	header  "bugle record 3\n"
//	frame   length of payload uint32, CRC-32C of payload uint32, payload
//	payload act uint8, flags uint8 (1: may start again), attempt uint8, state uint8,
//	        operation 16 bytes, code int32, at int64 ns, until int64 ns,
//	        settled uint64, kind length uint8, kind, boot length uint8, boot,
//	        detail: the rest
//
// Settled is how many bytes of the file were on disk for certain when the frame
// was written. It tells a tear from damage: a power cut may lose any part of what
// was not settled, also one with good frames behind, and none of what was.
//
// Version 2 is the same without boot. Version 1 has no settled either; there only a
// bad place with nothing good behind it counts as a tear. Both are read, and
// written as version 3.
const (
	recordHeader  = "bugle record 3\n"
	recordHeader2 = "bugle record 2\n"
	recordHeader1 = "bugle record 1\n"
	recordVersion = 3
	frameHeader   = 8
	settledAt     = 4 + 16 + 4 + 8 + 8
	fixedPayload  = settledAt + 8 + 1
	maxPayload    = fixedPayload + task.MaxKind + 1 + MaxBoot + task.MaxDetail
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEntry appends the frame of an entry.
func appendEntry(b []byte, e *Entry, settled int64) ([]byte, error) {
	r := &e.Result
	if len(e.Kind) > task.MaxKind || len(r.Detail) > task.MaxDetail || len(e.Boot) > MaxBoot {
		return b, fmt.Errorf("kind of %d bytes, detail of %d, boot of %d, at most %d, %d and %d are taken",
			len(e.Kind), len(r.Detail), len(e.Boot), task.MaxKind, task.MaxDetail, MaxBoot)
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
	b = binary.BigEndian.AppendUint64(b, uint64(settled))
	b = append(b, byte(len(e.Kind)))
	b = append(b, e.Kind...)
	b = append(b, byte(len(e.Boot)))
	b = append(b, e.Boot...)
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

// A frame is an entry as it is on disk.
type frame struct {
	Entry
	settled int64
	size    int
}

// decodeFrame reads the frame of the given version at the start of b.
func decodeFrame(b []byte, version int) (f frame, err error) {
	if len(b) < frameHeader {
		return f, errEntry
	}
	fixed := fixedPayload
	if version == 1 {
		fixed -= 8
	}
	n := binary.BigEndian.Uint32(b)
	if int64(n) < int64(fixed) || n > maxPayload || int64(n) > int64(len(b)-frameHeader) {
		return f, errEntry
	}
	f.size = frameHeader + int(n)
	p := b[frameHeader:f.size]
	if crc32.Checksum(p, castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return f, errEntry
	}
	if version > 1 {
		settled := binary.BigEndian.Uint64(p[settledAt:])
		if settled > maxRecord {
			return f, errEntry
		}
		f.settled = int64(settled)
	}
	f.Entry, err = parsePayload(p, fixed, version)
	return f, err
}

// parsePayload reads a payload whose fields of a fixed size, the length of the
// kind being the last, take fixed bytes.
func parsePayload(p []byte, fixed, version int) (e Entry, err error) {
	r := &e.Result
	e.Act, e.Again, r.Attempt, r.State = Act(p[0]), p[1]&1 != 0, p[2], task.State(p[3])
	r.Operation = task.ID(p[4:20])
	r.Code = int32(binary.BigEndian.Uint32(p[20:]))
	r.At = instant(int64(binary.BigEndian.Uint64(p[24:])))
	e.Until = instant(int64(binary.BigEndian.Uint64(p[32:])))
	kind := int(p[fixed-1])
	if p[1] > 1 || kind > task.MaxKind || fixed+kind > len(p) {
		return Entry{}, errEntry
	}
	e.Kind = string(p[fixed : fixed+kind])
	rest := p[fixed+kind:]
	if version > 2 {
		if len(rest) == 0 || int(rest[0]) > MaxBoot || 1+int(rest[0]) > len(rest) {
			return Entry{}, errEntry
		}
		e.Boot, rest = string(rest[1:1+rest[0]]), rest[1+rest[0]:]
	}
	r.Detail = string(rest)
	if len(r.Detail) > task.MaxDetail || (e.Act != Reached && e.Act != Acked) || !r.State.FromAgent() {
		return Entry{}, errEntry
	}
	return e, nil
}

// A DamagedError says that a record has a bad place that was on disk for certain
// before. That is no torn tail: something changed the file. To go on without what
// it held would mean to run tasks again.
type DamagedError struct {
	Path   string
	Offset int64 // of the bad place, in bytes
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("read record %s: damaged at byte %d, and no crash can have done that; "+
		"move the file away to go on (tasks of the last day that the site sends again will run again)", e.Path, e.Offset)
}

// decodeRecord reads the file's bytes. What follows good is a tail that a crash
// tore, to be cut off; version is that of the file, 0 if not even its header is
// whole.
func decodeRecord(path string, b []byte) (entries []Entry, good, version int, err error) {
	if version, err = versionOf(path, b); version == 0 || err != nil {
		return nil, 0, 0, err
	}
	for good = len(recordHeader); good < len(b); {
		f, err := decodeFrame(b[good:], version)
		if err != nil {
			break
		}
		if f.settled > int64(good) { // something is missing before it
			return nil, 0, 0, &DamagedError{path, int64(good)}
		}
		entries = append(entries, f.Entry)
		good += f.size
	}
	for at := good + 1; at < len(b); at++ {
		f, err := decodeFrame(b[at:], version)
		if err == nil && (version == 1 || f.settled > int64(good)) {
			return nil, 0, 0, &DamagedError{path, int64(good)}
		}
	}
	return entries, good, version, nil
}

func versionOf(path string, b []byte) (int, error) {
	n := min(len(b), len(recordHeader))
	for i, header := range []string{recordHeader1, recordHeader2, recordHeader} {
		switch string(b[:n]) {
		case header:
			return i + 1, nil
		case header[:n]:
			return 0, nil
		}
	}
	return 0, fmt.Errorf("read record %s: not a record of an agent, or of a later version", path)
}
