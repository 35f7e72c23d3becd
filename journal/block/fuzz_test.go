package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// framed makes a record of data, with a header or without.
func framed(f File, sequence uint64, header, data string) []byte {
	subject := "journal.pages"
	b := binary.LittleEndian.AppendUint32(nil, 0)
	b = binary.LittleEndian.AppendUint64(b, sequence)
	b = binary.LittleEndian.AppendUint64(b, 1_700_000_000)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(subject)))
	b = append(b, subject...)
	size := uint32(len(b) + len(data) + sumSize)
	if header != "" {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
		size = size + headerLength + uint32(len(header)) | withHeader
	}
	b = append(append(b, header...), data...)
	binary.LittleEndian.PutUint32(b, size)
	p := newParser(f)
	p.sum.Write(b[4:20])
	p.sum.Write([]byte(subject + header + data))
	return p.sum.Sum(b)
}

// Whatever is in a file, reading it ends, in good order, and agrees with itself.
func FuzzWalk(f *testing.F) {
	file := File{Path: "1.blk", Stream: "S", Number: 1, Newest: true}
	good := bytes.Join([][]byte{framed(file, 1, "", "one"), framed(file, 2, "NATS/1.0\r\n\r\n", "two"), framed(file, 3, "", "")}, nil)
	f.Add(good)
	f.Add(good[:len(good)-7])
	f.Add(append(good[:60:60], make([]byte, 300)...))
	f.Add(append(good[:60:60], good...))
	f.Add(append([]byte("cmp\x01"), good...))
	f.Add([]byte{30, 0, 0, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		at, last := int64(0), uint64(0)
		err := walk(file, b, false, func(r Record) error {
			if r.Offset != at || last > 0 && r.Sequence != last+1 {
				t.Fatalf("record %d at %d behind record %d, at %d", r.Sequence, r.Offset, last, at)
			}
			at, last = at+r.Size, r.Sequence
			return nil
		})
		bad, damaged := errors.AsType[*DamageError](err)
		if err != nil && !damaged || damaged && bad.Offset != at || err == nil && at != int64(len(b)) {
			t.Fatalf("walked to %d of %d: %v", at, len(b), err)
		}
		sum, later := int64(0), 0
		err = salvage(file, b, func(r Record) error {
			if sum += r.Size; r.Offset >= at {
				later++
			}
			return nil
		}, func(_, size int64, _ string) error { sum += size; return nil })
		if err != nil || sum != int64(len(b)) {
			t.Fatalf("salvaged %d of %d bytes, %v", sum, len(b), err)
		}
		if damaged && bad.Torn && later > 0 {
			t.Fatalf("a torn tail at %d with %d records behind it", at, later)
		}
	})
}
