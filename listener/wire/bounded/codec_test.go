package bounded_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// values is a record with a field of every sort.
type values struct {
	U   uint64
	I   int64
	B   bool
	S   string
	X   []byte
	Raw [16]byte
	L   []int64
}

func (v *values) write(w *bounded.Writer) {
	w.Array(8)
	w.Uint(1)
	w.Uint(v.U)
	w.Int(v.I)
	w.Bool(v.B)
	w.Exact(v.S, 300)
	w.Bytes(v.X, 300)
	w.Raw(v.Raw[:])
	w.List(len(v.L), 20)
	for _, i := range v.L {
		w.Int(i)
	}
}

func (v *values) read(r *bounded.Reader) error {
	r.Version(1)
	v.U = r.Uint64()
	v.I = r.Int64()
	v.B = r.Bool()
	v.S = r.String(300)
	v.X = r.Bytes(300)
	r.Raw(v.Raw[:])
	r.Array(20)
	for r.More() {
		v.L = append(v.L, r.Int64())
	}
	r.End()
	r.End()
	return nil
}

func drawValues(t *rapid.T) *values {
	v := &values{
		U: rapid.Uint64().Draw(t, "u"), I: rapid.Int64().Draw(t, "i"), B: rapid.Bool().Draw(t, "b"),
		S: rapid.StringN(-1, 100, 300).Draw(t, "s"), X: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "x"),
		L: rapid.SliceOfN(rapid.Int64(), 0, 20).Draw(t, "l"),
	}
	copy(v.Raw[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "raw"))
	return v
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawValues(t)
		b, err := bounded.Encode([]byte("before"), want.write)
		if err != nil || string(b[:6]) != "before" {
			t.Fatalf("encode: %x, %v", b, err)
		}
		got := new(values)
		if err := bounded.Decode(b[6:], bounded.Limits{}, got.read); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("came back changed:\n%s", diff)
		}
		again, err := bounded.Encode(nil, got.write)
		if err != nil || !bytes.Equal(again, b[6:]) {
			t.Fatalf("the same values gave other bytes: %x, %x, %v", b[6:], again, err)
		}
	})
}

// The bytes are the shortest, and the same in every release: they are hashed and
// signed.
func TestCanonical(t *testing.T) {
	for _, c := range []struct {
		want  string
		write func(*bounded.Writer)
	}{
		{"00", func(w *bounded.Writer) { w.Uint(0) }},
		{"7f", func(w *bounded.Writer) { w.Uint(127) }},
		{"cc80", func(w *bounded.Writer) { w.Uint(128) }},
		{"cd0100", func(w *bounded.Writer) { w.Uint(256) }},
		{"ce00010000", func(w *bounded.Writer) { w.Uint(1 << 16) }},
		{"cf0000000100000000", func(w *bounded.Writer) { w.Uint(1 << 32) }},
		{"cfffffffffffffffff", func(w *bounded.Writer) { w.Uint(math.MaxUint64) }},
		{"ff", func(w *bounded.Writer) { w.Int(-1) }},
		{"e0", func(w *bounded.Writer) { w.Int(-32) }},
		{"d0df", func(w *bounded.Writer) { w.Int(-33) }},
		{"d1ff7f", func(w *bounded.Writer) { w.Int(-129) }},
		{"d3" + "8000000000000000", func(w *bounded.Writer) { w.Int(math.MinInt64) }},
		{"cc80", func(w *bounded.Writer) { w.Int(128) }},
		{"c2", func(w *bounded.Writer) { w.Bool(false) }},
		{"a0", func(w *bounded.Writer) { w.Exact("", 8) }},
		{"a3616263", func(w *bounded.Writer) { w.String("abcdef", 3) }},
		{"d920" + strings.Repeat("61", 32), func(w *bounded.Writer) { w.Exact(strings.Repeat("a", 32), 32) }},
		{"c400", func(w *bounded.Writer) { w.Bytes(nil, 8) }},
		{"c4020102", func(w *bounded.Writer) { w.Raw([]byte{1, 2}) }},
		{"90", func(w *bounded.Writer) { w.Array(0) }},
		{"9f" + strings.Repeat("00", 15), func(w *bounded.Writer) { list(w, 15) }},
		{"dc0010" + strings.Repeat("00", 16), func(w *bounded.Writer) { list(w, 16) }},
	} {
		b, err := bounded.Encode(nil, c.write)
		if err != nil || hex.EncodeToString(b) != c.want {
			t.Errorf("wrote %x (%v), want %s", b, err, c.want)
		}
	}
}

