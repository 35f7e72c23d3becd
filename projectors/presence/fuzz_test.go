package presence

import (
	"bytes"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

func FuzzRow(f *testing.F) {
	for _, v := range projectorstest.Rows(f, "testdata/rows.golden", prefixDevice) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRow(b)
		if err != nil {
			return
		}
		fold := newFold()
		fold.add(&listener{Listener: Listener{Name: r.Listener}})
		c := cell{since: r.Since.UnixMilli(), signedIn: r.SignedIn.UnixMilli(), event: r.Event, epoch: r.Epoch, known: true, online: r.Online, reason: r.Reason, carrier: r.Carrier}
		again, err := fold.encode(nil, r.Device, &c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeRow(again); err != nil || got != r {
			t.Errorf("read %+v, wrote %+v: %v", got, r, err)
		}
	})
}

func FuzzListener(f *testing.F) {
	for _, v := range projectorstest.Rows(f, "testdata/rows.golden", prefixListener) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeListener(b)
		if err != nil {
			return
		}
		once, err := encodeListener(l)
		if err != nil {
			t.Fatal(err)
		}
		if l, err = decodeListener(once); err != nil {
			t.Fatal(err)
		}
		if twice, err := encodeListener(l); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%x was written, and then %x, %v", once, twice, err)
		}
	})
}
