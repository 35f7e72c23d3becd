package pacing

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Pick returns size of the devices that are left: those that are online first,
// then by a hash of operation and device. It is all of them if they are no more.
func Pick(operation task.ID, left, online *roaring.Bitmap, size uint32) *roaring.Bitmap {
	if uint64(size) >= left.GetCardinality() {
		return left.Clone()
	}
	on := roaring.And(left, online)
	if n := on.GetCardinality(); n < uint64(size) {
		off := roaring.AndNot(left, on)
		on.AddMany(first(operation, off, int(uint64(size)-n)))
		return on
	}
	return roaring.BitmapOf(first(operation, on, int(size))...)
}

// first returns the n devices of a set whose hashes are lowest.
func first(operation task.ID, set *roaring.Bitmap, n int) []uint32 {
	type ranked struct {
		rank   uint64
		device uint32
	}
	all := make([]ranked, 0, set.GetCardinality())
	for d := range roaring.Values(set) {
		all = append(all, ranked{rank(operation, d), d})
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.device, b.device))
	})
	devices := make([]uint32, 0, n)
	for _, r := range all[:n] {
		devices = append(devices, r.device)
	}
	return devices
}

// rankContext keeps the order of the waves apart from the moments that listeners
// give devices within a spread: else the first wave would be sent at its beginning.
const rankContext = "bugle wave 1\n"

func rank(operation task.ID, device uint32) uint64 {
	var b [len(rankContext) + len(operation) + 4]byte
	copy(b[:], rankContext)
	copy(b[len(rankContext):], operation[:])
	binary.BigEndian.PutUint32(b[len(b)-4:], device)
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(sum[:])
}

// encode serializes a set that an event is to hold; ok is false if it is too long.
func encode(set *roaring.Bitmap) (raw []byte, ok bool, err error) {
	set.RunOptimize()
	raw, err = set.ToBytes()
	return raw, len(raw) <= event.MaxBitmap, err
}

// encodeWave is Pick and encode. A choice by hash from a million and more devices
// can be too long: then the wave is the first ones by number.
func encodeWave(operation task.ID, left, online *roaring.Bitmap, size uint32) (*roaring.Bitmap, []byte, error) {
	wave := Pick(operation, left, online, size)
	raw, ok, err := encode(wave)
	if err != nil || ok {
		return wave, raw, err
	}
	wave = firstNumbers(left, uint64(size))
	raw, _, err = encode(wave)
	return wave, raw, err
}

func firstNumbers(set *roaring.Bitmap, n uint64) *roaring.Bitmap {
	if n >= set.GetCardinality() {
		return set.Clone()
	}
	end, err := set.Select(uint32(n))
	if err != nil {
		return set.Clone()
	}
	head := set.Clone()
	head.RemoveRange(uint64(end), 1<<32)
	return head
}

// encodeSome serializes as many of a set, by number, as an event can hold.
func encodeSome(set *roaring.Bitmap) ([]byte, error) {
	for {
		raw, ok, err := encode(set)
		if err != nil || ok {
			return raw, err
		}
		set = firstNumbers(set, set.GetCardinality()/2)
	}
}
