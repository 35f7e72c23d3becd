package bounded

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

// A Writer encodes one value into memory in the one form that the formats
// allow: shortest integers, shortest lengths. It is not safe for concurrent
// use.
type Writer struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
	err error
}

var writers = sync.Pool{New: func() any {
	w := new(Writer)
	w.enc = msgpack.NewEncoder(&w.buf)
	return w
}}

// keep is the largest buffer that goes back to the pool.
const keep = 1 << 20

// Encode hands write a Writer and appends what it wrote to dst. The error is the
// first value that broke a bound; dst is then returned as it was.
func Encode(dst []byte, write func(*Writer)) ([]byte, error) {
	w := take()
	defer w.free()
	write(w)
	if w.err != nil {
		return dst, w.err
	}
	return append(dst, w.buf.Bytes()...), nil
}

func take() *Writer {
	w := writers.Get().(*Writer)
	w.buf.Reset()
	w.err = nil
	return w
}

func (w *Writer) free() {
	if w.buf.Cap() <= keep {
		writers.Put(w)
	}
}

// ErrOutOfBounds is wrapped by every error of [Encode].
var ErrOutOfBounds = errors.New("out of bounds")

func (w *Writer) check(err error) {
	if err != nil && w.err == nil {
		w.err = err
	}
}

// Fail makes [Encode] return an error that says reason.
func (w *Writer) Fail(format string, args ...any) {
	w.check(fmt.Errorf("%w: "+format, append([]any{ErrOutOfBounds}, args...)...))
}

// Array begins an array of n elements; the next n values are its elements.
func (w *Writer) Array(n int) { w.check(w.enc.EncodeArrayLen(n)) }

// List begins an array of n elements, of which the reader takes at most max.
func (w *Writer) List(n, max int) {
	if n > max {
		w.Fail("array of %d elements, at most %d are taken", n, max)
	}
	w.Array(n)
}

// Uint writes an unsigned integer in its shortest form.
func (w *Writer) Uint(v uint64) { w.check(w.enc.EncodeUint(v)) }

// Int writes a signed integer in its shortest form.
func (w *Writer) Int(v int64) { w.check(w.enc.EncodeInt(v)) }

// Bool writes true or false.
func (w *Writer) Bool(v bool) { w.check(w.enc.EncodeBool(v)) }

// String writes text that a person reads: it is cut to max bytes, and what is
// not UTF-8 becomes the replacement character, so that a reader takes it.
func (w *Writer) String(v string, max int) { w.check(w.enc.EncodeString(Cut(v, max))) }

// Exact writes text that must not be cut, such as a name that others refer to.
func (w *Writer) Exact(v string, max int) {
	if len(v) > max || !utf8.ValidString(v) {
		w.Fail("text of %d bytes, at most %d of UTF-8 are taken", len(v), max)
	}
	w.check(w.enc.EncodeString(v))
}

// Bytes writes at most max bytes; nil is written as no bytes, never as nil.
func (w *Writer) Bytes(v []byte, max int) {
	if len(v) > max {
		w.Fail("%d bytes, at most %d are taken", len(v), max)
	}
	w.check(w.enc.EncodeBytesLen(len(v)))
	w.buf.Write(v)
}

// Nested writes, as bytes, the value that write writes, and returns their number.
func (w *Writer) Nested(write func(*Writer)) int {
	in := take()
	defer in.free()
	write(in)
	w.check(in.err)
	b := in.buf.Bytes()
	w.Bytes(b, len(b))
	return len(b)
}

// Raw writes bytes of a fixed size.
func (w *Writer) Raw(v []byte) { w.Bytes(v, len(v)) }

// Cut returns s as valid UTF-8 of at most max bytes.
func Cut(s string, max int) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
