package filter

import (
	"encoding/binary"

	"github.com/bugle-fleet/bugle/journal/event"
)

// An envelope is what an event says of itself, in place.
type envelope struct {
	issuer, subject []byte
	listener        []byte // of the file that it was made of, or empty
	version         uint64 // of the payload
	payload         []byte
}

// readEnvelope reads version 1 of an event; ok is false for anything else.
func readEnvelope(body []byte) (e envelope, ok bool) {
	c := cursor{b: body}
	if c.array() < 8 || c.uint() != 1 {
		return e, false
	}
	c.text() // kind
	c.text() // key
	c.int()  // observed
	if n := c.array(); n >= 2 {
		e.issuer, e.subject = c.text(), c.text()
		c.skip(n - 2)
	} else {
		return e, false
	}
	if n := c.array(); n > 0 {
		e.listener = c.text()
		c.skip(n - 1)
	}
	e.version, e.payload = c.uint(), c.text()
	return e, !c.failed
}

// names tells whether a payload is about a device; sure is false for an operation,
// whose targets are a bitmap, and for what is not of version 1.
func (e *envelope) names(kind event.Kind, device uint32) (found, sure bool) {
	if e.version != 1 {
		return false, false
	}
	c := cursor{b: e.payload}
	fields := c.array()
	switch kind {
	case event.KindDeviceJoined, event.KindDeviceDiscovered, event.KindDeviceBlocked, event.KindDeviceUnblocked, event.KindDeviceRemoved, event.KindCertificateIssued:
		return c.field(1, fields, device)
	case event.KindStatusMessage:
		return c.field(4, fields, device)
	}
	switch {
	case fields == 3 && kind == event.KindPresenceSnapshot && c.uint() == 1:
		c.uint() // total
		return c.entries(int64(device))
	case fields == 2 && kind == event.KindPresenceDelta && c.uint() == 1:
		return c.entries(int64(device))
	case fields == 2 && kind == event.KindResultsReported && c.uint() == 1:
		return c.rows(uint64(device))
	}
	return false, false
}

// field looks at element i of a payload of version 1.
func (c *cursor) field(i, fields int, device uint32) (found, sure bool) {
	if fields <= i || c.uint() != 1 {
		return false, false
	}
	c.skip(i - 1)
	found = c.uint() == uint64(device)
	return found && !c.failed, !c.failed
}

// entries walks three numbers a device, of which the first is the device less the
// one before it.
func (c *cursor) entries(device int64) (found, sure bool) {
	at := int64(0)
	for n := c.array() / 3; n > 0 && !c.failed; n-- {
		if at += c.int(); at == device && !c.failed {
			return true, true
		}
		c.int()
		c.int()
	}
	return false, !c.failed
}

// rows walks an array for each transition, whose second element is the device.
func (c *cursor) rows(device uint64) (found, sure bool) {
	for n := c.array(); n > 0 && !c.failed; n-- {
		fields := c.array()
		if fields < 2 {
			return false, false
		}
		c.text() // operation
		if c.uint() == device && !c.failed {
			return true, true
		}
		c.skip(fields - 2)
	}
	return false, !c.failed
}

// A cursor walks msgpack as package event writes it: integers, bytes, texts and
// arrays. What is not as it should be makes it fail, and it returns zeroes then.
type cursor struct {
	b      []byte
	failed bool
}

// take passes n bytes.
func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) || c.failed {
		c.failed, c.b = true, nil
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) head() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

// big reads an unsigned number of 1, 2, 4 or 8 bytes.
func (c *cursor) big(size int) uint64 {
	b := c.take(size)
	if b == nil {
		return 0
	}
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}

func (c *cursor) fail() int {
	c.failed, c.b = true, nil
	return 0
}

// array returns how many elements follow.
func (c *cursor) array() int {
	switch h := c.head(); {
	case h >= 0x90 && h <= 0x9f:
		return int(h & 0x0f)
	case h == 0xdc:
		return int(c.big(2))
	case h == 0xdd:
		return int(c.big(4))
	}
	return c.fail()
}

// text returns a text or bytes.
func (c *cursor) text() []byte {
	switch h := c.head(); {
	case h >= 0xa0 && h <= 0xbf:
		return c.take(int(h & 0x1f))
	case h == 0xd9 || h == 0xc4:
		return c.take(int(c.big(1)))
	case h == 0xda || h == 0xc5:
		return c.take(int(c.big(2)))
	case h == 0xdb || h == 0xc6:
		return c.take(int(c.big(4)))
	}
	c.fail()
	return nil
}

func (c *cursor) uint() uint64 { return uint64(c.int()) }

// int returns a number; one that does not fit comes out negative.
func (c *cursor) int() int64 {
	switch h := c.head(); {
	case h <= 0x7f:
		return int64(h)
	case h >= 0xe0:
		return int64(int8(h))
	case h >= 0xcc && h <= 0xcf:
		return int64(c.big(1 << (h - 0xcc)))
	case h == 0xd0:
		return int64(int8(c.big(1)))
	case h == 0xd1:
		return int64(int16(c.big(2)))
	case h == 0xd2:
		return int64(int32(c.big(4)))
	case h == 0xd3:
		return int64(c.big(8))
	}
	return int64(c.fail())
}

// skip passes n values of any sort, arrays with what is in them.
func (c *cursor) skip(n int) {
	for ; n > 0 && !c.failed; n-- {
		if len(c.b) == 0 {
			c.fail()
			return
		}
		switch h := c.b[0]; {
		case h >= 0x90 && h <= 0x9f, h == 0xdc, h == 0xdd:
			n += c.array()
		case h == 0xc2, h == 0xc3:
			c.take(1)
		case h >= 0xa0 && h <= 0xbf, h >= 0xd9 && h <= 0xdb, h >= 0xc4 && h <= 0xc6:
			c.text()
		default:
			c.int()
		}
	}
}
