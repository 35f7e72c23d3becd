package status

import (
	"bytes"
	"testing"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// again reads a row, writes what was read, and returns what was written; nil if
// the row was refused.
func again(t *testing.T, sort byte, row []byte) []byte {
	var write func(*bounded.Writer)
	var err error
	switch sort {
	case prefixMessage:
		var m Message
		m, err = decodeMessage(row)
		write = m.encode
	case prefixListener:
		var l Listener
		l, err = decodeListener(row)
		write = l.encode
	case prefixRefusal:
		var f Refusal
		f, err = decodeRefusal(row)
		write = f.encode
	case prefixQuarantined:
		var q Quarantined
		q, err = decodeQuarantined(row)
		write = q.encode
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	value, err := encode(write)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func FuzzRows(f *testing.F) {
	for _, sort := range []byte{prefixMessage, prefixListener, prefixRefusal, prefixQuarantined} {
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
