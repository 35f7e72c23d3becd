package operation

import (
	"bytes"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// again reads a row, writes what was read, and returns what was written; nil if
// the row was refused.
func again(t *testing.T, sort byte, row []byte) []byte {
	var write func(*bounded.Writer)
	var err error
	switch sort {
	case prefixFixed:
		o := new(Operation)
		err = o.decodeFixed(row)
		write = o.encodeFixed
	case prefixTargets:
		st := &state{targets: roaring.New(), offline: roaring.New()}
		err = st.decodeTargets(row)
		write = st.encodeTargets
	case prefixProgress:
		o := new(Operation)
		err = o.decodeProgress(row)
		write = o.encodeProgress
	case prefixDevice:
		var d device
		d, err = decodeDevice(row)
		write = d.encode
	case prefixHistory:
		var e Entry
		e, err = decodeEntry(row)
		write = e.encode
	case prefixWave:
		m := new(members)
		err = m.decode(row)
		write = m.encode
	case prefixCut:
		var c Stop
		c, err = decodeCut(row)
		write = c.encode
	case prefixCancel:
		var c Cancel
		c, err = decodeCancel(row)
		write = c.encode
	case prefixIgnored:
		var i Ignored
		i, err = decodeIgnored(row)
		write = i.encode
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	value, err := bounded.Encode(nil, write)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// sorts are those of rows that hold something; the later ones came with schema 2.
var sorts = []byte{prefixFixed, prefixTargets, prefixProgress, prefixDevice, prefixHistory, prefixIgnored, prefixWave, prefixCut, prefixCancel}

// TestRowsOfSchema1 are refused: the view is folded anew.
func TestRowsOfSchema1(t *testing.T) {
	for _, sort := range sorts[:6] {
		for _, v := range projectorstest.Rows(t, "testdata/rows.golden", sort) {
			if again(t, sort, v) != nil {
				t.Errorf("row %c %x was taken", sort, v)
			}
		}
	}
}

func FuzzRows(f *testing.F) {
	for _, sort := range sorts {
		for _, v := range projectorstest.Rows(f, "testdata/rows2.golden", sort) {
			f.Add(sort, v)
		}
	}
	f.Fuzz(func(t *testing.T, sort byte, b []byte) {
		once := again(t, sort, b)
		if once == nil {
			return
		}
		if twice := again(t, sort, once); !bytes.Equal(once, twice) {
			t.Errorf("%x was written, and then %x", once, twice)
		}
	})
}
