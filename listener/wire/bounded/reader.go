package bounded

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

// A Reader decodes one scanned value field by field. The first thing that does
// not hold makes every further call return zero; the reason is [Reader.Err].
// Slices it returns are copies and belong to the caller. It is not safe for
// concurrent use.
type Reader struct {
	src   bytes.Reader
	size  int
	dec   *msgpack.Decoder
	left  [maxDepth + 1]int
	depth int
	err   error
	buf   []byte // for fixed-size fields
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
	r.reset(b)
	if err := read(r); err != nil && r.err == nil {
		return err
	}
	return r.err
}

func (r *Reader) reset(b []byte) {
	r.src.Reset(b)
	r.size, r.depth, r.err = len(b), 0, nil
	r.left = [maxDepth + 1]int{}
	if r.dec == nil {
		r.dec = msgpack.NewDecoder(&r.src)
	} else {
		r.dec.ResetReader(&r.src)
	}
}

func (r *Reader) free() {
	r.src.Reset(nil)
	readers.Put(r)
}

// Err returns what was refused first, or nil.
func (r *Reader) Err() error { return r.err }

// Fail makes the Reader fail with reason, at the place where it stands, unless
// it has failed before. A caller uses it for a value that is well formed and
// still not allowed.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = &OffsetError{r.size - r.src.Len(), fmt.Sprintf(format, args...)}
	}
}

func (r *Reader) check(err error) bool {
	if err != nil && err != io.EOF {
		r.Fail("%v", err)
	} else if err != nil {
		r.Fail("cut short")
	}
	return r.err == nil
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

func (r *Reader) peek() byte {
	c, err := r.dec.PeekCode()
	if !r.check(err) {
		return 0
	}
	return byte(c)
}

// Array enters an array of at most max elements and returns how many it has.
// [Reader.End] leaves it.
func (r *Reader) Array(max int) int {
	if !r.next() {
		return 0
	}
	n, err := r.dec.DecodeArrayLen()
	if !r.check(err) {
		return 0
	}
	if n < 0 || n > max {
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
	for r.More() {
		r.left[r.depth]--
		r.check(r.dec.Skip())
	}
	if r.err == nil {
		r.depth--
	}
}

// Uint64 reads an unsigned integer.
func (r *Reader) Uint64() uint64 {
	if !r.next() {
		return 0
	}
	c := r.peek()
	if c > 0x7f && (c < 0xcc || c > 0xcf) {
		r.Fail("type 0x%02x where an unsigned integer must be", c)
		return 0
	}
	v, err := r.dec.DecodeUint64()
	if !r.check(err) {
		return 0
	}
	return v
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
	if !r.next() {
		return 0
	}
	c := r.peek()
	if (c > 0x7f && c < 0xcc) || (c > 0xd3 && c < 0xe0) {
		r.Fail("type 0x%02x where an integer must be", c)
		return 0
	}
	if c == 0xcf {
		v, err := r.dec.DecodeUint64()
		if r.check(err) && v > 1<<63-1 {
			r.Fail("%d does not fit a signed integer", v)
			return 0
		}
		return int64(v)
	}
	v, err := r.dec.DecodeInt64()
	if !r.check(err) {
		return 0
	}
	return v
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	if !r.next() {
		return false
	}
	if c := r.peek(); c != 0xc2 && c != 0xc3 {
		r.Fail("type 0x%02x where true or false must be", c)
		return false
	}
	v, err := r.dec.DecodeBool()
	return r.check(err) && v
}

// String reads valid UTF-8 of at most max bytes.
func (r *Reader) String(max int) string {
	n, ok := r.sized(max, true)
	if !ok || n == 0 {
		return ""
	}
	b := r.fixed(n)
	if !r.check(r.dec.ReadFull(b)) {
		return ""
	}
	if !utf8.Valid(b) {
		r.Fail("string is not UTF-8")
		return ""
	}
	return string(b)
}

// Bytes reads at most max bytes; the slice is the caller's. It is nil if there
// are none.
func (r *Reader) Bytes(max int) []byte {
	n, ok := r.sized(max, false)
	if !ok || n == 0 {
		return nil
	}
	b := make([]byte, n)
	if !r.check(r.dec.ReadFull(b)) {
		return nil
	}
	return b
}

// Raw fills dst, whose length must be the field's.
func (r *Reader) Raw(dst []byte) {
	n, ok := r.sized(len(dst), false)
	if !ok {
		return
	}
	if n != len(dst) {
		r.Fail("%d bytes where %d must be", n, len(dst))
		return
	}
	r.check(r.dec.ReadFull(dst))
}

func (r *Reader) sized(max int, text bool) (int, bool) {
	if !r.next() {
		return 0, false
	}
	c := r.peek()
	isText := c >= 0xa0 && c <= 0xbf || c >= 0xd9 && c <= 0xdb
	if isText != text || !isText && (c < 0xc4 || c > 0xc6) {
		r.Fail("type 0x%02x where %s must be", c, map[bool]string{true: "text", false: "bytes"}[text])
		return 0, false
	}
	n, err := r.dec.DecodeBytesLen()
	if !r.check(err) {
		return 0, false
	}
	if n < 0 || n > max {
		r.Fail("%d bytes, at most %d are taken", n, max)
		return 0, false
	}
	return n, true
}

func (r *Reader) fixed(n int) []byte {
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	return r.buf[:n]
}
