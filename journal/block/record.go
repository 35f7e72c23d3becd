package block

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/minio/highwayhash"
)

// A Record is a message as it is on disk. Its bytes are parts of one buffer that
// holds the whole file; nobody changes them.
type Record struct {
	Sequence uint64 // of the message in its stream, from 1
	Time     int64  // when the server took it, Unix nanoseconds
	Subject  []byte
	Header   []byte // as on the wire, with the line NATS/1.0; empty if there is none
	Data     []byte
	Offset   int64 // where the record begins in its file
	Size     int64 // of the record in bytes
}

// Sizes of what a record consists of, in bytes. FORMAT.md has the layout.
const (
	fixedSize    = 4 + 8 + 8 + 2 // length, sequence, time, length of the subject
	headerLength = 4
	sumSize      = highwayhash.Size64

	minRecord = fixedSize + sumSize
	maxRecord = 1 << 20 // a page and what belongs to it is some 537,000 at most

	withHeader = 1 << 31 // in the length: there is a header

	// The highest bits of a sequence mark what was deleted.
	erased    = 1 << 63
	tombstone = 1 << 62
)

// A parser reads the records of one file; it knows the key of its checksums.
type parser struct {
	sum *highwayhash.Digest64
	buf [sumSize]byte
}

func newParser(f File) *parser {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", f.Stream, f.Number))
	sum, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		panic("block: make checksum: " + err.Error()) // the key has the size that it must have
	}
	return &parser{sum: sum}
}

// record reads the record at the beginning of b, which ends where the file ends.
// The reason is empty if it is a whole one.
func (p *parser) record(b []byte) (r Record, reason string) {
	size, hasHeader, reason := outline(b)
	if reason != "" {
		return r, reason
	}
	b = b[:size:size]
	subject := b[fixedSize:][:binary.LittleEndian.Uint16(b[20:])]
	rest := b[fixedSize+len(subject) : size-sumSize]
	if hasHeader {
		n := int(binary.LittleEndian.Uint32(rest))
		rest = rest[headerLength:]
		if n > len(rest) {
			return r, "the header of the record is longer than the record"
		}
		r.Header = rest[:n:n]
	}
	p.sum.Reset()
	p.sum.Write(b[4:20])
	p.sum.Write(subject)
	p.sum.Write(rest)
	if string(p.sum.Sum(p.buf[:0])) != string(b[size-sumSize:]) {
		return r, "the checksum of the record is wrong"
	}
	r.Sequence, r.Time = binary.LittleEndian.Uint64(b[4:]), int64(binary.LittleEndian.Uint64(b[12:]))
	r.Subject, r.Data, r.Size = subject, rest[len(r.Header):], int64(size)
	switch {
	case r.Sequence&(erased|tombstone) != 0:
		return r, fmt.Sprintf("message %d was deleted, which bugle never does", r.Sequence&^(erased|tombstone))
	case r.Sequence == 0:
		return r, "the record has the sequence 0"
	}
	return r, ""
}

// outline tells how long the record at the beginning of b is, if it can be one.
func outline(b []byte) (size int, hasHeader bool, reason string) {
	if len(b) < minRecord {
		return 0, false, "the file ends within a record"
	}
	if b[0] == 'c' && b[1] == 'm' && b[2] == 'p' {
		return 0, false, "what follows is compressed, which bugle does not do"
	}
	length := binary.LittleEndian.Uint32(b)
	size, hasHeader = int(length&^withHeader), length&withHeader != 0
	least := minRecord + int(binary.LittleEndian.Uint16(b[20:]))
	if hasHeader {
		least += headerLength
	}
	switch {
	case size < least:
		return 0, false, fmt.Sprintf("a record of %d bytes cannot hold what it must", size)
	case size > maxRecord:
		return 0, false, fmt.Sprintf("a record of %d bytes is longer than any page", size)
	case size > len(b):
		return 0, false, "the file ends within a record"
	}
	return size, hasHeader, ""
}
