package engine

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A kind says what a dictionary holds.
type kind uint8

const (
	ofTexts   kind = iota // folded
	ofNumbers             // numbers, bools, and dates as Unix milliseconds
	ofLists               // of texts
)

// null is the code of NULL in every dictionary.
const null = 0

// A dictionary numbers the different values of a column. A code is given back when
// no cell has it any more, and then stands for another value.
type dictionary struct {
	kind    kind
	texts   []string // by code, as are the next two
	numbers []int64
	lists   [][]uint32  // codes of values, rising, each once
	values  *dictionary // of lists: the texts in them

	refs    []uint32 // how many cells have a code
	free    []uint32
	index   index
	arena   strings.Builder // texts are parts of what was built
	answers answers
	asked   map[string]*condition
	order   order // of numbers: sorted, for what asks for the time
}

func newDictionary(k kind) *dictionary {
	d := &dictionary{kind: k, refs: make([]uint32, 1), asked: map[string]*condition{}}
	switch k {
	case ofTexts:
		d.texts = make([]string, 1)
	case ofNumbers:
		d.numbers = make([]int64, 1)
	case ofLists:
		d.lists, d.values = make([][]uint32, 1), newDictionary(ofTexts)
	}
	return d
}

// size is the number of codes, NULL's and free ones among them.
func (d *dictionary) size() int { return len(d.refs) }

var seed = maphash.MakeSeed()

func hashNumber(n int64) uint64 {
	hi, lo := bits.Mul64(uint64(n)^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return hi ^ lo
}

func hashCodes(codes []uint32) uint64 {
	h := uint64(len(codes))
	for _, c := range codes {
		h = hashNumber(int64(h ^ uint64(c)))
	}
	return h
}

func (d *dictionary) hash(code uint32) uint64 {
	switch d.kind {
	case ofTexts:
		return maphash.String(seed, d.texts[code])
	case ofNumbers:
		return hashNumber(d.numbers[code])
	}
	return hashCodes(d.lists[code])
}

// code returns that of a value and counts one cell more that has it. A list without
// values is NULL.
func (d *dictionary) code(v *schema.Value) uint32 {
	switch {
	case !v.Set:
		return null
	case d.kind == ofTexts:
		return d.text(schema.Fold(v.Text))
	case d.kind == ofNumbers:
		return d.number(v.Number)
	case len(v.List) == 0:
		return null
	}
	return d.list(v.List)
}

func (d *dictionary) text(folded string) uint32 {
	c := d.index.find(maphash.String(seed, folded), func(c uint32) bool { return d.texts[c] == folded })
	if c == null {
		c = d.take()
		d.texts[c] = d.keep(folded)
		d.index.add(d.hash(c), c)
	}
	d.refs[c]++
	return c
}

func (d *dictionary) number(n int64) uint32 {
	c := d.index.find(hashNumber(n), func(c uint32) bool { return d.numbers[c] == n })
	if c == null {
		c = d.take()
		d.numbers[c] = n
		d.index.add(d.hash(c), c)
		d.order.add(c, n)
	}
	d.refs[c]++
	return c
}

func (d *dictionary) list(texts []string) uint32 {
	codes := make([]uint32, len(texts))
	for i, t := range texts {
		codes[i] = d.values.text(schema.Fold(t))
	}
	slices.Sort(codes)
	n := len(codes)
	for i := n - 1; i > 0; i-- {
		if codes[i] == codes[i-1] {
			d.values.release(codes[i])
		}
	}
	codes = slices.Compact(codes)
	c := d.index.find(hashCodes(codes), func(c uint32) bool { return slices.Equal(d.lists[c], codes) })
	if c == null {
		c = d.take()
		d.lists[c] = codes
		d.index.add(d.hash(c), c)
	} else {
		for _, v := range codes { // the list that is there holds them already
			d.values.release(v)
		}
	}
	d.refs[c]++
	return c
}

// take returns a code for a value that is new.
func (d *dictionary) take() uint32 {
	if n := len(d.free); n > 0 {
		c := d.free[n-1]
		d.free = d.free[:n-1]
		d.answers.renew(c, d.size())
		return c
	}
	c := uint32(len(d.refs))
	d.refs = append(d.refs, 0)
	switch d.kind {
	case ofTexts:
		d.texts = append(d.texts, "")
	case ofNumbers:
		d.numbers = append(d.numbers, 0)
	case ofLists:
		d.lists = append(d.lists, nil)
	}
	d.answers.renew(c, d.size())
	return c
}

// release says that a cell has a code no more.
func (d *dictionary) release(c uint32) {
	if c == null {
		return
	}
	if d.refs[c]--; d.refs[c] > 0 {
		return
	}
	d.index.remove(d.hash(c), c)
	switch d.kind {
	case ofTexts:
		d.texts[c] = ""
	case ofNumbers:
		d.order.remove()
	case ofLists:
		for _, v := range d.lists[c] {
			d.values.release(v)
		}
		d.lists[c] = nil
	}
	d.free = append(d.free, c)
}

// block is how many bytes of texts are allocated together. Those of a block are
// freed when none of them is in use.
const block = 16 << 10

// keep copies a text to where many lie together.
func (d *dictionary) keep(s string) string {
	if len(s) > block/8 {
		return strings.Clone(s)
	}
	if d.arena.Cap()-d.arena.Len() < len(s) {
		d.arena = strings.Builder{}
		d.arena.Grow(min(block, max(256, 16*len(d.texts))))
		if d.arena.Cap() < len(s) {
			return strings.Clone(s)
		}
	}
	n := d.arena.Len()
	d.arena.WriteString(s)
	return d.arena.String()[n:]
}

// scalars returns the values that a code stands for: none for NULL, several for a
// list.
func (d *dictionary) scalars(c uint32) []scalar {
	switch {
	case c == null:
		return nil
	case d.kind == ofTexts:
		return []scalar{{text: d.texts[c]}}
	case d.kind == ofNumbers:
		return []scalar{{number: d.numbers[c]}}
	}
	out := make([]scalar, len(d.lists[c]))
	for i, v := range d.lists[c] {
		out[i] = scalar{text: d.values.texts[v]}
	}
	return out
}

// heap is about how many bytes the dictionary takes.
func (d *dictionary) heap() int {
	n := 4*cap(d.refs) + 4*cap(d.free) + 16*cap(d.texts) + 8*cap(d.numbers) + 24*cap(d.lists) + d.index.heap() + d.answers.heap() + d.order.heap()
	for _, t := range d.texts {
		n += len(t)
	}
	for _, l := range d.lists {
		n += 4 * len(l)
	}
	if d.values != nil {
		n += d.values.heap()
	}
	return n
}
