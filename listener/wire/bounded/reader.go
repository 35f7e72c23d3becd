package bounded

import (
	"encoding/binary"
	"fmt"
	"sync"
	"unicode/utf8"
)

// A Reader decodes one scanned value field by field. The first thing that does
// not hold makes every further call return zero; the reason is [Reader.Err].
// Slices it returns are copies and belong to the caller. It is not safe for
// concurrent use.
//
// It reads the bytes itself: what Scan has passed is whole, so that hardly anything is
// left to look at, and asking the msgpack library for one value after the other costs
// several times as much.
type Reader struct {
	b     []byte // one value, which Scan has passed
	at    int
	left  [maxDepth + 1]int // left[d]: values still to come at depth d
	depth int
	err   error
}

var readers = sync.Pool{New: func() any { return new(Reader) }}

// Decode scans b under lim, hands read a Reader over it, and returns the first
// error of the scan, of read, or of the Reader. It is the one way to decode
// foreign bytes.
func Decode(b []byte, lim Limits, read func(*Reader) error) error {
	if err := Scan(b, lim); err != nil {
		return err
	}
	r := readers.Get().(*Reader)
	defer r.free()
	r.b = b
	if err := read(r); err != nil && r.err == nil {
		return err
	}
	return r.err
}

func (r *Reader) free() {
	*r = Reader{}
	readers.Put(r)
}

// Err returns what was refused first, or nil.
func (r *Reader) Err() error { return r.err }

// Fail makes the Reader fail with reason, at the place where it stands, unless
// it has failed before. A caller uses it for a value that is well formed and
// still not allowed.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = &OffsetError{r.at, fmt.Sprintf(format, args...)}
	}
}

// next tells whether the array under way has another element, and takes it.
func (r *Reader) next() bool {
	if r.err != nil {
		return false
	}
	if r.depth == 0 {
		return true
	}
	if r.left[r.depth] == 0 {
		r.Fail("array ends before a field that must be there")
		return false
	}
	r.left[r.depth]--
	return true
}

// begin begins the next value and returns its first byte, which says what it is; false
// means that there is none.
func (r *Reader) begin() (code byte, ok bool) {
	if !r.next() {
		return 0, false
	}
	if r.at == len(r.b) {
		r.Fail("cut short")
		return 0, false
	}
	return r.b[r.at], true
}

// number takes the big-endian number of width bytes behind a first byte.
func (r *Reader) number(width int) (v uint64) {
	p := r.b[r.at+1:]
	switch width {
	case 1:
		v = uint64(p[0])
	case 2:
		v = uint64(binary.BigEndian.Uint16(p))
	case 4:
		v = uint64(binary.BigEndian.Uint32(p))
	default:
		v = binary.BigEndian.Uint64(p)
	}
	r.at += 1 + width
	return v
}

// Array enters an array of at most max elements and returns how many it has.
// [Reader.End] leaves it.
func (r *Reader) Array(max int) int {
	c, ok := r.begin()
	if !ok {
		return 0
	}
	var n int
	switch {
	case c >= 0x90 && c <= 0x9f:
		n = int(c & 0x0f)
		r.at++
	case c == 0xdc || c == 0xdd:
		n = int(r.number(2 << (c - 0xdc)))
	default:
		r.Fail("type 0x%02x where an array must be", c)
		return 0
	}
	if n > max {
		r.Fail("array of %d elements, at most %d are taken", n, max)
		return 0
	}
	if r.depth == maxDepth {
		r.Fail("nested too deep")
		return 0
	}
	r.depth++
	r.left[r.depth] = n
	return n
}

// Version enters an array and reads its first element, the version of what
// follows. A version above newest is refused: it was written by a later bugle.
func (r *Reader) Version(newest uint64) uint64 {
	if r.Array(1<<16) == 0 {
		r.Fail("no version")
		return 0
	}
	v := r.Uint64()
	if r.err == nil && (v == 0 || v > newest) {
		r.Fail("version %d, this bugle reads up to %d", v, newest)
	}
	return v
}

// More tells whether the array under way has elements left; a field that a
// later version added is read only if it has.
func (r *Reader) More() bool { return r.err == nil && r.depth > 0 && r.left[r.depth] > 0 }

