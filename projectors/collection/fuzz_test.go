package collection

import (
	"bytes"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// again reads a row, writes what was read, and returns what was written; nil if
// the row was refused.
func again(prefix byte, row []byte) (value []byte, err error) {
	switch prefix {
	case prefixDefinition:
		c, err := decodeDefinition(row)
		if err != nil {
			return nil, nil
		}
		return encodeDefinition(&c)
	case prefixState:
		c := newEntry("x")
		if decodeState(row, c) != nil {
			return nil, nil
		}
		return encodeState(c)
	case prefixRun:
		r, err := decodeRun(row)
		if err != nil {
			return nil, nil
		}
		return encodeRun(&r)
	case prefixCycle:
		c, err := decodeCycle(row)
		if err != nil {
			return nil, nil
		}
		return encodeCycle(&c)
	case prefixMembers:
		set, err := decodeChunk(1, row)
		if err != nil || set.IsEmpty() {
			return nil, nil
		}
		return encodeChunk(set)
	case prefixFlips:
		set, err := event.ParseSet(row)
		if set, err = checkChunk(1, set, err); err != nil {
			return nil, nil
		}
		return event.AppendSet(nil, set)
	}
	return nil, nil
}

func FuzzRows(f *testing.F) {
	for _, prefix := range []byte{prefixDefinition, prefixState, prefixRun, prefixCycle, prefixMembers, prefixFlips} {
		for _, v := range projectorstest.Rows(f, "testdata/rows.golden", prefix) {
			f.Add(prefix, v)
		}
	}
	f.Fuzz(func(t *testing.T, prefix byte, b []byte) {
		once, err := again(prefix, b)
		if once == nil || err != nil {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if twice, err := again(prefix, once); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%x was written, and then %x: %v", once, twice, err)
		}
	})
}

func TestChunkForms(t *testing.T) {
	for name, c := range map[string]struct {
		pairs []uint64 // from, to and step of stretches
		form  byte
		max   int // bytes
	}{
		"one":       {[]uint64{70_000, 70_000, 1}, formMembers, 6},
		"first":     {[]uint64{65_536, 65_536, 1}, formAbsent, 2},
		"all":       {[]uint64{65_536, 131_071, 1}, formAbsent, 4},
		"half":      {[]uint64{65_536, 131_071, 2}, formMembers, 8300},
		"few":       {[]uint64{65_536, 131_071, 64}, formMembers, 1030},
		"most":      {[]uint64{65_536, 131_071, 1, 65_537, 131_071, 64}, formAbsent, 1040},
		"most of a": {[]uint64{65_536, 99_999, 1, 65_540, 99_999, 50}, formAbsent, 700},
	} {
		set := newEntry("").own
		for i := 0; i < len(c.pairs); i += 3 {
			for d := c.pairs[i]; d <= c.pairs[i+1]; d += c.pairs[i+2] {
				if i == 0 {
					set.Add(uint32(d))
				} else {
					set.Remove(uint32(d))
				}
			}
		}
		value, err := encodeChunk(set)
		if err != nil || value[0] != c.form || len(value) > c.max {
			t.Errorf("%s: form %d, %d bytes, %v", name, value[0], len(value), err)
		}
		if got, err := decodeChunk(1, value); err != nil || !got.Equals(set) {
			t.Errorf("%s: read %v, %v", name, got, err)
		}
		if _, err := decodeChunk(2, value); err == nil && value[0] == formMembers {
			t.Errorf("%s: taken for another chunk", name)
		}
	}
}
