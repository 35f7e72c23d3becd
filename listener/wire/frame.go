package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// ALPN is the name that both sides give in the TLS handshake; it holds the
// protocol's version, so that strangers and other versions end there.
const ALPN = "bugle/1"

// Version is the version of the messages that this bugle speaks.
const Version = 1

// MaxFrame is the longest frame in bytes, header included.
const MaxFrame = 64 << 10

const header = 5 // length (of type and body) uint32, type uint8

// ErrFrame is wrapped by every error that means: the other side does not keep
// the protocol. The connection is of no more use.
var ErrFrame = errors.New("protocol error")

// Append appends m as a frame.
func Append(dst []byte, m Message) ([]byte, error) {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(m.Type()))
	dst, err := bounded.Encode(dst, m.encode)
	if err != nil {
		return dst[:start], fmt.Errorf("encode %s: %w", m.Type(), err)
	}
	n := len(dst) - start
	if n > MaxFrame {
		return dst[:start], fmt.Errorf("encode %s: %w: frame of %d bytes, at most %d are taken", m.Type(), ErrFrame, n, MaxFrame)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(n-4))
	return dst, nil
}

// ReadFrom reads one frame into buf, which it grows up to [MaxFrame] and returns
// for the next call, and decodes it. At the end of the stream between two frames
// it returns io.EOF.
func ReadFrom(r *bufio.Reader, buf []byte) (Message, []byte, error) {
	var h [header]byte
	if _, err := io.ReadFull(r, h[:1]); err != nil {
		return nil, buf, err
	}
	if _, err := io.ReadFull(r, h[1:]); err != nil {
		return nil, buf, noEOF(err)
	}
	n, err := bodyOf(h[:])
	if err != nil {
		return nil, buf, err
	}
	buf, err = readBody(r, buf[:0], n)
	if err != nil {
		return nil, buf, noEOF(err)
	}
	m, err := Decode(Type(h[4]), buf)
	return m, buf, err
}

// firstStep is how much of a body is made room for before any of it has come.
const firstStep = 4 << 10

// readBody reads n bytes into buf. It takes at most twice the memory of what has
// come, for who claims a long frame may never send it.
func readBody(r io.Reader, buf []byte, n int) ([]byte, error) {
	for len(buf) < n {
		have := len(buf)
		if have == cap(buf) {
			more := make([]byte, have, min(n, max(2*have, firstStep)))
			copy(more, buf)
			buf = more
		}
		buf = buf[:min(n, cap(buf))]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			return buf[:have], err
		}
	}
	return buf, nil
}

// bodyOf reads a header, and returns how many bytes follow it.
func bodyOf(h []byte) (body int, err error) {
	n := binary.BigEndian.Uint32(h)
	if n == 0 || n > MaxFrame-4 {
		return 0, fmt.Errorf("%w: frame claims %d bytes, at most %d are taken", ErrFrame, n, MaxFrame-4)
	}
	return int(n) - 1, nil
}

// Next decodes the first frame in b, of which it returns the length, 0 if it is not
// whole yet. The message does not keep b.
func Next(b []byte) (m Message, used int, err error) {
	if len(b) < header {
		return nil, 0, nil
	}
	body, err := bodyOf(b)
	if err != nil {
		return nil, 0, err
	}
	if used = header + body; len(b) < used {
		return nil, 0, nil
	}
	m, err = Decode(Type(b[4]), b[header:used])
	return m, used, err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

var limits = bounded.Limits{Bytes: MaxFrame, Depth: 4, Items: 1 << 14}

// Decode decodes the body of a frame. The message does not keep body. A type
// that this bugle does not know becomes [Unknown], which a receiver ignores.
func Decode(t Type, body []byte) (Message, error) {
	m := newMessage(t)
	if m == nil {
		return &Unknown{t}, nil
	}
	err := bounded.Decode(body, limits, func(r *bounded.Reader) error {
		m.decode(r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFrame, t, err)
	}
	return m, nil
}
