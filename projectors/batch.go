package projectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/dgraph-io/badger/v4"
)

// A Batch collects the changes of some whole events, which become durable
// together with the position. What is read from it includes what was written to
// it. Keys must not begin with a zero byte and have at most 512 bytes, values at
// most [MaxValue]. Keys and values that are passed in may be used again.
//
// The first error stays, makes every further write do nothing, and stops the
// view; so a fold may leave the errors of writes to the batch.
type Batch struct {
	gen   *generation
	txn   *badger.Txn
	meta  meta // as the commit will write it
	rows  int  // that were written
	count int64
	size  int64
	arena []byte
	err   error
	rowHash
}

// MaxValue is the largest value of a row in bytes.
const MaxValue = 512 << 10

// Get hands read the value of key; ok is false if there is no such row.
func (b *Batch) Get(key []byte, read func(value []byte) error) (ok bool, err error) {
	if b.err != nil {
		return false, b.err
	}
	ok, err = get(b.txn, key, read)
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
	}
	if old != nil {
		b.meta.rolling.sub(b.sum(key, old))
		b.meta.rows--
	}
	if value != nil {
		b.meta.rolling.add(b.sum(key, value))
		b.meta.rows++
	}
	b.write(b.keep(key), b.keep(value), value == nil)
	b.rows++
}

func (b *Batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// keep copies p into memory that lives until the commit.
func (b *Batch) keep(p []byte) []byte {
	if len(p) > cap(b.arena)-len(b.arena) {
		b.arena = make([]byte, 0, max(64<<10, len(p)))
	}
	from := len(b.arena)
	b.arena = append(b.arena, p...)
	return b.arena[from:len(b.arena):len(b.arena)]
}

// rowCost bounds what Badger counts for an entry besides key and value.
const rowCost = 32

func (b *Batch) write(key, value []byte, remove bool) {
	cost := int64(len(key) + len(value) + rowCost)
	if b.count+1 >= b.gen.maxCount || b.size+cost >= b.gen.maxSize {
		b.spill()
	}
	if b.err != nil {
		return
	}
	entry := badger.NewEntry(key, value)
	var err error
	if remove {
		err = b.txn.Delete(key)
	} else {
		err = b.txn.SetEntry(entry)
	}
	if err != nil {
		b.fail(fmt.Errorf("write row %x: %w", key, err))
		return
	}
	b.count++
	b.size += cost
}

// spill commits what one transaction holds although the event under way is not
// complete: a few events change more rows than Badger takes at once. The store
// says so until the rest is committed; a store that is opened in this state is
// folded anew. Readers see neither: their snapshot is the one before.
func (b *Batch) spill() {
	torn := b.meta
	torn.torn = true
	b.fail(b.gen.put(b.txn, torn))
	if b.err == nil {
		b.fail(b.txn.Commit())
	}
	if b.err == nil {
		b.restart()
	}
}

func (b *Batch) restart() {
	b.txn = b.gen.db.NewTransaction(true)
	b.arena = nil
	b.count, b.size = 4, 4<<10 // room for the meta row and Badger's own
}

func (b *Batch) commit() error {
	if b.err == nil {
		b.fail(b.gen.put(b.txn, b.meta))
	}
	if b.err == nil {
		b.fail(b.txn.Commit())
	}
	b.txn.Discard()
	if errors.Is(b.err, badger.ErrTxnTooBig) {
		b.err = fmt.Errorf("commit: %w", b.err)
	}
	return b.err
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

// appendRow appends the canonical form of a row: key and value, each behind its
// length in 32 bits, big endian.
func appendRow(b, key, value []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	b = append(b, key...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}
