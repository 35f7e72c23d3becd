package inventory

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// A cursor reads a row that [bounded.Scan] has passed, so that every length holds;
// types it checks itself. It is what makes reading a record cheap: texts are parts
// of one string. The first thing that does not hold stays in err.
type cursor struct {
	b    []byte
	text string // b once more
	at   int
	err  error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: byte %d: "+format, append([]any{bounded.ErrMalformed, c.at}, args...)...)
	}
	c.at = len(c.b)
}

func (c *cursor) code() byte {
	if c.at >= len(c.b) {
		c.fail("cut short")
		return 0
	}
	code := c.b[c.at]
	c.at++
	return code
}

// wide reads the n bytes of an integer.
func (c *cursor) wide(n int) (v uint64) {
	if n > len(c.b)-c.at {
		c.fail("cut short")
		return 0
	}
	p := c.b[c.at:]
	c.at += n
	switch n {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(p))
	case 4:
		return uint64(binary.BigEndian.Uint32(p))
	}
	return binary.BigEndian.Uint64(p)
}

// int reads an integer.
func (c *cursor) int() int64 {
	switch code := c.code(); {
	case code <= 0x7f:
		return int64(code)
	case code >= 0xe0:
		return int64(int8(code))
	case code >= 0xcc && code <= 0xcf:
		return int64(c.wide(1 << (code - 0xcc)))
	case code == 0xd0:
		return int64(int8(c.wide(1)))
	case code == 0xd1:
		return int64(int16(c.wide(2)))
	case code == 0xd2:
		return int64(int32(c.wide(4)))
	case code == 0xd3:
		return int64(c.wide(8))
	default:
		c.fail("type 0x%02x where an integer must be", code)
	}
	return 0
}

// upTo reads an integer from 0 to most.
func (c *cursor) upTo(most int) int {
	n := c.int()
	if n < 0 || n > int64(most) {
		c.fail("%d, at most %d is taken", n, most)
		return 0
	}
	return int(n)
}

func (c *cursor) number() uint64 {
	n := c.int()
	if n < 0 {
		c.fail("%d where a number must be", n)
		return 0
	}
	return uint64(n)
}

// array enters an array and returns how many elements it has, at most most.
func (c *cursor) array(most int) int {
	n := 0
	switch code := c.code(); {
	case code >= 0x90 && code <= 0x9f:
		n = int(code & 0x0f)
	case code == 0xdc:
		n = int(c.wide(2))
	case code == 0xdd:
		n = int(c.wide(4))
	default:
		c.fail("type 0x%02x where an array must be", code)
	}
	if n > most {
		c.fail("array of %d elements, at most %d are taken", n, most)
		return 0
	}
	return n
}

// isText tells whether the next value is a text.
func (c *cursor) isText() bool {
	return c.at < len(c.b) && (c.b[c.at] >= 0xa0 && c.b[c.at] <= 0xbf || c.b[c.at] >= 0xd9 && c.b[c.at] <= 0xdb)
}

func (c *cursor) string() string {
	n := 0
	switch code := c.code(); {
	case code >= 0xa0 && code <= 0xbf:
		n = int(code & 0x1f)
	case code >= 0xd9 && code <= 0xdb:
		n = int(c.wide(1 << (code - 0xd9)))
	default:
		c.fail("type 0x%02x where text must be", code)
	}
	if n > len(c.text)-c.at {
		c.fail("cut short")
		return ""
	}
	s := c.text[c.at : c.at+n]
	c.at += n
	if !utf8.ValidString(s) {
		c.fail("text is not UTF-8")
		return ""
	}
	return s
}
