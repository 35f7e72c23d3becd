package window

import (
	"bytes"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

func FuzzRow(f *testing.F) {
	for _, v := range projectorstest.Rows(f, "testdata/rows.golden", prefixWindow) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRow(b)
		if err != nil {
			return
		}
		once, err := encodeRow(&r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeRow(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := encodeRow(&again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%x was written, and then %x, %v", once, twice, err)
		}
	})
}