func list(w *bounded.Writer, n int) {
	w.List(n, 100)
	for range n {
		w.Uint(0)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, write := range map[string]func(*bounded.Writer){
		"a long list":         func(w *bounded.Writer) { w.List(3, 2) },
		"long bytes":          func(w *bounded.Writer) { w.Bytes(make([]byte, 3), 2) },
		"long text":           func(w *bounded.Writer) { w.Exact("abc", 2) },
		"text that is not":    func(w *bounded.Writer) { w.Exact("\xff", 2) },
		"what the caller say": func(w *bounded.Writer) { w.Fail("no %d", 1) },
		"the first of two":    func(w *bounded.Writer) { w.List(3, 2); w.Fail("second") },
	} {
		b, err := bounded.Encode([]byte("before"), write)
		if !errors.Is(err, bounded.ErrOutOfBounds) || string(b) != "before" || strings.Contains(err.Error(), "second") {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// Each read that meets another type, or a value out of its bounds, fails there,
// gives zero, and keeps failing.
func TestReaderRefuses(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		read        func(*bounded.Reader)
	}{
		{"text for a number", "a131", func(r *bounded.Reader) { r.Uint64() }},
		{"a negative number for an unsigned one", "ff", func(r *bounded.Reader) { r.Uint64() }},
		{"a signed type for an unsigned number", "d001", func(r *bounded.Reader) { r.Uint64() }},
		{"300 for at most 255", "cd012c", func(r *bounded.Reader) { r.Uint(255) }},
		{"2^32 for 32 bits", "cf0000000100000000", func(r *bounded.Reader) { r.Uint32() }},
		{"2^63 for a signed number", "cf8000000000000000", func(r *bounded.Reader) { r.Int64() }},
		{"true for a number", "c3", func(r *bounded.Reader) { r.Int64() }},
		{"one for true", "01", func(r *bounded.Reader) { r.Bool() }},
		{"bytes for text", "c40141", func(r *bounded.Reader) { r.String(8) }},
		{"text for bytes", "a141", func(r *bounded.Reader) { r.Bytes(8) }},
		{"text that is long", "a3414141", func(r *bounded.Reader) { r.String(2) }},
		{"text that is not UTF-8", "a1ff", func(r *bounded.Reader) { r.String(2) }},
		{"bytes that are long", "c403414141", func(r *bounded.Reader) { r.Bytes(2) }},
		{"15 bytes for 16", "c40f" + strings.Repeat("41", 15), func(r *bounded.Reader) { r.Raw(make([]byte, 16)) }},
		{"17 bytes for 16", "c411" + strings.Repeat("41", 17), func(r *bounded.Reader) { r.Raw(make([]byte, 16)) }},
		{"a number for an array", "01", func(r *bounded.Reader) { r.Array(8) }},
		{"a long array", "93010203", func(r *bounded.Reader) { r.Array(2) }},
		{"a missing field", "9101", func(r *bounded.Reader) { r.Version(1); r.Uint64() }},
		{"no version", "90", func(r *bounded.Reader) { r.Version(1) }},
		{"version 0", "9100", func(r *bounded.Reader) { r.Version(1) }},
		{"a later version", "9102", func(r *bounded.Reader) { r.Version(1) }},
		{"what the caller does not allow", "01", func(r *bounded.Reader) { r.Uint64(); r.Fail("not %d", 1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := bounded.Decode(raw(t, c.bytes), bounded.Limits{}, func(r *bounded.Reader) error {
				c.read(r)
				first := r.Err()
				if r.Uint64() != 0 || r.String(8) != "" || r.Bytes(8) != nil || r.Array(8) != 0 || r.Bool() || r.More() || r.Err() != first {
					t.Error("the reader went on after it had failed")
				}
				return nil
			})
			if !errors.Is(err, bounded.ErrMalformed) {
				t.Errorf("%v, want ErrMalformed", err)
			}
		})
	}
}

// A later version may add fields to an array: a reader skips them, whatever they
// are, and goes on behind.
func TestLaterFields(t *testing.T) {
	b, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(3)
		w.Array(4) // [version, known, added, added]
		w.Uint(1)
		w.Uint(42)
		w.Exact("added", 8)
		w.Array(2)
		w.Uint(1)
		w.Bytes([]byte{1, 2, 3}, 8)
		w.Uint(7)
		w.Array(1) // an older one, without a second field
		w.Uint(1)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = bounded.Decode(b, bounded.Limits{}, func(r *bounded.Reader) error {
		r.Array(3)
		r.Version(1)
		if v := r.Uint64(); v != 42 {
			t.Errorf("known field: %d", v)
		}
		r.End()
		if v := r.Uint64(); v != 7 {
			t.Errorf("field behind the longer array: %d", v)
		}
		r.Version(1)
		if r.More() {
			t.Error("the older array has more")
		}
		r.End()
		r.End()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDecodeReturnsTheCallersError(t *testing.T) {
	own := errors.New("own")
	if err := bounded.Decode([]byte{1}, bounded.Limits{}, func(*bounded.Reader) error { return own }); err != own {
		t.Errorf("%v, want the caller's own error", err)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"ää", 3, "ä"}, {"ä", 1, ""}, {"", 0, ""}, {"a\xff", 8, "a\uFFFD"}, {"\xff\xff", 2, ""},
	} {
		if got := bounded.Cut(c.in, c.max); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	v := values{U: 1 << 40, I: -5, S: "a name", X: make([]byte, 32), L: []int64{1, 2, 3}}
	in, err := bounded.Encode(nil, v.write)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var got values
		if err := bounded.Decode(in, bounded.Limits{}, got.read); err != nil {
			b.Fatal(err)
		}
	}
}
