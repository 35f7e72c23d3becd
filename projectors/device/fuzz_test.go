package device

import (
	"testing"

	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

func FuzzRow(f *testing.F) {
	for _, file := range []string{"testdata/rows.v4.golden", "testdata/rows.v3.golden", "testdata/rows.golden"} { // of this schema, of the one before and of the first
		for _, v := range projectorstest.Rows(f, file, prefixDevice) {
			f.Add(v)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRow(b)
		if err != nil {
			return
		}
		again, err := encodeRow(&r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRow(again)
		if err != nil || got.Number != r.Number || got.Name != r.Name || got.Event != r.Event || got.facts != r.facts {
			t.Errorf("read %+v, wrote %+v: %v", got, r, err)
		}
	})
}
