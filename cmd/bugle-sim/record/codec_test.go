package record

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/agent"
)

const golden = "testdata/records-1"

// goldenChanges are what the golden file holds, a group for each.
func goldenChanges() []change {
	return []change{
		{1, add, []agent.Entry{entry(0), entry(1)}},
		{16777215, add, []agent.Entry{entry(3)}},
		{1, replace, []agent.Entry{entry(2), entry(4)}},
		{2, replace, nil},
	}
}

func encodeGroups(t testing.TB, changes []change) []byte {
	t.Helper()
	b := []byte(header)
	for i := range changes {
		start := len(b)
		b = append(b, make([]byte, groupHeader)...)
		var err error
		if b, err = appendChange(b, &changes[i]); err != nil {
			t.Fatal(err)
		}
		sealGroup(b[start:])
	}
	return b
}

func TestGoldenFile(t *testing.T) {
	got := encodeGroups(t, goldenChanges())
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(golden, got, 0o644))
	}
	wanted, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(got, wanted) {
		t.Errorf("the format has changed: files of earlier versions must stay readable")
	}
	c, err := decodeFile(golden, wanted)
	must(t, err)
	if c.good != len(wanted) || c.changes != 4 {
		t.Errorf("%d of %d bytes and %d changes were read", c.good, len(wanted), c.changes)
	}
	devices := map[uint32][]agent.Entry{1: {entry(2), entry(4)}, 16777215: {entry(3)}}
	if diff := cmp.Diff(devices, c.devices); diff != "" {
		t.Errorf("golden file (-want +got):\n%s", diff)
	}
}

// FuzzDecodeFile checks that no bytes make the reader panic, and that what it
// reads it writes and reads again as the same.
func FuzzDecodeFile(f *testing.F) {
	good := encodeGroups(f, goldenChanges())
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte(header))
	f.Add([]byte("bugle-sim"))
	f.Add(append(bytes.Clone(good), "bsg1\xff\xff\xff\xff\x00\x00\x00\x00"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeFile("fuzz", b)
		if err != nil {
			return
		}
		if c.good > len(b) {
			t.Fatalf("%d of %d bytes are good", c.good, len(b))
		}
		var changes []change
		for device, entries := range c.devices {
			changes = append(changes, change{device, add, entries})
		}
		again, err := decodeFile("again", encodeGroups(t, changes))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.devices, again.devices); diff != "" {
			t.Errorf("written and read again (-first +second):\n%s", diff)
		}
	})
}

// FuzzDecodeChange is FuzzDecodeFile without the checksum in its way.
func FuzzDecodeChange(f *testing.F) {
	for _, c := range goldenChanges() {
		b, err := appendChange(nil, &c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[lengthSize:])
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := decodeChange(value)
		if err != nil {
			return
		}
		b, err := appendChange(nil, &c)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := decodeChange(b[lengthSize:])
		if diff := cmp.Diff(c, again, cmp.AllowUnexported(change{})); err != nil || diff != "" {
			t.Errorf("written and read again: %v (-first +second):\n%s", err, diff)
		}
	})
}
