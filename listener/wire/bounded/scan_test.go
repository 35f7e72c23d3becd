package bounded_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

func raw(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hostile is what other libraries die of, or take although they should not.
var hostile = []struct{ name, bytes, reason string }{
	{"nothing", "", "cut short"},
	{"an array of 4 G in five bytes", "ddffffffff", "longer than what is left"},
	{"bytes of 4 G in five bytes", "c6ffffffff", "longer than what is left"},
	{"text of 4 G in five bytes", "dbffffffff", "longer than what is left"},
	{"an array of 64 K in three bytes", "dcffff", "longer than what is left"},
	{"bytes of 64 K in three bytes", "c5ffff", "longer than what is left"},
	{"an array that claims one more", "9301 02", "longer than what is left"},
	{"an array whose length is cut", "dcff", "cut short"},
	{"bytes whose length is cut", "c6ffffff", "cut short"},
	{"an integer that is cut", "cf00000000000000", "cut short"},
	{"text that is cut", "a5 68656c6c", "cut short"},
	{"an empty map", "80", "type 0x80"},
	{"a map of 16 bits", "de0000", "type 0xde"},
	{"a map of 32 bits", "df00000000", "type 0xdf"},
	{"nil", "c0", "type 0xc0"},
	{"the type that is never used", "c1", "type 0xc1"},
	{"a float of 32 bits", "ca00000000", "type 0xca"},
	{"a float of 64 bits", "cb0000000000000000", "type 0xcb"},
	{"a time", "d6ff00000000", "type 0xd6"},
	{"an ext of 8 bits", "c7000a", "type 0xc7"},
	{"an ext of 32 bits that claims 4 G", "c9ffffffff01", "type 0xc9"},
	{"nil inside", "9101 c0", "left over"},
	{"nil as an element", "91c0", "type 0xc0"},
	{"one value too many", "0101", "left over"},
	{"an empty array with something behind", "9000", "left over"},
	{"nine arrays", "91 91 91 91 91 91 91 91 91 01", "nested too deep"},
}

func TestScanRefuses(t *testing.T) {
	for _, c := range hostile {
		err := bounded.Scan(raw(t, c.bytes), bounded.Limits{})
		var at *bounded.OffsetError
		if !errors.As(err, &at) || !errors.Is(err, bounded.ErrMalformed) {
			t.Errorf("%s: %v, want an OffsetError", c.name, err)
			continue
		}
		if !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %q, want a word of %q", c.name, err, c.reason)
		}
		if n := len(raw(t, c.bytes)); at.Offset < 0 || at.Offset > n {
			t.Errorf("%s: refused at byte %d of %d", c.name, at.Offset, n)
		}
	}
}

