package tlsrecord

import (
	"errors"
	"testing"
)

// FuzzRead lets anything come: bytes as they are, and records that were sealed with
// the right key. There is never a panic, what is kept is bounded, and errors stay.
func FuzzRead(f *testing.F) {
	f.Add(uint8(0), uint16(10), []byte{0, 3, 'a', 'b', 'c'})
	f.Add(uint8(1), uint16(1), []byte{1, 3, 'a', 'b', 'c', 2, 2, 1, 0})
	f.Add(uint8(2), uint16(9000), []byte{0, 5, 23, 3, 3, 64, 255, 1, 2, 9, 9, 3, 1, 24})
	f.Add(uint8(0), uint16(3), []byte{4, 200, 1, 0, 1, 0, 1, 0, 5, 7, 1, 2})
	f.Fuzz(func(t *testing.T, which uint8, size uint16, script []byte) {
		c, near, seal := receiver(t, int(which)%len(suites))
		p := make([]byte, int(size)+1)
		for len(script) > 1 {
			var come []byte
			come, script = act(seal, script)
			near.in.change(func() { near.in.bytes = append(near.in.bytes, come...) })
			drainAll(t, c, p)
		}
		near.in.end()
		drainAll(t, c, p)
		if _, err := c.Read(p); err == nil || errors.Is(err, errWait{}) {
			t.Errorf("behind the end: %v", err)
		}
	})
}

// receiver is a connection in the middle of its life, and what seals for it.
func receiver(t failer, which int) (*Conn, *end, func(typ byte, data []byte) []byte) {
	near, _ := pipe()
	near.parked = true
	h := half{count: 77}
	for i := range h.key[:suites[which].key] {
		h.key[i] = byte(i)
	}
	m := &meeting{ours: &Conn{raw: near, in: h, out: h, most: MaxRecords, suite: uint8(which)}}
	return m.ours, near, m.forge(t)
}

// act is the next act of a script: what kind, how long, and what is in it.
func act(seal func(byte, []byte) []byte, script []byte) (come, rest []byte) {
	kind, n := script[0], min(int(script[1]), len(script)-2)
	b, rest := script[2:2+n], script[2+n:]
	switch kind % 6 {
	case 0:
		return b, rest
	case 1:
		return seal(typeData, b), rest
	case 2:
		return seal(typeAlert, b), rest
	case 3:
		return seal(typeHandshake, b), rest
	case 4:
		return seal(typeData, make([]byte, 83*int(script[1]))), rest
	}
	return seal(0, b), rest // its last byte that is not zero is its type
}

// drainAll reads until there is nothing more, which must happen.
func drainAll(t *testing.T, c *Conn, p []byte) {
	t.Helper()
	for range 1 << 20 {
		n, err := c.Read(p)
		if n == 0 && err == nil {
			t.Fatal("nothing was read, and no error")
		}
		if r := c.rare; r != nil && (cap(r.sealed) > 2*maxRecord || len(r.plain) > maxPlaintext) {
			t.Fatalf("%d bytes are kept and %d opened ones", cap(r.sealed), len(r.plain))
		}
		if err != nil {
			return
		}
	}
	t.Fatal("there is no end")
}
