package bounded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Limits bound what [Scan] lets through. A zero field means the default that
// its comment gives.
type Limits struct {
	Bytes int // longest input in bytes; default 4 MiB
	Depth int // deepest nesting of arrays; default 8
	Items int // most items in all, arrays and their elements counted; default 1 << 20
}

func (l Limits) orDefault() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 4 << 20
	}
	if l.Depth <= 0 || l.Depth > maxDepth {
		l.Depth = maxDepth
	}
	if l.Items <= 0 {
		l.Items = 1 << 20
	}
	return l
}

const maxDepth = 8

// ErrMalformed is wrapped by every error of [Scan] and [Reader].
var ErrMalformed = errors.New("malformed msgpack")

// OffsetError says where in the input something was refused.
type OffsetError struct {
	Offset int    // bytes from the start of the input
	Reason string // what was refused, for a person
}

func (e *OffsetError) Error() string {
	return fmt.Sprintf("malformed msgpack at byte %d: %s", e.Offset, e.Reason)
}

// Unwrap returns [ErrMalformed].
func (e *OffsetError) Unwrap() error { return ErrMalformed }

// Scan walks b, which must hold exactly one msgpack value, and returns an
// [*OffsetError] if it is longer, deeper or more numerous than lim allows, if a
// declared length exceeds what is left, if a type is not one of bugle's formats
// (map, float, ext, nil), or if anything follows the value. It does not
// allocate unless it fails.
func Scan(b []byte, lim Limits) error {
	lim = lim.orDefault()
	if len(b) > lim.Bytes {
		return &OffsetError{0, fmt.Sprintf("%d bytes, at most %d are taken", len(b), lim.Bytes)}
	}
	s := scanner{b: b, items: lim.Items}
	var left [maxDepth + 1]int // left[d]: values still to come at depth d
	left[0] = 1
	for depth := 0; ; {
		for left[depth] == 0 {
			if depth == 0 {
				return s.end()
			}
			depth--
		}
		left[depth]--
		n, err := s.value()
		if err != nil {
			return err
		}
		if n > 0 {
			if depth++; depth > lim.Depth {
				return s.refuse("nested too deep")
			}
			left[depth] = n
		}
	}
}

type scanner struct {
	b     []byte
	at    int
	items int
}

func (s *scanner) refuse(reason string) error { return &OffsetError{s.at, reason} }

func (s *scanner) end() error {
	if s.at != len(s.b) {
		return s.refuse("bytes left over")
	}
	return nil
}

// value passes one value and returns how many values follow inside it.
func (s *scanner) value() (inside int, err error) {
	if s.items--; s.items < 0 {
		return 0, s.refuse("too many items")
	}
	if s.at >= len(s.b) {
		return 0, s.refuse("cut short")
	}
	c := s.b[s.at]
	switch {
	case c <= 0x7f, c >= 0xe0: // fixint
		return 0, s.pass(1)
	case c >= 0xa0 && c <= 0xbf: // fixstr
		return 0, s.pass(1 + int(c&0x1f))
	case c >= 0x90 && c <= 0x9f: // fixarray
		return s.array(int(c&0x0f), 1)
	}
	switch c {
	case 0xc2, 0xc3: // bool
		return 0, s.pass(1)
	case 0xcc, 0xd0:
		return 0, s.pass(2)
	case 0xcd, 0xd1:
		return 0, s.pass(3)
	case 0xce, 0xd2:
		return 0, s.pass(5)
	case 0xcf, 0xd3:
		return 0, s.pass(9)
	case 0xc4, 0xd9:
		return 0, s.sized(1)
	case 0xc5, 0xda:
		return 0, s.sized(2)
	case 0xc6, 0xdb:
		return 0, s.sized(4)
	case 0xdc, 0xdd:
		width := 2 << (c - 0xdc)
		n, err := s.length(width)
		if err != nil {
			return 0, err
		}
		return s.array(n, 1+width)
	}
	return 0, s.refuse(fmt.Sprintf("type 0x%02x is in none of the formats", c))
}

func (s *scanner) pass(n int) error {
	if n > len(s.b)-s.at {
		return s.refuse("cut short")
	}
	s.at += n
	return nil
}

// array passes the header of an array of n values: each needs a byte at least.
func (s *scanner) array(n, header int) (int, error) {
	if n > len(s.b)-s.at-header {
		return 0, s.refuse("array is longer than what is left")
	}
	return n, s.pass(header)
}

func (s *scanner) sized(width int) error {
	n, err := s.length(width)
	if err != nil {
		return err
	}
	if n > len(s.b)-s.at-1-width {
		return s.refuse("string is longer than what is left")
	}
	return s.pass(1 + width + n)
}

func (s *scanner) length(width int) (int, error) {
	if 1+width > len(s.b)-s.at {
		return 0, s.refuse("cut short")
	}
	p := s.b[s.at+1:]
	switch width {
	case 1:
		return int(p[0]), nil
	case 2:
		return int(binary.BigEndian.Uint16(p)), nil
	}
	return int(min(binary.BigEndian.Uint32(p), math.MaxInt32)), nil // an int may have 32 bits
}
