package event

import (
	"encoding/binary"
	"fmt"
	"math/bits"

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
		if err := checkBitmap(b[1:]); err != nil {
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
	numbers := make([]uint32, 0, min(len(b), maxListAtOnce))
	for first := true; len(b) > 0; first = false {
		d, n := binary.Uvarint(b)
		if n <= 0 || d == 0 && !first || d > 1<<32-1-last {
			return nil, fmt.Errorf("decode set of devices: %d bytes before the end there is no distance", len(b))
		}
		last += d
		if numbers = append(numbers, uint32(last)); len(numbers) == maxListAtOnce {
			set.AddMany(numbers)
			numbers = numbers[:0]
		}
		b = b[n:]
	}
	set.AddMany(numbers)
	return set, nil
}

// maxListAtOnce is how many numbers of a list are added to a set at once.
const maxListAtOnce = 4096

// The serialized form of a roaring bitmap is little endian and begins with one of
// these in its first two or four bytes; the higher two bytes of the first are the
// number of containers - 1.
const (
	withRuns    = 12347
	withoutRuns = 12346
	maxArray    = 4096 // of the numbers of a container; it is a bitmap beyond
	wordBytes   = 8192 // of a bitmap
	offsetsFrom = 4    // containers there are offsets, whatever their kind
)

// checkBitmap tells whether the bytes that the library took for a bitmap hold what
// its operations rely on: rising keys and numbers, and true counts. The library's
// own check compares every run with every other one.
func checkBitmap(b []byte) error {
	size, kinds, offsets := int(binary.LittleEndian.Uint32(b)>>16)+1, []byte(nil), false
	if binary.LittleEndian.Uint16(b) == withRuns {
		n := (size + 7) / 8
		kinds, b, offsets = b[4:4+n], b[4+n:], size >= offsetsFrom
	} else {
		size, b, offsets = int(binary.LittleEndian.Uint32(b[4:])), b[8:], true
	}
	heads := b[:4*size]
	b = b[len(heads):]
	if offsets {
		b = b[4*size:]
	}
	for i := range size {
		key, count := binary.LittleEndian.Uint16(heads[4*i:]), int(binary.LittleEndian.Uint16(heads[4*i+2:]))+1
		if i > 0 && key <= binary.LittleEndian.Uint16(heads[4*i-4:]) {
			return fmt.Errorf("container %d has key %d, which does not rise", i, key)
		}
		n, found := 0, 0
		switch {
		case kinds != nil && kinds[i/8]&(1<<(i%8)) != 0:
			n = 2 + 4*int(binary.LittleEndian.Uint16(b))
			found = countRuns(b[2:n])
		case count > maxArray:
			n = wordBytes
			found = countWords(b[:n])
		default:
			n = 2 * count
			found = countRising(b[:n])
		}
		if found != count {
			return fmt.Errorf("container %d does not hold the %d rising numbers that it claims", i, count)
		}
		b = b[n:]
	}
	return nil
}

// countRuns counts the numbers of runs, which rise with gaps between them; it
// returns -1 if they do not.
func countRuns(b []byte) (count int) {
	next := 0
	for ; len(b) > 0; b = b[4:] {
		first, length := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))+1
		if first < next || first+length > 1<<16 {
			return -1
		}
		count += length
		next = first + length + 1
	}
	return count
}

func countWords(b []byte) (count int) {
	for ; len(b) > 0; b = b[8:] {
		count += bits.OnesCount64(binary.LittleEndian.Uint64(b))
	}
	return count
}

// countRising counts numbers of 16 bits, which must rise; it returns -1 if they do
// not.
func countRising(b []byte) (count int) {
	last := -1
	for ; len(b) > 0; b = b[2:] {
		n := int(binary.LittleEndian.Uint16(b))
		if n <= last {
			return -1
		}
		last = n
		count++
	}
	return count
}
