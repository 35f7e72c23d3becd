package projectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// A Batch collects the changes of some whole events, which become durable
// together with the position. What is read from it includes what was written to
// it. Keys must not begin with a zero byte and have at most 512 bytes, values at
// most [MaxValue]. Keys and values that are passed in may be used again.
//
// The first error stays, makes every further write do nothing, and stops the
// view; so a fold may leave the errors of writes to the batch.
type Batch struct {
	before  rows     // what there was before the batch
	into    *memory  // where the changes go at once, nil if they are collected
	changes []change // in the order of their events
	newest  map[string]int
	event   uint64     // under way
	meta    meta       // as the commit will write it
	sum     rollingSum // of the changes
	size    int64
	arena   arena // lives until the commit
	err     error
	hash    rowHash
}

// A change is a row as one event left it.
type change struct {
	key, value []byte // no value: the row is gone
	event      uint64
}

// MaxValue is the largest value of a row in bytes.
const MaxValue = 512 << 10

// A room is where the changes of a batch were; the next one can use it. A push fills
// many batches, one behind the other, and each would grow its own.
type room struct {
	changes []change
	newest  map[string]int
}

// reusedRows is the largest batch whose room is used again.
const reusedRows = 1 << 14

// leave returns the room of a batch that is over. Nothing of the batch is in it.
func (b *Batch) leave() room {
	if len(b.changes) > reusedRows {
		return room{}
	}
	clear(b.changes)
	clear(b.newest)
	return room{b.changes[:0], b.newest}
}

// newBatch begins a batch behind what m says.
func newBatch(before rows, m meta, in room) *Batch {
	if in.newest == nil {
		in.newest = make(map[string]int)
	}
	return &Batch{before: before, meta: m, newest: in.newest, changes: in.changes}
}

// Get hands read the value of key; ok is false if there is no such row.
func (b *Batch) Get(key []byte, read func(value []byte) error) (ok bool, err error) {
	if b.err != nil {
		return false, b.err
	}
	if i, changed := b.newest[string(key)]; changed {
		if b.changes[i].value == nil {
			return false, nil
		}
		err = read(b.changes[i].value)
		ok = err == nil
	} else {
		ok, err = b.before.get(key, read)
	}
	b.fail(err)
	return ok, err
}

// Set writes a row, whatever it was before. Its value may be empty.
func (b *Batch) Set(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	b.Replace(key, b.old(key), value)
}

// Delete removes a row if there is one.
func (b *Batch) Delete(key []byte) {
	if old := b.old(key); old != nil {
		b.Replace(key, old, nil)
	}
}

func (b *Batch) old(key []byte) (old []byte) {
	_, _ = b.Get(key, func(v []byte) error {
		old = append([]byte{}, v...)
		return nil
	})
	return old
}

// Replace is Set or, if value is nil, Delete for a fold that knows what the row
// was: old is its value, nil if there was none. It saves the read.
func (b *Batch) Replace(key, old, value []byte) {
	switch {
	case b.err != nil || bytes.Equal(old, value) && (old == nil) == (value == nil):
		return
	case len(key) == 0 || key[0] == 0 || len(key) > maxKey || len(value) > MaxValue:
		b.fail(fmt.Errorf("write row %x: key of %d or value of %d bytes is not allowed", key, len(key), len(value)))
		return
	case b.into != nil: // whoever freezes it sums the rows
		b.into.set(key, value, b.event)
		return
	}
	if old != nil {
		b.meta.rolling.sub(b.hash.sum(key, old))
		b.meta.rows--
	}
	h := b.hash.change(key, value)
	if value != nil {
		b.meta.rolling.add(h)
		b.meta.rows++
	}
	b.write(key, value, h)
}

// rowCost bounds what a change takes besides key and value.
const rowCost = 32

// write takes note of a change, of which h is the hash. What one event changes
// twice counts once.
func (b *Batch) write(key, value []byte, h [32]byte) {
	b.sum.add(h)
	b.size += int64(len(key) + len(value) + rowCost)
	i, changed := b.newest[string(key)]
	if changed && b.changes[i].event == b.event {
		c := &b.changes[i]
		b.sum.sub(b.hash.change(key, c.value))
		c.value = b.arena.keep(value)
		return
	}
	if changed {
		key = b.changes[i].key
	} else {
		key = b.arena.keep(key)
	}
	b.newest[string(key)] = len(b.changes)
	b.changes = append(b.changes, change{key, b.arena.keep(value), b.event})
}

func (b *Batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// An arena keeps copies of small things together.
type arena struct{ free []byte }

// keep copies p; nil stays nil, and what is empty is not nil.
func (a *arena) keep(p []byte) []byte {
	if p == nil {
		return nil
	}
	if a.free == nil || len(p) > cap(a.free)-len(a.free) {
		a.free = make([]byte, 0, max(16<<10, len(p)))
	}
	from := len(a.free)
	a.free = append(a.free, p...)
	return a.free[from:len(a.free):len(a.free)]
}

// A rollingSum is the sum modulo 2^256 of the SHA-256 of all rows: what two
// stores with the same rows have in common, kept and not counted. It finds
// divergence and proves nothing.
type rollingSum [4]uint64 // least significant first

func (r *rollingSum) add(h [32]byte) {
	var carry uint64
	for i := range r {
		r[i], carry = bits.Add64(r[i], binary.LittleEndian.Uint64(h[8*i:]), carry)
	}
}

func (r *rollingSum) sub(h [32]byte) {
	var borrow uint64
	for i := range r {
		r[i], borrow = bits.Sub64(r[i], binary.LittleEndian.Uint64(h[8*i:]), borrow)
	}
}

func (r rollingSum) bytes() (b [32]byte) {
	for i := range r {
		binary.LittleEndian.PutUint64(b[8*i:], r[i])
	}
	return b
}

// rowHash hashes rows in their canonical form.
type rowHash struct{ buf []byte }

func (h *rowHash) sum(key, value []byte) [32]byte {
	h.buf = appendRow(h.buf[:0], key, value)
	return sha256.Sum256(h.buf)
}

// change is sum, but tells a row that is gone from one without a value.
func (h *rowHash) change(key, value []byte) [32]byte {
	if value == nil {
		return h.sum(nil, key) // no row has an empty key
	}
	return h.sum(key, value)
}

// appendRow appends the canonical form of a row: key and value, each behind its
// length in 32 bits, big endian.
func appendRow(b, key, value []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	b = append(b, key...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}