// End skips what is left of the array under way, which a later version may have
// added, and leaves it.
func (r *Reader) End() {
	if r.err != nil || r.depth == 0 {
		return
	}
	for ; r.left[r.depth] > 0; r.left[r.depth]-- {
		r.skip()
	}
	r.depth--
}

// skip passes one value, with all that is inside.
func (r *Reader) skip() {
	s := scanner{b: r.b, at: r.at, items: len(r.b)}
	for values := 1; values > 0; values-- {
		inside, err := s.value()
		if err != nil {
			r.Fail("%v", err) // Scan has passed it: not reached
			return
		}
		values += inside
	}
	r.at = s.at
}

// Uint64 reads an unsigned integer.
func (r *Reader) Uint64() uint64 {
	c, ok := r.begin()
	switch {
	case !ok:
		return 0
	case c <= 0x7f:
		r.at++
		return uint64(c)
	case c >= 0xcc && c <= 0xcf:
		return r.number(1 << (c - 0xcc))
	}
	r.Fail("type 0x%02x where an unsigned integer must be", c)
	return 0
}

// Uint reads an unsigned integer of at most max.
func (r *Reader) Uint(max uint64) uint64 {
	v := r.Uint64()
	if v > max {
		r.Fail("%d, at most %d is taken", v, max)
		return 0
	}
	return v
}

// Uint32 reads an unsigned integer that fits 32 bits.
func (r *Reader) Uint32() uint32 { return uint32(r.Uint(1<<32 - 1)) }

// Int64 reads a signed integer.
func (r *Reader) Int64() int64 {
	c, ok := r.begin()
	switch {
	case !ok:
		return 0
	case c <= 0x7f || c >= 0xe0:
		r.at++
		return int64(int8(c))
	case c >= 0xcc && c <= 0xcf:
		v := r.number(1 << (c - 0xcc))
		if v > 1<<63-1 {
			r.Fail("%d does not fit a signed integer", v)
			return 0
		}
		return int64(v)
	case c >= 0xd0 && c <= 0xd3:
		width := 1 << (c - 0xd0)
		unused := 64 - 8*width
		return int64(r.number(width)<<unused) >> unused // keeps the sign
	}
	r.Fail("type 0x%02x where an integer must be", c)
	return 0
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	c, ok := r.begin()
	if !ok {
		return false
	}
	if c != 0xc2 && c != 0xc3 {
		r.Fail("type 0x%02x where true or false must be", c)
		return false
	}
	r.at++
	return c == 0xc3
}

// String reads valid UTF-8 of at most max bytes.
func (r *Reader) String(max int) string {
	b := r.sized(max, true)
	if !utf8.Valid(b) {
		r.Fail("string is not UTF-8")
		return ""
	}
	return string(b)
}

// Bytes reads at most max bytes; the slice is the caller's. It is nil if there
// are none.
func (r *Reader) Bytes(max int) []byte {
	return append([]byte(nil), r.sized(max, false)...)
}

// Raw fills dst, whose length must be the field's.
func (r *Reader) Raw(dst []byte) {
	b := r.sized(len(dst), false)
	if r.err == nil && len(b) != len(dst) {
		r.Fail("%d bytes where %d must be", len(b), len(dst))
		return
	}
	copy(dst, b)
}

// sized passes text or bytes and returns them where they are.
func (r *Reader) sized(max int, text bool) []byte {
	c, ok := r.begin()
	if !ok {
		return nil
	}
	start, n := r.at, 0
	switch {
	case text && c >= 0xa0 && c <= 0xbf:
		n = int(c & 0x1f)
		r.at++
	case text && c >= 0xd9 && c <= 0xdb:
		n = int(r.number(1 << (c - 0xd9)))
	case !text && c >= 0xc4 && c <= 0xc6:
		n = int(r.number(1 << (c - 0xc4)))
	default:
		r.Fail("type 0x%02x where %s must be", c, map[bool]string{true: "text", false: "bytes"}[text])
		return nil
	}
	if n > max {
		r.at = start
		r.Fail("%d bytes, at most %d are taken", n, max)
		return nil
	}
	b := r.b[r.at : r.at+n]
	r.at += n
	return b
}