func TestScanTakes(t *testing.T) {
	for name, b := range map[string][]byte{
		"the smallest integer": raw(t, "00"), "minus one": raw(t, "ff"), "true": raw(t, "c3"), "an empty array": raw(t, "90"),
		"an empty array of 32 bits": raw(t, "dd00000000"), "uint8": raw(t, "cc80"), "int64": raw(t, "d38000000000000000"),
		"text of 8 bits": raw(t, "d90141"), "bytes of 16 bits": raw(t, "c5000141"), "eight arrays": raw(t, "91 91 91 91 91 91 91 90"),
		"arrays side by side": raw(t, "93 91 01 90 92 c2 a1 41"),
		"an array of 16 bits": append(raw(t, "dc0100"), make([]byte, 256)...),
	} {
		if err := bounded.Scan(b, bounded.Limits{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScanLimits(t *testing.T) {
	nested := raw(t, "93 01 92 02 03 91 90")
	for _, c := range []struct {
		name string
		lim  bounded.Limits
		ok   bool
	}{
		{"just enough", bounded.Limits{Bytes: 7, Depth: 3, Items: 7}, true},
		{"too few bytes", bounded.Limits{Bytes: 6}, false},
		{"too flat", bounded.Limits{Depth: 1}, false},
		{"too few items", bounded.Limits{Items: 6}, false},
		{"a depth beyond the deepest counts as the default", bounded.Limits{Depth: 1000}, true},
	} {
		if err := bounded.Scan(nested, c.lim); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := bounded.Scan(bytes.Repeat([]byte{0x91}, 9), bounded.Limits{Depth: 1000}); err == nil {
		t.Error("nine arrays pass when a depth of 1000 is asked for")
	}
}

// Ten million bytes of nested arrays end other decoders, and the process with
// them. Here they cost nothing.
func TestScanBombs(t *testing.T) {
	deep := bytes.Repeat([]byte{0x91}, 10<<20)
	wide := bytes.Repeat([]byte{0xdd, 0, 0, 0, 1}, 2<<20)
	many := append([]byte{0xdd, 0, 0x30, 0, 0}, make([]byte, 0x300000)...)
	for name, b := range map[string][]byte{"deep": deep, "wide": wide, "many": many} {
		if err := bounded.Scan(b, bounded.Limits{Bytes: 64 << 20}); !errors.Is(err, bounded.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		read := func(*bounded.Reader) error { t.Errorf("%s reached the reader", name); return nil }
		if err := bounded.Decode(b, bounded.Limits{Bytes: 64 << 20}, read); err == nil {
			t.Errorf("%s was decoded", name)
		}
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	b := append([]byte{0xdd, 0, 1, 0, 0}, bytes.Repeat([]byte{0x92, 0x01, 0xa1, 0x41}, 1<<16)...)
	if n := testing.AllocsPerRun(10, func() {
		if err := bounded.Scan(b, bounded.Limits{}); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for 65,536 records", n)
	}
}

// Whatever a Writer wrote Scan lets through, and cut anywhere it does not.
func TestScanOfCutBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, err := bounded.Encode(nil, drawValues(t).write)
		if err != nil {
			t.Fatal(err)
		}
		if err := bounded.Scan(b, bounded.Limits{}); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if n := rapid.IntRange(0, len(b)-1).Draw(t, "cut"); bounded.Scan(b[:n], bounded.Limits{}) == nil {
			t.Fatalf("%x passes without its last %d bytes", b, len(b)-n)
		}
		more := rapid.Byte().Draw(t, "more")
		if bounded.Scan(append(b, more), bounded.Limits{}) == nil {
			t.Fatalf("%x passes with %x behind it", b, more)
		}
	})
}

func FuzzScan(f *testing.F) {
	for _, c := range hostile {
		f.Add(raw(f, c.bytes))
	}
	f.Add(raw(f, "93 91 01 90 92 c2 a1 41"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := bounded.Scan(b, bounded.Limits{})
		if err != nil && !errors.Is(err, bounded.ErrMalformed) {
			t.Fatalf("%x: %v", b, err)
		}
		if err != nil {
			return
		}
		// What passed can be skipped to its end, by a reader that wants nothing.
		skip := func(r *bounded.Reader) error {
			if c := b[0]; c >= 0x90 && c <= 0x9f || c == 0xdc || c == 0xdd {
				r.Array(1 << 30)
				r.End()
			}
			return nil
		}
		if err := bounded.Decode(b, bounded.Limits{}, skip); err != nil {
			t.Fatalf("%x passes the scan but cannot be skipped: %v", b, err)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	in := append([]byte{0xdd, 0, 1, 0, 0}, bytes.Repeat([]byte{0x94, 0x01, 0xce, 0, 1, 2, 3, 0xcf, 0, 1, 2, 3, 4, 5, 6, 7, 0xa4, 'n', 'a', 'm', 'e'}, 1<<16)...)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := bounded.Scan(in, bounded.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

// A length that does not fit the int of a small machine is refused there, too.
func TestScanRefusesHugeLengths(t *testing.T) {
	for _, head := range []string{"92dd", "92c6", "92db"} {
		for _, length := range []string{"ffffffff", "fffffff0", "80000000"} {
			if err := bounded.Scan(raw(t, head+length+"00"), bounded.Limits{}); err == nil {
				t.Errorf("%s with length %s is taken", head, length)
			}
		}
	}
}
