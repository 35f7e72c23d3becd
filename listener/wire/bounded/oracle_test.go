package bounded_test

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// FuzzReader reads whatever Scan passes, value by value, with the Reader and with the
// msgpack library, and they must agree: on what a value is, and on which of the Reader's
// calls take it.
func FuzzReader(f *testing.F) {
	for _, s := range []string{"00", "7f", "ff", "e0", "c2", "c3", "cc80", "cdffff", "ceffffffff", "cf7fffffffffffffff", "cfffffffffffffffff",
		"d080", "d18000", "d280000000", "d38000000000000000", "d001", "d30000000000000001", "a0", "a3616263", "a1ff", "d90161", "da000161", "db0000000161",
		"c400", "c40107", "c5000107", "c60000000107", "90", "9301c2a161", "dc000101", "dd0000000101", "919191c40107", "930192010203", "9292019301a1612a07"} {
		f.Add(raw(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// An empty array may be one deeper than others for Scan, and not for the Reader.
		if bounded.Scan(b, bounded.Limits{Depth: 7}) != nil {
			return
		}
		for _, skip := range []bool{false, true} {
			in := bytes.NewReader(b)
			o := &oracle{t: t, whole: b, in: in, dec: msgpack.NewDecoder(in), skip: skip}
			refused := false
			err := bounded.Decode(b, bounded.Limits{}, func(r *bounded.Reader) error {
				if refused = !o.value(r); refused {
					return nil
				}
				if r.Err() != nil {
					t.Fatalf("%x: %v", b, r.Err())
				}
				r.Bool()
				return nil
			})
			if refused {
				return // text that is not UTF-8: the Reader has failed as it must
			}
			var beyond *bounded.OffsetError
			if !errors.As(err, &beyond) || beyond.Offset != len(b) {
				t.Fatalf("%x: behind the value the Reader says %v", b, err)
			}
			if in.Len() != 0 {
				t.Fatalf("%x: the library has %d bytes left", b, in.Len())
			}
		}
	})
}

// An oracle reads with the library what a Reader reads.
type oracle struct {
	t     *testing.T
	whole []byte
	in    *bytes.Reader
	dec   *msgpack.Decoder
	skip  bool // of every second array all but the first element is skipped
	had   int  // arrays
}

// value reads the next value, and tells whether the Reader took it, as it must unless
// there is text in it that is not UTF-8.
func (o *oracle) value(r *bounded.Reader) bool {
	o.t.Helper()
	rest := o.whole[len(o.whole)-o.in.Len():]
	o.refusals(rest)
	switch c := rest[0]; {
	case c == 0xc2 || c == 0xc3:
		want, err := o.dec.DecodeBool()
		o.same(err, r.Bool() == want)
	case c >= 0xa0 && c <= 0xbf || c >= 0xd9 && c <= 0xdb:
		want, err := o.dec.DecodeString()
		got := r.String(len(rest))
		if !utf8.ValidString(want) {
			o.same(err, got == "" && r.Err() != nil)
			return false
		}
		o.same(err, got == want)
	case c >= 0xc4 && c <= 0xc6:
		want, err := o.dec.DecodeBytes()
		got := r.Bytes(len(rest))
		o.same(err, bytes.Equal(got, want) && (len(want) > 0 || got == nil))
	case c >= 0x90 && c <= 0x9f || c == 0xdc || c == 0xdd:
		return o.array(r, len(rest))
	case (c <= 0x7f || c >= 0xcc && c <= 0xcf) && !high(rest):
		want, err := o.dec.DecodeInt64()
		o.same(err, r.Int64() == want)
		o.unsigned(rest, uint64(want))
	case c == 0xcf:
		want, err := o.dec.DecodeUint64()
		o.same(err, r.Uint64() == want)
	default:
		want, err := o.dec.DecodeInt64()
		o.same(err, r.Int64() == want)
	}
	return true
}

// textIn is what a text has behind its head.
func textIn(b []byte) []byte {
	switch c := b[0]; {
	case c >= 0xa0 && c <= 0xbf:
		return b[1:]
	case c >= 0xd9 && c <= 0xdb:
		return b[1+1<<(c-0xd9):]
	}
	return nil
}

// high tells whether a number has 64 bits and the highest one.
func high(b []byte) bool { return b[0] == 0xcf && b[1] >= 0x80 }

func (o *oracle) array(r *bounded.Reader, most int) bool {
	want, err := o.dec.DecodeArrayLen()
	n := r.Array(most)
	o.same(err, n == want)
	o.had++
	for skip, i := o.skip && o.had%2 == 0, 0; i < n; i++ {
		if skip && i > 0 {
			o.same(o.dec.Skip(), true) // and [bounded.Reader.End] does
			continue
		}
		if !o.value(r) {
			return false
		}
	}
	r.End()
	return true
}

func (o *oracle) same(err error, ok bool) {
	o.t.Helper()
	if err != nil || !ok {
		o.t.Fatalf("%x, %d bytes before the end: the library has something else, or %v", o.whole, o.in.Len(), err)
	}
}

// unsigned reads the number that rest begins with, alone.
func (o *oracle) unsigned(rest []byte, want uint64) {
	err := bounded.Decode(o.alone(rest), bounded.Limits{}, func(r *bounded.Reader) error {
		o.same(nil, r.Uint64() == want)
		return nil
	})
	o.same(err, true)
}

// refusals tries each call on the value that rest begins with, alone: those take it that
// are for its type, and no others.
func (o *oracle) refusals(rest []byte) {
	o.t.Helper()
	c := rest[0]
	number := c <= 0x7f || c >= 0xcc && c <= 0xcf
	text := c >= 0xa0 && c <= 0xbf || c >= 0xd9 && c <= 0xdb
	for name, call := range map[string]struct {
		read func(*bounded.Reader)
		take bool
	}{
		"Uint64": {func(r *bounded.Reader) { r.Uint64() }, number},
		"Int64":  {func(r *bounded.Reader) { r.Int64() }, number && !high(rest) || c >= 0xd0 && c <= 0xd3 || c >= 0xe0},
		"Bool":   {func(r *bounded.Reader) { r.Bool() }, c == 0xc2 || c == 0xc3},
		"String": {func(r *bounded.Reader) { r.String(len(rest)) }, text && utf8.Valid(textIn(o.alone(rest)))},
		"Bytes":  {func(r *bounded.Reader) { r.Bytes(len(rest)) }, c >= 0xc4 && c <= 0xc6},
		"Array":  {func(r *bounded.Reader) { r.Array(len(rest)) }, c >= 0x90 && c <= 0x9f || c == 0xdc || c == 0xdd},
	} {
		err := bounded.Decode(o.alone(rest), bounded.Limits{}, func(r *bounded.Reader) error {
			call.read(r)
			return nil
		})
		if (err == nil) != call.take || err != nil && !errors.Is(err, bounded.ErrMalformed) {
			o.t.Fatalf("%s of %x: %v", name, rest, err)
		}
	}
}

// alone is the first value of rest.
func (o *oracle) alone(rest []byte) []byte {
	in := bytes.NewReader(rest)
	if err := msgpack.NewDecoder(in).Skip(); err != nil {
		o.t.Fatal(err)
	}
	return rest[:len(rest)-in.Len()]
}
