package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
)

// Whatever a footer says of where index and end are, it is damage and no panic:
// also offsets that are so large that to add to them gives less.
func TestOffsetsThatCannotBe(t *testing.T) {
	m := small(t)
	at := len(m.bytes) - footerSize
	index, end := binary.BigEndian.Uint64(m.bytes[at:]), binary.BigEndian.Uint64(m.bytes[at+8:])
	for _, c := range [][2]uint64{
		{math.MaxInt64 - 10, end}, {math.MaxInt64, end}, {math.MaxUint64, end}, {1 << 63, end}, {end, end}, {end - 1, end}, {0, end},
		{index, math.MaxInt64}, {index, math.MaxUint64}, {index, 1 << 63}, {index, 0}, {index, uint64(at)}, {math.MaxInt64 - 10, math.MaxInt64},
	} {
		b := bytes.Clone(m.bytes)
		binary.BigEndian.PutUint64(b[at:], c[0])
		binary.BigEndian.PutUint64(b[at+8:], c[1])
		if _, err := opened(b); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("index at %d, end at %d: %v", c[0], c[1], err)
		}
	}
}
