package engine

import (
	"math/bits"

	"github.com/RoaringBitmap/roaring/v2"
)

// Ordinals (device numbers, or numbers of rows) are kept by pages, which are
// allocated when something is on them: a column takes memory for what it holds, and
// growing never copies.
const (
	pageBits = 12
	pageSize = 1 << pageBits
	pageMask = pageSize - 1
)

// cells hold a code for each ordinal.
type cells struct{ pages [][]uint32 }

func (c *cells) at(i uint32) uint32 {
	if p := int(i >> pageBits); p < len(c.pages) && c.pages[p] != nil {
		return c.pages[p][i&pageMask]
	}
	return null
}

func (c *cells) set(i, code uint32) {
	p := int(i >> pageBits)
	if code == null && (p >= len(c.pages) || c.pages[p] == nil) {
		return
	}
	c.pages = grown(c.pages, p)
	if c.pages[p] == nil {
		c.pages[p] = make([]uint32, pageSize)
	}
	c.pages[p][i&pageMask] = code
}

// grown makes place p of a slice exist.
func grown[T any](s []T, p int) []T {
	if p < len(s) {
		return s
	}
	return append(s, make([]T, p+1-len(s))...)
}

func (c *cells) heap() (n int) {
	for _, p := range c.pages {
		n += 4 * len(p)
	}
	return n + 24*cap(c.pages)
}

// marks are a set of ordinals, 64 a word.
type marks struct {
	pages [][]uint64
	n     int
}

func (m *marks) has(i uint32) bool {
	if p := int(i >> pageBits); p < len(m.pages) && m.pages[p] != nil {
		return m.pages[p][i&pageMask>>6]>>(i&63)&1 != 0
	}
	return false
}

// word returns the 64 marks from 64 g on.
func (m *marks) word(g int) uint64 {
	if p := g >> (pageBits - 6); p < len(m.pages) && m.pages[p] != nil {
		return m.pages[p][g&(pageSize/64-1)]
	}
	return 0
}

func (m *marks) set(i uint32, is bool) {
	if m.has(i) == is {
		return
	}
	p := int(i >> pageBits)
	m.pages = grown(m.pages, p)
	if m.pages[p] == nil {
		m.pages[p] = make([]uint64, pageSize/64)
	}
	m.pages[p][i&pageMask>>6] ^= 1 << (i & 63)
	if is {
		m.n++
	} else {
		m.n--
	}
}

// all yields the marked ordinals, rising.
func (m *marks) all(yield func(i uint32) bool) {
	for p, page := range m.pages {
		for w, word := range page {
			for ; word != 0; word &= word - 1 {
				if !yield(uint32(p<<pageBits + w<<6 + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

func (m *marks) heap() (n int) {
	for _, p := range m.pages {
		n += 8 * len(p)
	}
	return n + 24*cap(m.pages)
}

// lists hold, for each device, the numbers of its rows of one class, side by side
// with those of its neighbours.
type lists struct{ pages []*listPage }

type listPage struct {
	start [pageSize]uint32
	count [pageSize]uint32
	rows  []uint32
	waste int // places in rows that nobody uses
}

func (l *lists) at(i uint32) []uint32 {
	if p := int(i >> pageBits); p < len(l.pages) && l.pages[p] != nil {
		return l.pages[p].at(i & pageMask)
	}
	return nil
}

func (p *listPage) at(k uint32) []uint32 {
	return p.rows[p.start[k] : p.start[k]+p.count[k]]
}

func (l *lists) set(i uint32, rows []uint32) {
	n := int(i >> pageBits)
	if len(rows) == 0 && (n >= len(l.pages) || l.pages[n] == nil) {
		return
	}
	l.pages = grown(l.pages, n)
	if l.pages[n] == nil {
		l.pages[n] = &listPage{}
	}
	l.pages[n].set(i&pageMask, rows)
}

func (p *listPage) set(k uint32, rows []uint32) {
	old := p.count[k]
	if n := uint32(len(rows)); n <= old {
		copy(p.rows[p.start[k]:], rows)
		p.count[k] = n
		p.waste += int(old - n)
		return
	}
	p.waste += int(old)
	p.count[k] = 0
	if p.waste > len(p.rows)/2+64 {
		p.pack()
	}
	p.start[k], p.count[k] = uint32(len(p.rows)), uint32(len(rows))
	p.rows = append(p.rows, rows...)
}

// pack leaves no place unused.
func (p *listPage) pack() {
	rows := make([]uint32, 0, len(p.rows)-p.waste+len(p.rows)/8)
	for k := range p.start {
		at := uint32(len(rows))
		rows = append(rows, p.at(uint32(k))...)
		p.start[k] = at
	}
	p.rows, p.waste = rows, 0
}

func (l *lists) heap() (n int) {
	for _, p := range l.pages {
		if p != nil {
			n += 8*pageSize + 4*cap(p.rows)
		}
	}
	return n + 8*cap(l.pages)
}

// marksOf returns the marks of a set, as far as there can be devices.
func marksOf(set *roaring.Bitmap) *marks {
	m := &marks{}
	for d := range roaring.Values(set) {
		if d > MaxDevice {
			break
		}
		m.set(d, true)
	}
	return m
}

// bitmap returns the marked ordinals.
func (m *marks) bitmap() *roaring.Bitmap {
	var b setBuilder
	for p, page := range m.pages {
		for i, word := range page {
			if word != 0 {
				b.add(p*pageSize/64+i, word)
			}
		}
	}
	return b.set()
}
