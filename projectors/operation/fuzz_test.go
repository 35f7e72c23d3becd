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

func FuzzRows(f *testing.F) {
	for _, sort := range []byte{prefixFixed, prefixTargets, prefixProgress, prefixDevice, prefixHistory, prefixIgnored} {
		for _, v := range projectorstest.Rows(f, "testdata/rows.golden", sort) {
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
