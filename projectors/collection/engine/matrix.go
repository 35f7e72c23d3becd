package engine

import (
	"math/bits"

	"github.com/RoaringBitmap/roaring/v2"
)

// A matrix holds who is a member of what, as it was last: for every group of 64
// devices a word of each collection, side by side. So what is known of a device lies
// together: to compare a few devices with all collections costs the same however many
// devices there are.
type matrix struct {
	groups [][]uint64 // by device / 64, then by slot
	width  int        // slots that there is room for
	counts []int      // members by slot
	free   []int
}

// take returns a slot for a collection, without members.
func (m *matrix) take() int {
	if n := len(m.free); n > 0 {
		s := m.free[n-1]
		m.free = m.free[:n-1]
		return s
	}
	m.counts = append(m.counts, 0)
	if len(m.counts) > m.width {
		m.widen(len(m.counts) + len(m.counts)/8 + 7)
	}
	return len(m.counts) - 1
}

// widen makes room for slots.
func (m *matrix) widen(width int) {
	if width <= m.width {
		return
	}
	m.width = width
	for i, g := range m.groups {
		if g != nil {
			m.groups[i] = append(make([]uint64, 0, width), g...)[:width]
		}
	}
}

// drop gives a slot back.
func (m *matrix) drop(slot int) {
	for _, g := range m.groups {
		if g != nil {
			g[slot] = 0
		}
	}
	m.counts[slot] = 0
	m.free = append(m.free, slot)
}

// group returns the words of 64 devices, nil if none of them is a member of anything.
func (m *matrix) group(g int) []uint64 {
	if g < len(m.groups) {
		return m.groups[g]
	}
	return nil
}

// room makes all groups up to n exist in the outer slice, so that goroutines can fill
// in different ones.
func (m *matrix) room(n int) { m.groups = grown(m.groups, n) }

// made returns a group that can be written to; room was made for it.
func (m *matrix) made(g int) []uint64 {
	if m.groups[g] == nil {
		m.groups[g] = make([]uint64, m.width)
	}
	return m.groups[g]
}

func (m *matrix) has(slot int, device uint32) bool {
	if g := m.group(int(device >> 6)); g != nil && slot >= 0 {
		return g[slot]>>(device&63)&1 != 0
	}
	return false
}

// restore sets the members of a slot.
func (m *matrix) restore(slot int, members *roaring.Bitmap) {
	for _, g := range m.groups {
		if g != nil {
			g[slot] = 0
		}
	}
	m.counts[slot] = int(members.GetCardinality())
	if members.IsEmpty() {
		return
	}
	m.room(int(members.Maximum() >> 6))
	for i := members.ManyIterator(); ; {
		var some [256]uint32
		n := i.NextMany(some[:])
		if n == 0 {
			return
		}
		for _, d := range some[:n] {
			m.made(int(d >> 6))[slot] |= 1 << (d & 63)
		}
	}
}

// members returns those of a slot.
func (m *matrix) members(slot int) *roaring.Bitmap {
	var b setBuilder
	for i, g := range m.groups {
		if g != nil && g[slot] != 0 {
			b.add(i, g[slot])
		}
	}
	return b.set()
}

func (m *matrix) heap() int {
	n := 24*cap(m.groups) + 8*cap(m.counts)
	for _, g := range m.groups {
		n += 8 * len(g)
	}
	return n
}

// A setBuilder makes a set from words of 64 devices, in rising order.
type setBuilder struct {
	out   *roaring.Bitmap
	words [1024]uint64 // of one container
	chunk int
	n     int // devices in words
}

func (b *setBuilder) add(group int, word uint64) {
	if chunk := group >> 10; chunk != b.chunk {
		b.flush()
		b.chunk = chunk
	}
	b.words[group&1023] |= word
	b.n += bits.OnesCount64(word)
}

func (b *setBuilder) flush() {
	if b.n == 0 {
		return
	}
	part := roaring.FromDense(b.words[:], true)
	if b.chunk > 0 {
		part = roaring.AddOffset64(part, int64(b.chunk)<<16)
	}
	if b.out == nil {
		b.out = part
	} else {
		b.out.Or(part)
	}
	b.words, b.n = [1024]uint64{}, 0
}

// set returns all that was added; it is never nil.
func (b *setBuilder) set() *roaring.Bitmap {
	if b.flush(); b.out == nil {
		b.out = roaring.New()
	}
	return b.out
}
