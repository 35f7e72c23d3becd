package projectors

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// A Snapshot is a view right after one event. It may be read by several
// goroutines; keys and values that it passes to a callback are valid only
// until the callback returns.
type Snapshot struct {
	gen      *generation
	txn      *badger.Txn // read-only; several goroutines may read it, one discards it
	position uint64
	kept     meta // rows and their sum, as they were kept
	state    any
	refs     int // guarded by gen.mu
}

// Position is the number of the last event that the snapshot holds.
func (s *Snapshot) Position() uint64 { return s.position }

// State is what the fold published at this position.
func (s *Snapshot) State() any { return s.state }

func (s *Snapshot) release() { s.gen.release(s) }

// Get hands read the value of key; ok is false if there is no such row, and read
// is then not called.
func (s *Snapshot) Get(key []byte, read func(value []byte) error) (ok bool, err error) {
	return get(s.txn, key, read)
}

func get(txn *badger.Txn, key []byte, read func(value []byte) error) (bool, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err == nil {
		err = item.Value(read)
	}
	if err != nil {
		return false, fmt.Errorf("read row %x: %w", key, err)
	}
	return true, nil
}

// Scan walks the rows whose keys begin with prefix, in rising order, from the
// first key that is not below from (nil means all). It ends when visit returns
// false or an error, which it returns.
func (s *Snapshot) Scan(prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	return s.walk(badger.IteratorOptions{Prefix: prefix}, from, visit)
}

// Back is Scan in falling order, from the last key that is not above from (nil
// means all).
func (s *Snapshot) Back(prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error {
	if from == nil {
		from = append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, maxKey)...)
	}
	return s.walk(badger.IteratorOptions{Prefix: prefix, Reverse: true}, from, visit)
}

func (s *Snapshot) walk(opt badger.IteratorOptions, from []byte, visit func(key, value []byte) (bool, error)) error {
	it := s.txn.NewIterator(opt)
	defer it.Close()
	more := true
	for it.Seek(from); more && it.ValidForPrefix(opt.Prefix); it.Next() {
		item := it.Item()
		err := item.Value(func(value []byte) (err error) {
			more, err = visit(item.Key(), value)
			return err
		})
		if err != nil {
			return fmt.Errorf("read row %x: %w", item.Key(), err)
		}
	}
	return nil
}

// maxKey is the longest key of a row in bytes.
const maxKey = 512
