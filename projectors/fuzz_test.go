package projectors

import (
	"bytes"
	"testing"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

func FuzzMeta(f *testing.F) {
	m := meta{schema: 3, history: [16]byte{1, 2}, position: 1 << 40, accepted: 1 << 60, rows: 77, rolling: rollingSum{1, 2, 3, 1 << 63}, floor: 1 << 39, since: 1 << 38, beside: rollingSum{9}}
	seed, err := bounded.Encode(nil, m.encode)
	if err != nil {
		f.Fatal(err)
	}
	if got, err := decodeMeta(seed); err != nil || got != m {
		f.Fatalf("read %+v, wrote %+v: %v", got, m, err)
	}
	f.Add(seed)
	f.Add([]byte{0x91, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := bounded.Encode(nil, m.encode)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeMeta(again); err != nil || got != m {
			t.Errorf("read %+v, wrote %+v: %v", got, m, err)
		}
	})
}

// TestRollingSum adds and takes away: the sum does not depend on the order.
func TestRollingSum(t *testing.T) {
	var h rowHash
	var a, b rollingSum
	rows := [][]byte{[]byte("one"), []byte("two"), []byte("three"), {}}
	for i := range rows {
		a.add(h.sum([]byte{byte(i)}, rows[i]))
		j := len(rows) - 1 - i
		b.add(h.sum([]byte{byte(j)}, rows[j]))
	}
	if a != b || a == (rollingSum{}) {
		t.Errorf("%x and %x", a, b)
	}
	for i := range rows {
		b.sub(h.sum([]byte{byte(i)}, rows[i]))
	}
	if b != (rollingSum{}) {
		t.Errorf("nothing is left, the sum is %x", b)
	}
	if bytes.Equal(appendRow(nil, []byte("ab"), []byte("c")), appendRow(nil, []byte("a"), []byte("bc"))) {
		t.Error("two rows have the same canonical form")
	}
}
