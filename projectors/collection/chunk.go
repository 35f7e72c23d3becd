package collection

import (
	"encoding/binary"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
)

// Forms of a row m.
const (
	formMembers = 1
	formAbsent  = 2
)

// maxFlips is how long a row x may be in bytes.
const maxFlips = 192

// chunkOf is the chunk that a device is in.
func chunkOf(device uint32) uint16 { return uint16(device >> 16) }

// within returns the part of a set that lies in a chunk.
func within(set *roaring.Bitmap, chunk uint16) *roaring.Bitmap {
	from := uint64(chunk) << 16
	all := roaring.New()
	all.AddRange(from, from+1<<16)
	return roaring.And(set, all)
}

// encodeChunk is the value of a row m; members are those of the chunk, at least one.
func encodeChunk(members *roaring.Bitmap) ([]byte, error) {
	value, err := event.AppendSet([]byte{formMembers}, members)
	if err != nil {
		return nil, err
	}
	first, last := members.Maximum()&^0xffff, members.Maximum()
	if span := uint64(last-first) + 1; 2*members.GetCardinality() <= span {
		return value, nil
	}
	absent := roaring.New()
	absent.AddRange(uint64(first), uint64(last)+1)
	absent.AndNot(members)
	short := binary.AppendUvarint([]byte{formAbsent}, uint64(last-first))
	if short, err = event.AppendSet(short, absent); err != nil || len(short) >= len(value) {
		return value, err
	}
	return short, nil
}

// decodeChunk reads a row m.
func decodeChunk(chunk uint16, value []byte) (*roaring.Bitmap, error) {
	if len(value) < 2 {
		return nil, fmt.Errorf("decode members: %d bytes", len(value))
	}
	switch value[0] {
	case formMembers:
		set, err := event.ParseSet(value[1:])
		return checkChunk(chunk, set, err)
	case formAbsent:
		span, n := binary.Uvarint(value[1:])
		if n <= 0 || span > 0xffff {
			return nil, fmt.Errorf("decode members: the last is at no place of a chunk")
		}
		absent, err := event.ParseSet(value[1+n:])
		if absent, err = checkChunk(chunk, absent, err); err != nil {
			return nil, err
		}
		first := uint64(chunk) << 16
		members := roaring.New()
		members.AddRange(first, first+span+1)
		members.AndNot(absent)
		return members, nil
	}
	return nil, fmt.Errorf("decode members: form %d is not known", value[0])
}

func checkChunk(chunk uint16, set *roaring.Bitmap, err error) (*roaring.Bitmap, error) {
	if err != nil {
		return nil, fmt.Errorf("decode members: %w", err)
	}
	if !set.IsEmpty() && (chunkOf(set.Minimum()) != chunk || chunkOf(set.Maximum()) != chunk) {
		return nil, fmt.Errorf("decode members: device %d is not of chunk %d", set.Maximum(), chunk)
	}
	return set, nil
}
