package presence

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

const (
	golden  = "testdata/rows.v4.golden"
	golden2 = "testdata/rows.golden" // of schema 2
)

func FuzzRow(f *testing.F) {
	for _, file := range []string{golden, golden2} {
		for _, v := range projectorstest.Rows(f, file, prefixDevice) {
			f.Add(v)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRow(b)
		if err != nil {
			return
		}
		fold := newFold()
		changes, err := readChanges(r.recent)
		if err != nil || uint64(len(changes)) != r.count%chunk {
			return
		}
		for _, name := range names(r.Listener, changes) {
			fold.add(&listener{Listener: Listener{Name: name}})
		}
		c := cell{since: r.Since.UnixMilli(), signedIn: r.SignedIn.UnixMilli(), event: r.Event, epoch: r.Epoch, listener: fold.byName[r.Listener],
			known: true, online: r.Online, reason: r.Reason, carrier: r.Carrier, trail: &trail{count: r.count, recent: r.recent}}
		if err := fold.loadTrail(&r, c.trail); err != nil {
			t.Fatal(err)
		}
		again, err := fold.encode(nil, r.Device, &c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeRow(again); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("read %+v, wrote %+v: %v", got, r, err)
		}
	})
}

func FuzzListener(f *testing.F) {
	for _, v := range projectorstest.Rows(f, golden, prefixListener) {
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

func FuzzChunk(f *testing.F) {
	for _, v := range projectorstest.Rows(f, golden, prefixHistory) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		device, all, err := decodeChunk(b)
		if err != nil {
			return
		}
		fold := newFold()
		for _, name := range names("", all) {
			fold.add(&listener{Listener: Listener{Name: name}})
		}
		kept := new(trail)
		for _, p := range all {
			c := cell{since: p.At.UnixMilli(), event: p.Event, listener: fold.byName[p.Listener], online: p.Online, reason: p.Reason, carrier: p.Carrier}
			fold.appendChange(kept, &c)
		}
		again, err := encodeChunk(device, kept.recent)
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := decodeChunk(again); err != nil || !reflect.DeepEqual(got, all) {
			t.Errorf("read %+v, wrote %+v: %v", got, all, err)
		}
	})
}

// names are the listeners that a row names, each once.
func names(first string, changes []Change) []string {
	all := []string{first}
	for _, c := range changes {
		if !slices.Contains(all, c.Listener) {
			all = append(all, c.Listener)
		}
	}
	return all
}

// Rows of the schema before say the same, without a history.
func TestFormerRows(t *testing.T) {
	for _, v := range projectorstest.Rows(t, golden2, prefixDevice) {
		if r, err := decodeRow(v); err != nil || r.Device == 0 || r.count != 0 || len(r.recent) > 0 {
			t.Errorf("row %x: %+v, %v", v, r, err)
		}
	}
}
