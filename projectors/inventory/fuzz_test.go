package inventory

import (
	"bytes"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// FuzzTable: bytes that are no table are refused, and what is one is written again
// and read to the same.
func FuzzTable(f *testing.F) {
	for _, v := range projectorstest.Rows(f, "testdata/rows.golden", prefixTable) {
		f.Add(v)
	}
	classes := schema.Standard()
	system, _ := classes.Class(schema.System)
	programs, _ := classes.Class("SMS_G_System_ADD_REMOVE_PROGRAMS")
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, class := range []*schema.Class{nil, system, programs} {
			table, err := decodeTable(class, b)
			if err != nil {
				continue
			}
			table.show()
			if class != nil {
				rows, err := decodeRows(class, b)
				if want := table.records(); err != nil || len(rows) != len(want) {
					t.Errorf("%d rows, want %d, %v", len(rows), len(want), err)
				}
			}
			once, err := table.encode()
			if err != nil {
				continue // such as a name that is too long
			}
			again, err := decodeTable(class, once)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := again.encode()
			if err != nil || !bytes.Equal(once, twice) {
				t.Errorf("wrote\n%x and then\n%x, %v", once, twice, err)
			}
		}
	})
}

func FuzzDevice(f *testing.F) {
	for _, v := range projectorstest.Rows(f, "testdata/rows.golden", prefixDevice) {
		f.Add(v)
	}
	for _, v := range projectorstest.Rows(f, "testdata/rows.golden", prefixDefined) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := decodeDevice(b); err == nil {
			if _, err := encodeDevice(&d); err != nil {
				t.Error(err)
			}
		}
		if c, err := decodeDefined(b); err == nil {
			if _, err := encodeDefined(&c); err != nil {
				t.Error(err)
			}
		}
	})
}
