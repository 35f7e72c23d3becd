package engine

import "math/bits"

// Answers are what a dictionary's values, or a class's different rows, are for the
// conditions that collections ask about them. A condition has a bit in a batch of 64;
// a batch has for every code a word of them. So a device's answers to 64 conditions
// are one look-up, and a condition is computed once per different value, not once
// per device. They are kept from one evaluation to the next: only codes that stand
// for new values, and bits of new conditions, are computed again.
type answers struct {
	batches []*batch
	pending []uint32 // codes that are new since the last refresh
	all     bool     // all are
	dirty   bool     // something is to be computed
}

// A batch is up to 64 conditions.
type batch struct {
	words []uint64 // by code
	used  uint64   // bits that are taken
	fresh uint64   // bits that were not computed yet
	every uint64   // of lists: bits that need all values of a list, not one
	asked [64]asked
	inner *batch // of lists: the batch of their texts, with the same bits
}

// An asked condition is one that a batch has the answers to.
type asked interface {
	// answer computes that for a code; only code 0 is NULL.
	answer(code uint32) bool
}

// renew says that a code stands for a new value; size is the number of codes.
func (a *answers) renew(code uint32, size int) {
	if len(a.batches) == 0 || a.all {
		a.all = true
		return
	}
	a.dirty = true
	if len(a.pending) > size/2+1024 {
		a.pending, a.all = nil, true
		return
	}
	a.pending = append(a.pending, code)
}

// add finds a bit for a condition.
func (a *answers) add(c asked, every bool) (*batch, uint8) {
	a.dirty = true
	var b *batch
	for _, x := range a.batches {
		if x.used != ^uint64(0) {
			b = x
			break
		}
	}
	if b == nil {
		b = &batch{}
		a.batches = append(a.batches, b)
	}
	bit := uint8(bits.TrailingZeros64(^b.used))
	b.used |= 1 << bit
	b.fresh |= 1 << bit
	b.asked[bit] = c
	if every {
		b.every |= 1 << bit
	}
	return b, bit
}

// drop gives a bit back.
func (a *answers) drop(b *batch, bit uint8) {
	b.used &^= 1 << bit
	b.fresh &^= 1 << bit
	b.every &^= 1 << bit
	b.asked[bit] = nil
	if b.used != 0 {
		return
	}
	for i, x := range a.batches {
		if x == b {
			a.batches = append(a.batches[:i], a.batches[i+1:]...)
			return
		}
	}
}

// A job is a part of a refresh: some codes of one batch. Jobs touch different words.
type job func()

// fewCodes are computed at once, for a goroutine would cost more.
const fewCodes = 64

// span is how many codes a job computes.
const span = 8192

// refresh brings all answers up to date for size codes. It returns the part of that
// which others may do, all at a time; then nothing is pending. word computes the bits of want for a code.
func (a *answers) refresh(size int, word func(b *batch, code uint32, want uint64) uint64) (jobs []job) {
	if !a.dirty {
		return nil
	}
	a.dirty = false
	for _, b := range a.batches {
		if n := len(b.words); n < size {
			b.words = append(b.words, make([]uint64, size-n)...)
		}
		want, fresh := b.used, b.fresh
		if a.all {
			fresh = want
		}
		if fresh != 0 {
			for from := 0; from < size; from += span {
				jobs = append(jobs, func() {
					for c := from; c < min(from+span, size); c++ {
						b.words[c] = b.words[c]&^fresh | word(b, uint32(c), fresh)
					}
				})
			}
		}
		if rest := want &^ fresh; rest != 0 && len(a.pending) > 0 {
			pending := a.pending
			again := func() {
				for _, c := range pending {
					b.words[c] = b.words[c]&^rest | word(b, c, rest)
				}
			}
			// If there are jobs already, they touch the same words.
			if fresh == 0 && len(pending) > fewCodes {
				jobs = append(jobs, again)
			} else {
				again()
			}
		}
		b.fresh = 0
	}
	a.pending, a.all = nil, len(a.batches) == 0
	return jobs
}

// ask computes the bits of want for a code one by one.
func ask(b *batch, code uint32, want uint64) (word uint64) {
	for w := want; w != 0; w &= w - 1 {
		i := bits.TrailingZeros64(w)
		if b.asked[i].answer(code) {
			word |= 1 << i
		}
	}
	return word
}

// heap is how many bytes they take.
func (a *answers) heap() int {
	n := 4 * cap(a.pending)
	for _, b := range a.batches {
		n += 8*cap(b.words) + 64*16
	}
	return n
}
