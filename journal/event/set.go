package event

import (
	"encoding/binary"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
)

// Forms of a set of devices: the first byte of [AppendSet].
const (
	setList   = 0 // distances between rising numbers, each as an unsigned varint
	setBitmap = 1 // a serialized 32-bit roaring bitmap
)

// AppendSet appends a set of device numbers to dst in the shorter of two forms: a
// byte 0 and the distance of each number to the one before (the first to 0) as
// varints, or a byte 1 and a serialized roaring bitmap. An empty set is nothing.
func AppendSet(dst []byte, set *roaring.Bitmap) ([]byte, error) {
	if set == nil || set.IsEmpty() {
		return dst, nil
	}
	set = set.Clone()
	set.RunOptimize()
	size, n := set.GetSerializedSizeInBytes(), set.GetCardinality()
	if n < size { // else the list cannot be shorter
		list := append(dst, setList)
		last := uint32(0)
		for d := range roaring.Values(set) {
			list = binary.AppendUvarint(list, uint64(d-last))
			last = d
		}
		if uint64(len(list)-len(dst)) <= size {
			return list, nil
		}
	}
	raw, err := set.ToBytes()
	if err != nil {
		return dst, fmt.Errorf("encode set of devices: %w", err)
	}
	return append(append(dst, setBitmap), raw...), nil
}

// ParseSet reads what [AppendSet] wrote; the set is the caller's.
func ParseSet(b []byte) (*roaring.Bitmap, error) {
	set := roaring.New()
	if len(b) == 0 {
		return set, nil
	}
	switch b[0] {
	case setBitmap:
		if n, err := set.FromUnsafeBytes(append([]byte(nil), b[1:]...)); err != nil || int(n) != len(b)-1 {
			return nil, fmt.Errorf("decode set of devices: %d bytes are no bitmap: %v", len(b), err)
		}
		if err := set.Validate(); err != nil {
			return nil, fmt.Errorf("decode set of devices: %w", err)
		}
		return set, nil
	case setList:
		return parseList(set, b[1:])
	}
	return nil, fmt.Errorf("decode set of devices: form %d is not known", b[0])
}

func parseList(set *roaring.Bitmap, b []byte) (*roaring.Bitmap, error) {
	last := uint64(0)
	for first := true; len(b) > 0; first = false {
		d, n := binary.Uvarint(b)
		if n <= 0 || d == 0 && !first || d > 1<<32-1-last {
			return nil, fmt.Errorf("decode set of devices: %d bytes before the end there is no distance", len(b))
		}
		last += d
		set.Add(uint32(last))
		b = b[n:]
	}
	return set, nil
}
