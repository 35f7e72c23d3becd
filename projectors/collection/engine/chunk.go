package engine

import (
	"math/bits"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// Devices are evaluated by chunks: up to 2,048 that follow each other, or any others
// put side by side. A chunk has a buffer of 64 devices a word for every node, and all
// buffers of a chunk stay near the processor.
const (
	chunkWords   = 32
	chunkDevices = 64 * chunkWords
)

// A chunk is the devices that are evaluated together.
type chunk struct {
	words   int
	group   int      // of those that follow each other: the first device is 64 group
	devices []uint32 // or these, rising; all of one group of 64 in the same chunk
}

// A worker evaluates chunks, one at a time. Workers share nothing that they write.
type worker struct {
	e       *Engine
	g       *program
	now     int64
	overlay map[*compiled]*roaring.Bitmap // devices that are in a collection or not, other than the matrix has it
	dry     bool                          // the matrix stays as it is
	keep    []*marks                      // takes the bits of the program's extra nodes
	timed   func() time.Time

	chunk   chunk
	live    [chunkWords]uint64
	buf     []uint64 // of each place, stride words
	stride  int
	codes   [chunkDevices]uint32
	scratch [chunkWords]uint64

	added, removed [][]diff // by output
	touched        []int    // outputs that have some
	took           []time.Duration
	loading        time.Duration
}

// A diff is what changed for 64 devices.
type diff struct {
	group int
	word  uint64
}

// worker returns one that rests, or a new one.
func (g *program) worker(e *Engine, now int64, stride int) *worker {
	var w *worker
	if n := len(g.resting); n > 0 {
		w, g.resting = g.resting[n-1], g.resting[:n-1]
	} else {
		n := len(g.outputs)
		w = &worker{g: g, added: make([][]diff, n), removed: make([][]diff, n), took: make([]time.Duration, n)}
	}
	w.e, w.now, w.timed, w.stride = e, now, e.clock, stride
	if n := g.places * stride; n > cap(w.buf) {
		w.buf = make([]uint64, n)
	} else {
		w.buf = w.buf[:n]
	}
	return w
}

// rest takes workers back whose findings were used.
func (g *program) rest(ws []*worker) {
	for _, w := range ws {
		for _, k := range w.touched {
			w.added[k], w.removed[k] = nil, nil
		}
		clear(w.took)
		w.touched, w.loading, w.keep, w.overlay = w.touched[:0], 0, nil, nil
		g.resting = append(g.resting, w)
	}
}

func (w *worker) bits(place int) []uint64 {
	return w.buf[place*w.stride:][:w.chunk.words:w.stride]
}

// run evaluates a chunk.
func (w *worker) run(c chunk) {
	w.chunk = c
	w.findLive()
	start := w.timed()
	for i := range w.g.loads {
		l := &w.g.loads[i]
		if l.col != nil {
			w.loadColumn(l)
		} else {
			w.loadRows(l)
		}
	}
	at := w.timed()
	w.loading += at.Sub(start)
	last := 0
	each := len(w.chunk.devices) == 0 || len(w.chunk.devices) > chunkDevices/4
	for k := range w.g.outputs {
		o := &w.g.outputs[k]
		for s := o.from; s < o.to; s++ {
			w.step(&w.g.steps[s])
		}
		last = o.to
		if each && o.to > o.from { // reading a clock costs more than a step of few words
			now := w.timed()
			w.took[k] += now.Sub(at)
			at = now
		}
	}
	if !each {
		w.loading += w.timed().Sub(at)
	}
	for s := last; s < len(w.g.steps); s++ {
		w.step(&w.g.steps[s])
	}
	if len(c.devices) == 0 {
		w.compare()
	} else {
		w.compareSparse()
	}
	if w.keep != nil {
		w.keepExtra()
	}
}

func (w *worker) findLive() {
	c := &w.chunk
	if c.devices == nil {
		for i := range c.words {
			w.live[i] = w.e.live.word(c.group + i)
		}
		return
	}
	for i := range c.words {
		w.live[i] = 0
	}
	for j, d := range c.devices {
		if w.e.live.has(d) {
			w.live[j>>6] |= 1 << (j & 63)
		}
	}
}

// codesOf returns the codes of a column for the chunk's devices, in whole words; nil
// means that all are NULL.
func (w *worker) codesOf(c *cells) []uint32 {
	n := 64 * w.chunk.words
	if w.chunk.devices == nil {
		first := 64 * w.chunk.group
		if p := first >> pageBits; p < len(c.pages) && c.pages[p] != nil {
			return c.pages[p][first&pageMask:][:n]
		}
		return nil
	}
	codes := w.codes[:n]
	page, at := []uint32(nil), -1
	for j, d := range w.chunk.devices {
		if p := int(d >> pageBits); p != at {
			if at, page = p, nil; p < len(c.pages) {
				page = c.pages[p]
			}
		}
		if page == nil {
			codes[j] = null
		} else {
			codes[j] = page[d&pageMask]
		}
	}
	clear(codes[len(w.chunk.devices):])
	return codes
}

func (w *worker) loadColumn(l *load) {
	codes := w.codesOf(&l.col.cells)
	words := l.batch.words
	if codes == nil {
		for _, b := range l.bits {
			fill(w.bits(b.place), words[null]>>b.bit&1 != 0)
		}
		return
	}
	var m [64]uint64
	for i := range w.chunk.words {
		some := codes[64*i:][:64]
		for j := range m {
			m[j] = words[some[j]]
		}
		w.spread(&m, l.bits, i)
	}
}

func (w *worker) loadRows(l *load) {
	var m [64]uint64
	words := l.batch.words
	var page *listPage
	if first := 64 * w.chunk.group; w.chunk.devices == nil && first>>pageBits < len(l.table.lists.pages) {
		page = l.table.lists.pages[first>>pageBits]
	}
	for i := range w.chunk.words {
		var any uint64
		for j := range m {
			var rows []uint32
			switch {
			case w.chunk.devices != nil:
				rows = w.rows(l.table, 64*i+j)
			case page != nil:
				rows = page.at(uint32(64*(w.chunk.group+i)+j) & pageMask)
			}
			var one uint64
			for _, r := range rows {
				one |= words[r]
			}
			m[j] = one
			any |= one
		}
		if any == 0 {
			for _, b := range l.bits {
				w.buf[b.place*w.stride+i] = 0
			}
			continue
		}
		w.spread(&m, l.bits, i)
	}
}

// rows are those of the j-th of the chunk's devices that were put side by side, in a
// class with many.
func (w *worker) rows(t *table, j int) []uint32 {
	if j >= len(w.chunk.devices) {
		return nil
	}
	return t.lists.at(w.chunk.devices[j])
}

// spread puts the answers of 64 devices to up to 64 conditions to where each
// condition has its bits.
func (w *worker) spread(m *[64]uint64, to []bitPlace, i int) {
	if len(to) <= fewBits {
		for _, b := range to {
			w.buf[b.place*w.stride+i] = pick(m, b.bit)
		}
		return
	}
	transpose(m)
	for _, b := range to {
		w.buf[b.place*w.stride+i] = m[b.bit&63]
	}
}

func fill(words []uint64, is bool) {
	v := uint64(0)
	if is {
		v = ^v
	}
	for i := range words {
		words[i] = v
	}
}

// compare takes the bits of all collections for a chunk whose devices follow each
// other.
func (w *worker) compare() {
	for i := range w.chunk.words {
		g := w.chunk.group + i
		row := w.e.matrix.group(g)
		for k := range w.g.outputs {
			o := &w.g.outputs[k]
			now, was := w.buf[o.place*w.stride+i]&w.live[i], uint64(0)
			if row != nil && o.of.slot >= 0 {
				was = row[o.of.slot]
			}
			if now == was {
				continue
			}
			w.differs(k, g, now&^was, was&^now)
			if !w.dry {
				if row == nil {
					row = w.e.matrix.made(g)
				}
				row[o.of.slot] = now
			}
		}
	}
}

// compareSparse is compare for any devices.
func (w *worker) compareSparse() {
	var rows [64][]uint64
	for i := range w.chunk.words {
		devices := w.chunk.devices[64*i : min(64*i+64, len(w.chunk.devices))]
		for j, d := range devices {
			rows[j] = w.e.matrix.group(int(d >> 6))
		}
		for k := range w.g.outputs {
			o := &w.g.outputs[k]
			now, was, slot := w.buf[o.place*w.stride+i]&w.live[i], uint64(0), o.of.slot
			if slot >= 0 {
				for j, d := range devices {
					if row := rows[j]; row != nil {
						was |= row[slot] >> (d & 63) & 1 << j
					}
				}
			}
			for x := now ^ was; x != 0; x &= x - 1 {
				j := bits.TrailingZeros64(x)
				w.flip(k, slot, devices[j], now>>j&1 != 0)
				rows[j] = w.e.matrix.group(int(devices[j] >> 6))
			}
		}
	}
}

func (w *worker) flip(k, slot int, device uint32, is bool) {
	g, bit := int(device>>6), uint64(1)<<(device&63)
	if is {
		w.differs(k, g, bit, 0)
	} else {
		w.differs(k, g, 0, bit)
	}
	if !w.dry {
		w.e.matrix.made(g)[slot] ^= bit
	}
}

func (w *worker) differs(k, group int, added, removed uint64) {
	if w.added[k] == nil && w.removed[k] == nil {
		w.touched = append(w.touched, k)
	}
	if added != 0 {
		w.added[k] = append(w.added[k], diff{group, added})
	}
	if removed != 0 {
		w.removed[k] = append(w.removed[k], diff{group, removed})
	}
}

// keepExtra marks the devices of the nodes that were asked for besides collections.
// Marks of the chunk's pages are made already.
func (w *worker) keepExtra() {
	for k, place := range w.g.extra {
		for i := range w.chunk.words {
			word := w.buf[place*w.stride+i] & w.live[i]
			if w.chunk.devices == nil {
				if word != 0 {
					g := w.chunk.group + i
					w.keep[k].pages[g>>(pageBits-6)][g&(pageSize/64-1)] = word
				}
				continue
			}
			for ; word != 0; word &= word - 1 {
				d := w.chunk.devices[64*i+bits.TrailingZeros64(word)]
				w.keep[k].pages[d>>pageBits][d&pageMask>>6] |= 1 << (d & 63)
			}
		}
	}
}
